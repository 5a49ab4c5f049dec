"""The scoring job: a clip is decoded once, its features are computed once, every metric reads them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.engine.prefetch import ahead, grouped
from evalkit.errors import RunError, VideoError
from evalkit.features.compute import (
    ClipVector,
    FeaturePlan,
    PendingClip,
    TextFeatures,
    not_for,
    score_clip,
    vector_of,
)
from evalkit.features.device import check_device, kind_of
from evalkit.features.protocol import ClipRecord
from evalkit.metrics.registry import load_metrics
from evalkit.remote import local_copy
from evalkit.runs.clips import preview_paths, store_preview
from evalkit.runs.feature_store import FeatureFolder, request_keys
from evalkit.runs.files import writing
from evalkit.runs.keys import digest

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures, FeatureRequest
    from evalkit.metrics.spec import ClipMetric, SetMetric
    from evalkit.suites.prompt import Suite
    from evalkit.video import Video

__all__ = ["ClipToScore", "Score", "ScoreJob", "ScoredRow", "metric_key"]

# Decoded pixels that may wait for the networks: two clips of 64 frames at 720p, or hundreds of small ones.
_AHEAD_BYTES = 384 << 20
# Frames of small clips that are collected for one pass of a network.
_FRAMES = 64

Score = tuple[str, float | None, Sequence[float] | None, str | None, float | None]
"""(status, value, series, reason, elapsed_ms)"""


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
        set_features: whether set metrics' features must be stored.
        preview: whether a preview must be made if there is none.
    """

    row: dict[str, Any]
    metrics: tuple[str, ...]
    set_features: bool = True
    preview: bool = True

    @property
    def key(self) -> tuple[str, str, int]:
        """`PlannedClip.key` of the clip."""
        return self.row["prompt_id"], self.row["group"], self.row["sample_index"]

    def parts(self) -> list[ClipToScore]:
        """One item for each metric, and one for the set metrics' features, so that only the culprit fails."""
        single = [replace(self, metrics=(metric,), set_features=False) for metric in self.metrics]
        return [*single, replace(self, metrics=())] if self.set_features else single


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """What scoring found out.

    Args:
        row: the generations row, completed with what decoding told.
        scores: by metric id.
        vectors: set metrics that have no feature rows of this clip, with status and reason.
        notes: what went wrong beside the scores (a preview that could not be made).
    """

    row: dict[str, Any]
    scores: Mapping[str, Score] = field(default_factory=dict)
    vectors: Mapping[str, ClipVector] = field(default_factory=dict)
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
        device: where the metrics' networks compute.
        together: clips that a worker is given at once, to be decoded ahead and to share passes of the networks. One
            on the processor, where decoding and computing need the same core and small passes are the fastest.
    """

    metrics: Sequence[str]
    suite: Suite
    folder: Path
    own_clips: bool = True
    device: str = "cpu"
    together: int = 1
    _plan: FeaturePlan | None = field(default=None, repr=False)
    _texts: TextFeatures | None = field(default=None, repr=False)
    _store: FeatureFolder | None = field(default=None, repr=False)

    def prepare(self) -> None:
        """Load metrics and extractors, enough for `keys` and `stored_vectors`."""
        if self._plan is None:
            self._plan = FeaturePlan(load_metrics(self.metrics), self.device)
            self._store = FeatureFolder(self.folder / "features", self._plan)

    @property
    def gpu(self) -> str | None:
        """How much of a GPU a worker takes: networks of metrics leave room for others."""
        return "shared" if kind_of(self.device) == "cuda" else None

    def for_workers(self, *, own_clips: bool) -> ScoreJob:
        """The same job, with nothing loaded."""
        return replace(self, own_clips=own_clips, _plan=None, _texts=None, _store=None)

    def open(self) -> None:
        """Load metrics and extractors, and embed every prompt of the suite.

        Raises:
            EvalkitError: the device is not in this machine.
        """
        check_device(self.device)
        self.embed()

    def embed(self) -> None:
        """`open` for a driver, which needs no device of its own: texts are embedded on the processor."""
        self.prepare()
        if self._texts is None:
            texts = [prompt.text for prompt in self.suite.prompts]
            self._texts = self.plan.text_features(texts, self._store)

    @property
    def plan(self) -> FeaturePlan:
        """The features the metrics need; `prepare` first."""
        if self._plan is None:
            raise ValueError("the job is not open")
        return self._plan

    def keys(self) -> dict[str, str]:
        """Key of every metric as it runs here."""
        features = request_keys(self.plan)
        return {metric.spec.id: metric_key(metric, features) for metric in self.plan.metrics}

    def run(self, item: ClipToScore) -> ScoredRow:
        """Score one clip. A clip that cannot be decoded fails with all its scores.

        Raises:
            RunError: the run's folder cannot be written.
        """
        clip = self._begin(item, decode=False)
        with clip.files:
            self.plan.compute(clip.pending, self._store)
            return self._scored(clip)

    def run_together(self, items: Sequence[ClipToScore]) -> Iterator[tuple[int, ScoredRow | Exception]]:
        """Score several clips: a thread decodes ahead, and frames of several clips share a pass of a network.

        Whatever goes wrong stays with its clip.
        """
        begun = ahead(
            items, lambda item: self._begin(item, decode=True), lambda clip: clip.bytes, _AHEAD_BYTES
        )
        with contextlib.closing(begun):
            for group in grouped(enumerate(begun), lambda one: _frames(one[1]), _FRAMES):
                yield from self._group(group)

    def _group(
        self, group: Sequence[tuple[int, _Begun | Exception]]
    ) -> Iterator[tuple[int, ScoredRow | Exception]]:
        clips = [clip for _, clip in group if isinstance(clip, _Begun)]
        with contextlib.ExitStack() as files:
            for clip in clips:
                files.enter_context(clip.files)
            try:
                self.plan.compute([pending for clip in clips for pending in clip.pending], self._store)
                results = [clip if isinstance(clip, Exception) else self._scored(clip) for _, clip in group]
            except Exception as error:  # the folder is full: no clip's fault, and none can be kept
                results = [error] * len(group)
        yield from ((position, result) for (position, _), result in zip(group, results, strict=True))

    def _begin(self, item: ClipToScore, *, decode: bool) -> _Begun:
        """What comes before networks: open, look what is stored, decode if something must be computed."""
        clip = _Begun(item)
        with contextlib.ExitStack() as files:
            try:
                path = files.enter_context(local_copy(item.row["path"]))
                clip.path, reader = path, _Reader(item.row, self.own_clips, path)
                note = self._preview(item, reader) if item.preview else None
                clip.notes = (note,) if note else ()
                if item.row["clip_id"] is None:
                    reader()
                record = record_of(item.row | {"path": str(path)}, self.suite, self.own_clips)
                sets = self.plan.set_metrics if item.set_features else ()
                telling = [metric for metric in self._wanted(item) if not_for(metric, record) is None]
                pending = self.plan.begin(
                    record,
                    self._texts,
                    clip_id=item.row["clip_id"],
                    store=self._store,
                    wanted={*_requests(telling), *_requests(sets)},
                )
                pending.video = reader
                if decode and pending.needed:
                    clip.bytes = pending.pixels().frames.nbytes
                clip.pending = (pending,)
            except VideoError as error:
                clip.error = error
            clip.files = files.pop_all()
        return clip

    def _wanted(self, item: ClipToScore) -> list[ClipMetric]:
        return [metric for metric in self.plan.clip_metrics if metric.spec.id in item.metrics]

    def _scored(self, clip: _Begun) -> ScoredRow:
        """The metrics' answers, once the features are there."""
        item = clip.item
        error = clip.error or next((pending.error for pending in clip.pending), None)
        if error is not None:
            reason = str(error) if clip.path is None else str(error).replace(str(clip.path), item.row["path"])
            return ScoredRow(item.row | {"status": "failed", "error": reason})
        features = clip.pending[0].done()
        scores = {}
        for metric in self._wanted(item):
            scored = score_clip(metric, features)
            scores[metric.spec.id] = (
                scored.status,
                scored.value,
                scored.series,
                scored.reason or None,
                scored.elapsed_ms,
            )
        sets = self.plan.set_metrics if item.set_features else ()
        vectors = {metric.spec.id: vector_of(metric, features) for metric in sets}
        lacking = {name: vector for name, vector in vectors.items() if vector.rows is None}
        return ScoredRow(item.row, scores, lacking, clip.notes)

    def _preview(self, item: ClipToScore, reader: _Reader) -> str | None:
        """Make the preview if there is none; a sentence when it cannot be made, which costs no score."""
        if item.row["clip_id"] is not None and self._has_preview(item.row["clip_id"]):
            return None
        video = reader()
        try:
            with writing(self.folder):
                item.row.update(store_preview(self.folder, video, video.clip_id))
        except RunError:
            raise
        except Exception as error:
            return f"{item.row['path']}: no preview could be made ({error})"
        return None

    def stored_vectors(self, row: dict[str, Any]) -> dict[str, ClipVector]:
        """Feature rows of a clip by set metric, as far as they are stored.

        Nothing is decoded or computed: this runs in the driver, which no clip may take down.
        """
        if row["clip_id"] is None:
            return {}
        found: dict[tuple[FeatureRequest, ...], ClipFeatures | None] = {}
        vectors = {}
        for metric in self.plan.set_metrics:
            requests = tuple(metric.requires())
            if requests not in found:
                found[requests] = self._stored(row, requests)
            features = found[requests]
            if features is not None:
                vectors[metric.spec.id] = vector_of(metric, features)
        return vectors

    def _stored(self, row: dict[str, Any], requests: tuple[FeatureRequest, ...]) -> ClipFeatures | None:
        try:
            return self.plan.clip_features(
                _refuse,
                record_of(row, self.suite, self.own_clips),
                self._texts,
                clip_id=row["clip_id"],
                store=self._store,
                wanted=requests,
            )
        except _NotStoredError:
            return None

    def has_all(self, vectors: Mapping[str, ClipVector]) -> bool:
        """Whether every set metric has its feature rows, or a reason why there are none."""
        return all(metric.spec.id in vectors for metric in self.plan.set_metrics)

    def _has_preview(self, clip_id: str) -> bool:
        return all((self.folder / path).exists() for path in preview_paths(clip_id))


