"""The scoring job: a clip is decoded once, its features are computed once, every metric reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import VideoError
from evalkit.features.compute import FeaturePlan, TextFeatures, score_clip
from evalkit.features.protocol import ClipRecord
from evalkit.metrics.registry import load_metrics
from evalkit.runs.clips import preview_paths, store_preview
from evalkit.runs.feature_store import FeatureFolder, request_keys
from evalkit.runs.keys import digest

if TYPE_CHECKING:
    from evalkit.metrics.spec import ClipMetric, SetMetric
    from evalkit.suites.prompt import Suite
    from evalkit.video import Video

__all__ = ["ClipToScore", "ScoreJob", "ScoredRow", "metric_key"]


def metric_key(metric: ClipMetric | SetMetric, keys: dict[Any, str]) -> str:
    """Key of a metric as it would run here: its version, its parameters and everything it reads."""
    return digest(
        [
            metric.spec.id,
            metric.spec.version,
            metric.params,
            sorted(keys[request] for request in metric.requires()),
        ]
    )


@dataclass(frozen=True, slots=True)
class ClipToScore:
    """One clip and the metrics it still lacks.

    Args:
        row: its row of the generations table; `path` is absolute.
        metrics: ids of the clip metrics to score.
        keep_features: whether set metrics' features must be stored too.
    """

    row: dict[str, Any]
    metrics: tuple[str, ...]
    keep_features: bool = True


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """What scoring found out.

    Args:
        row: the generations row, completed with what decoding told.
        scores: metric id to (status, value, series, reason, elapsed_ms).
        notes: what went wrong beside the scores (a preview that could not be made).
    """

    row: dict[str, Any]
    scores: Mapping[str, tuple[str, float | None, tuple[float, ...] | None, str | None, float | None]]
    notes: tuple[str, ...] = ()


@dataclass
class ScoreJob:
    """Scores clips.

    Args:
        metrics: metric spec strings.
        suite: the prompts.
        folder: the run's folder, for previews and features.
        own_clips: whether the clips are the run's own lossless copies, whose content is checked against
            their id.
    """

    metrics: Sequence[str]
    suite: Suite
    folder: Path
    own_clips: bool = True
    _plan: FeaturePlan | None = field(default=None, repr=False)
    _texts: TextFeatures | None = field(default=None, repr=False)
    _store: FeatureFolder | None = field(default=None, repr=False)

    def open(self) -> None:
        """Load metrics and extractors, and embed every prompt of the suite."""
        if self._plan is None:
            self._plan = FeaturePlan(load_metrics(self.metrics))
            self._store = FeatureFolder(self.folder / "features", self._plan)
            self._texts = self._plan.text_features(
                [prompt.text for prompt in self.suite.prompts], self._store
            )

    @property
    def plan(self) -> FeaturePlan:
        """The features the metrics need; `open` first."""
        if self._plan is None:
            raise ValueError("the job is not open")
        return self._plan

    def keys(self) -> dict[str, str]:
        """Key of every metric as it runs here."""
        features = request_keys(self.plan)
        return {metric.spec.id: metric_key(metric, features) for metric in self.plan.metrics}

    def run(self, item: ClipToScore) -> ScoredRow:
        """Score one clip. A clip that cannot be decoded fails with all its scores."""
        reader = _Reader(item.row, self.own_clips)
        notes: list[str] = []
        try:
            if item.row["clip_id"] is None or not self._has_preview(item.row["clip_id"]):
                try:
                    item.row.update(store_preview(self.folder, reader(), reader().clip_id))
                except VideoError:
                    raise
                except (
                    Exception
                ) as error:  # the clip itself is fine: score it, and say that it has no preview
                    notes.append(f"{item.row['path']}: no preview could be made ({error})")
            wanted = [metric for metric in self.plan.clip_metrics if metric.spec.id in item.metrics]
            requests = {request for metric in wanted for request in metric.requires()}
            if item.keep_features:
                requests |= {request for metric in self.plan.set_metrics for request in metric.requires()}
            if item.row["clip_id"] is None:
                reader()
            features = self.plan.clip_features(
                reader,
                record_of(item.row, self.suite, self.own_clips),
                self._texts,
                clip_id=item.row["clip_id"],
                store=self._store,
                wanted=requests,
            )
        except VideoError as error:
            failed = item.row | {"status": "failed", "error": str(error)}
            return ScoredRow(failed, {})
        scores = {}
        for metric in wanted:
            scored = score_clip(metric, features)
            scores[metric.spec.id] = (
                scored.status,
                scored.value,
                scored.series,
                scored.reason or None,
                scored.elapsed_ms,
            )
        return ScoredRow(item.row, scores, tuple(notes))

    def vectors(self, row: dict[str, Any]) -> dict[str, Any]:
        """Set metric id to `ClipVector` for a clip whose features are stored."""
        from evalkit.features.compute import vector_of

        features = self.plan.clip_features(
            _Reader(dict(row), self.own_clips),
            record_of(row, self.suite, self.own_clips),
            self._texts,
            clip_id=row["clip_id"],
            store=self._store,
            wanted={request for metric in self.plan.set_metrics for request in metric.requires()},
        )
        return {metric.spec.id: vector_of(metric, features) for metric in self.plan.set_metrics}

    def has_set_features(self, clip_id: str | None) -> bool:
        """Whether everything that the set metrics read of a clip is stored."""
        if self._store is None:
            raise ValueError("the job is not open")
        if clip_id is None:
            return False
        needed = {request for metric in self.plan.set_metrics for request in metric.requires()}
        return all(
            self._store.path(request, clip_id).exists()
            for request in needed
            if request in self.plan.specs and self.plan.specs[request].subject == "clip"
        )

    def _has_preview(self, clip_id: str) -> bool:
        return all((self.folder / path).exists() for path in preview_paths(clip_id))


class _Reader:
    """Decodes a clip at most once, and completes its row with what decoding tells."""

    def __init__(self, row: dict[str, Any], own_clip: bool) -> None:
        self.row, self.own_clip = row, own_clip
        self._video: Video | None = None

    def __call__(self) -> Video:
        from evalkit.video import decode_with_info

        if self._video is None:
            path = Path(self.row["path"])
            if not path.exists():
                raise VideoError(
                    f"{path} is gone: the clip existed when the run was planned; restore it and run again"
                )
            video, _, content = decode_with_info(path)
            if self.own_clip and self.row["clip_id"] not in (None, video.clip_id):
                raise VideoError(
                    f"{path} does not hold the clip it was written with (content {video.clip_id}); "
                    "delete the file and run the command again to make it anew"
                )
            self.row.update(
                clip_id=video.clip_id,
                file_digest=self.row["file_digest"] or content,
                status="ok",
                error=None,
                num_frames=video.num_frames,
                height=video.height,
                width=video.width,
                fps=str(video.fps),
            )
            self._video = video
        return self._video


def record_of(row: dict[str, Any], suite: Suite, own_clip: bool) -> ClipRecord:
    """What metrics may know of a clip besides its pixels."""
    prompt = suite.by_id.get(row["prompt_id"])
    return ClipRecord(
        prompt=prompt if prompt is not None and prompt.text else None,
        num_frames=row["num_frames"],
        height=row["height"],
        width=row["width"],
        fps=Fraction(row["fps"]),
        seconds=row["seconds"],
        peak_memory_bytes=row["peak_memory_bytes"],
        sample_index=row["sample_index"],
        seed=row["seed"],
        path=None if own_clip else row["path"],
    )