@dataclass
class _Begun:
    """A clip that is open, decoded if need be, and not scored.

    Args:
        item: what was asked.
        path: where it can be read on this machine.
        pending: its features, one; empty where they cannot be had.
        error: why not.
        notes: as in `ScoredRow`.
        bytes: of its pixels in memory.
        files: temporary files that go when it is scored.
    """

    item: ClipToScore
    path: Path | None = None
    pending: tuple[PendingClip, ...] = ()
    error: VideoError | None = None
    notes: tuple[str, ...] = ()
    bytes: int = 0
    files: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


def _frames(clip: _Begun | Exception) -> int:
    """Frames that networks will see; none of a clip whose features are stored."""
    return clip.pending[0].record.num_frames if isinstance(clip, _Begun) and clip.bytes else 0


def _requests(metrics: Sequence[ClipMetric | SetMetric]) -> Iterator[FeatureRequest]:
    for metric in metrics:
        yield from metric.requires()


class _NotStoredError(VideoError):
    """A feature would have to be computed from pixels."""


def _refuse() -> Video:
    raise _NotStoredError


class _Reader:
    """Decodes a clip at most once, and completes its row with what decoding tells."""

    def __init__(self, row: dict[str, Any], own_clip: bool, path: Path) -> None:
        self.row, self.own_clip, self.path = row, own_clip, path
        self._video: Video | None = None

    def __call__(self) -> Video:
        from evalkit.video import decode_with_info

        if self._video is None:
            path = self.path
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
