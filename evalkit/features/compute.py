"""From metrics to features to scores: the union of what metrics need, each feature computed once.

    plan = FeaturePlan(metrics)
    texts = plan.text_features([prompt.text for prompt in suite])
    clip = plan.clip_features(video, record, texts)
    for metric in plan.clip_metrics:
        scored = score_clip(metric, clip)

One feature that cannot be computed (weights that are missing, a clip of one frame) takes only the metrics that
read it along; its `FeatureProblem` says with which status and why. A `FeatureStore` may keep features between
runs: what it has is not computed again, and neither is anything that only it would have needed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast

from evalkit.errors import EvalkitError, MissingExtra, MissingWeights, NotApplicable, VideoError
from evalkit.features.protocol import (
    ClipFeatures,
    ClipRecord,
    Extractor,
    ExtractorSpec,
    FeatureProblem,
    FeatureRequest,
    SuiteTexts,
)
from evalkit.features.registry import load_extractor

if TYPE_CHECKING:
    import torch

    from evalkit.metrics.spec import ClipMetric, SetMetric
    from evalkit.video import Video

__all__ = [
    "ClipVector",
    "FeaturePlan",
    "FeatureStore",
    "PendingClip",
    "ScoredClip",
    "TextFeatures",
    "score_clip",
    "vector_of",
]

Status = Literal["ok", "failed", "skipped", "not_applicable"]
Tensors = Mapping[str, "torch.Tensor"]


class FeatureStore(Protocol):
    """Where features outlive a run. The engine builds the keys: request, extractor spec, clip or text."""

    def get(self, request: FeatureRequest, spec: ExtractorSpec, subject: str) -> Tensors | None:
        """The stored feature of a clip id or text, or None."""
        ...

    def put(self, request: FeatureRequest, spec: ExtractorSpec, subject: str, tensors: Tensors) -> None:
        """Keep a feature."""
        ...


class ScoredClip(NamedTuple):
    """What one metric says of one clip.

    Args:
        status: `ok`, or why there is no value.
        value: finite number when ok, else None.
        series: one value a frame or transition, or None.
        reason: one paragraph when not ok, else "".
        elapsed_ms: time spent in the metric itself, features excluded.
    """

    status: Status
    value: float | None
    series: tuple[float, ...] | None
    reason: str
    elapsed_ms: float


class ClipVector(NamedTuple):
    """A clip's rows `(k, D)` of a set metric's feature matrix, or why there are none."""

    status: Status
    rows: torch.Tensor | None
    reason: str


@dataclass(frozen=True)
class TextFeatures:
    """Text features of every prompt in the suite, computed once.

    Args:
        by_request: the features of the texts that an encoder can read.
        problems: encoders that failed altogether.
        unsuited: texts that one encoder cannot read (words outside its vocabulary), with its reason.
    """

    by_request: Mapping[FeatureRequest, SuiteTexts] = field(default_factory=dict)
    problems: Mapping[FeatureRequest, FeatureProblem] = field(default_factory=dict)
    unsuited: Mapping[tuple[FeatureRequest, str], FeatureProblem] = field(default_factory=dict)


@dataclass
class PendingClip:
    """A clip on its way to `ClipFeatures`.

    Args:
        record, texts, clip_id: as in `FeaturePlan.clip_features`.
        features, problems: what is there, and why something will not be.
        needed: what must be computed.
        video: the clip, or a function that decodes it; set before `FeaturePlan.compute` if anything is needed.
        error: why the clip cannot be decoded.
    """

    record: ClipRecord
    texts: TextFeatures
    clip_id: str
    features: dict[FeatureRequest, Tensors]
    problems: dict[FeatureRequest, FeatureProblem]
    needed: set[FeatureRequest]
    video: Video | Callable[[], Video] | None = None
    error: VideoError | None = None

    def pixels(self) -> Video:
        """The decoded clip."""
        if not hasattr(self.video, "frames"):
            self.video = cast("Callable[[], Video]", self.video)()
        return cast("Video", self.video)

    def done(self) -> ClipFeatures:
        """What metrics look at."""
        return ClipFeatures(self.record, self.features, self.texts.by_request, self.problems)


class FeaturePlan:
    """The features that a set of metrics needs, in an order in which they can be computed.

    Args:
        metrics: clip metrics and set metrics, with distinct ids.
        device: where networks compute, see `evalkit.features.device`; keys name it.

    Raises:
        EvalkitError: extractors require each other in a circle.
    """

    def __init__(self, metrics: Iterable[ClipMetric | SetMetric], device: str = "cpu") -> None:
        self.metrics, self.device = tuple(metrics), device
        self.problems: dict[FeatureRequest, FeatureProblem] = {}
        self.extractors: dict[FeatureRequest, Extractor] = {}
        self.specs: dict[FeatureRequest, ExtractorSpec] = {}
        self.wanted = tuple(
            dict.fromkeys(request for metric in self.metrics for request in metric.requires())
        )
        graph: dict[FeatureRequest, tuple[FeatureRequest, ...]] = {}
        queue = list(self.wanted)
        while queue:
            request = queue.pop()
            if request not in graph:
                graph[request] = self._resolve(request)
                queue.extend(graph[request])
        try:
            self.order = tuple(TopologicalSorter(graph).static_order())
        except CycleError as error:
            names = " -> ".join(request.extractor for request in error.args[1])
            raise EvalkitError(f"extractors require each other in a circle: {names}") from error

    @cached_property
    def clip_metrics(self) -> tuple[ClipMetric, ...]:
        """The metrics that score one clip."""
        return tuple(metric for metric in self.metrics if not hasattr(metric, "vector"))

    @cached_property
    def set_metrics(self) -> tuple[SetMetric, ...]:
        """The metrics that compare sets of clips."""
        return tuple(cast("SetMetric", metric) for metric in self.metrics if hasattr(metric, "vector"))

    def _resolve(self, request: FeatureRequest) -> tuple[FeatureRequest, ...]:
        try:
            # The cache tells a default from the same value given: elsewhere the processor's is asked for without it.
            extractor = load_extractor(request, *(() if self.device == "cpu" else (self.device,)))
            self.specs[request] = extractor.spec
        except Exception as error:  # a plugin may fail in any way; only its own metrics suffer
            self.problems[request] = problem_of(error)
            return ()
        self.extractors[request] = extractor
        return tuple(extractor.requires)

    def _missing(
        self,
        asked: Iterable[FeatureRequest],
        features: dict[FeatureRequest, Tensors],
        problems: Mapping[FeatureRequest, FeatureProblem],
        store: FeatureStore | None,
        clip_id: str,
    ) -> set[FeatureRequest]:
        """What must be computed for `asked`; what the store has is added to `features` and not looked behind."""
        missing: set[FeatureRequest] = set()
        queue = list(asked)
        while queue:
            request = queue.pop()
            if request in missing or request in features or request in problems:
                continue
            spec = self.specs[request]
            stored = store.get(request, spec, clip_id) if store is not None and spec.cached else None
            if stored is not None:
                features[request] = stored
            else:
                missing.add(request)
                queue.extend(self.extractors[request].requires)
        return missing

    def text_features(self, texts: Sequence[str], store: FeatureStore | None = None) -> TextFeatures:
        """Compute every text feature for the distinct texts among `texts`, in order."""
        distinct = tuple(dict.fromkeys(texts))
        found: dict[FeatureRequest, SuiteTexts] = {}
        problems: dict[FeatureRequest, FeatureProblem] = {}
        unsuited: dict[tuple[FeatureRequest, str], FeatureProblem] = {}
        for request in self.order:
            if request in self.problems or self.specs[request].subject != "text":
                continue
            rows: dict[str, Tensors] = {}
            try:
                for text in distinct:
                    try:
                        rows[text] = self._text_feature(request, text, found, store)
                    except NotApplicable as error:
                        unsuited[request, text] = problem_of(error)
            except Exception as error:
                problems[request] = problem_of(error)
                continue
            found[request] = SuiteTexts(rows)
        return TextFeatures(found, problems, unsuited)

    def _text_feature(
        self,
        request: FeatureRequest,
        text: str,
        found: Mapping[FeatureRequest, SuiteTexts],
        store: FeatureStore | None,
    ) -> Tensors:
        extractor, spec = self.extractors[request], self.specs[request]
        tensors = store.get(request, spec, text) if store is not None and spec.cached else None
        if tensors is None:
            inputs = {need: found[need].rows[text] for need in extractor.requires}
            tensors = dict(extractor.extract(text, inputs))
            if store is not None and spec.cached:
                store.put(request, spec, text, tensors)
        return tensors

    def clip_features(
        self,
        video: Video | Callable[[], Video],
        record: ClipRecord,
        texts: TextFeatures | None = None,
        *,
        clip_id: str = "",
        store: FeatureStore | None = None,
        wanted: Iterable[FeatureRequest] | None = None,
    ) -> ClipFeatures:
        """Compute the union of the features for one clip.

        Args:
            video: the clip, or a function that decodes it; called at most once, and only if something must be
                computed from pixels.
            record: what is known of the clip besides its pixels.
            texts: the suite's text features.
            clip_id: identity of the pixels; the store's subject.
            store: where features outlive the run.
            wanted: the requests to serve (default: all of the plan's metrics), for a clip of which some
                scores exist already.

        Raises:
            VideoError: the clip cannot be decoded.
        """
        clip = self.begin(record, texts, clip_id=clip_id, store=store, wanted=wanted)
        clip.video = video
        self.compute([clip], store)
        if clip.error is not None:
            raise clip.error
        return clip.done()

    def begin(
        self,
        record: ClipRecord,
        texts: TextFeatures | None = None,
        *,
        clip_id: str = "",
        store: FeatureStore | None = None,
        wanted: Iterable[FeatureRequest] | None = None,
    ) -> PendingClip:
        """What is known of a clip's features without its pixels; arguments as in `clip_features`.

        `compute` does the rest, of one clip or of several together.
        """
        texts = texts or TextFeatures()
        features: dict[FeatureRequest, Tensors] = {}
        problems: dict[FeatureRequest, FeatureProblem] = {**self.problems, **texts.problems}
        self._add_texts(record, texts, features, problems)
        asked = tuple(self.wanted if wanted is None else wanted)
        needed = self._missing(asked, features, problems, store, clip_id)
        for request in self.order:  # what reads a missing feature is missing too, and no reason to decode
            if request in needed and (broken := self._broken(request, problems)) is not None:
                problems[request] = broken
                needed.remove(request)
        return PendingClip(record, texts, clip_id, features, problems, needed)

    def compute(self, clips: Sequence[PendingClip], store: FeatureStore | None = None) -> None:
        """Compute what the clips lack, one feature after the other.

        An extractor with `extract_many` sees all of them at once, so that frames of several clips share a pass of
        its network. What goes wrong stays with its clip: as a problem of the feature, or as `error` of a clip that
        cannot be decoded.
        """
        for request in self.order:
            extractor = self.extractors.get(request)
            ready: list[tuple[PendingClip, Video, dict[FeatureRequest, Tensors]]] = []
            for clip in clips:
                if request not in clip.needed or clip.error is not None or extractor is None:
                    continue
                broken = self._broken(request, clip.problems)
                if broken is not None:
                    clip.problems[request] = broken
                    continue
                try:
                    video = clip.pixels()
                except VideoError as error:
                    clip.error = error
                    continue
                ready.append((clip, video, {need: clip.features[need] for need in extractor.requires}))
            if extractor is None or not ready:
                continue
            for (clip, _, _), result in zip(ready, _extracted(extractor, ready), strict=True):
                if isinstance(result, VideoError):
                    clip.error = result
                elif isinstance(result, Exception):
                    clip.problems[request] = problem_of(result)
                else:
                    clip.features[request] = result
                    if store is not None and self.specs[request].cached:
                        store.put(request, self.specs[request], clip.clip_id, result)

    def _broken(
        self, request: FeatureRequest, problems: Mapping[FeatureRequest, FeatureProblem]
    ) -> FeatureProblem | None:
        return next((problems[need] for need in self.extractors[request].requires if need in problems), None)

    def _add_texts(
        self,
        record: ClipRecord,
        texts: TextFeatures,
        features: dict[FeatureRequest, Tensors],
        problems: dict[FeatureRequest, FeatureProblem],
    ) -> None:
        for request, spec in self.specs.items():
            if spec.subject != "text" or request in problems:
                continue
            rows = texts.by_request[request].rows if request in texts.by_request else {}
            if record.prompt is None:
                problems[request] = FeatureProblem("not_applicable", "the clip has no prompt")
            elif record.prompt.text in rows:
                features[request] = rows[record.prompt.text]
            elif (request, record.prompt.text) in texts.unsuited:
                problems[request] = texts.unsuited[request, record.prompt.text]
            else:
                problems[request] = FeatureProblem(
                    "failed",
                    f"the prompt {record.prompt.id!r} is not among the texts that text_features() was given",
                )


def _extracted(
    extractor: Extractor, clips: Sequence[tuple[PendingClip, Video, Mapping[FeatureRequest, Tensors]]]
) -> list[Tensors | Exception]:
    """One feature of every clip, or what went wrong with it."""
    together: Callable[..., list[Tensors | Exception]] | None = getattr(extractor, "extract_many", None)
    if together is not None and len(clips) > 1:
        try:
            return together([video for _, video, _ in clips], [inputs for _, _, inputs in clips])
        except Exception:  # memory that ran out, a clip that no other should suffer from: each for itself
            pass
    results: list[Tensors | Exception] = []
    for _, video, inputs in clips:
        try:
            results.append(extractor.extract(video, inputs))
        except Exception as error:
            results.append(error)
    return results


def problem_of(error: Exception) -> FeatureProblem:
    """The status and reason that an exception stands for."""
    if isinstance(error, MissingWeights | MissingExtra):
        return FeatureProblem("skipped", str(error))
    if isinstance(error, NotApplicable):
        return FeatureProblem("not_applicable", str(error))
    if isinstance(error, EvalkitError):
        return FeatureProblem("failed", str(error))
    return FeatureProblem("failed", f"{type(error).__name__}: {error}")


def not_for(metric: ClipMetric | SetMetric, record: ClipRecord) -> str | None:
    """What a metric's optional method `not_for(record)` says: why it needs no features of such a clip."""
    ask: Callable[[ClipRecord], str | None] | None = getattr(metric, "not_for", None)
    return None if ask is None else ask(record)


def _obstacle(metric: ClipMetric | SetMetric, clip: ClipFeatures) -> FeatureProblem | None:
    if clip.record.num_frames < metric.spec.min_frames:
        return FeatureProblem(
            "not_applicable",
            f"needs at least {metric.spec.min_frames} frames, the clip has {clip.record.num_frames}",
        )
    if (reason := not_for(metric, clip.record)) is not None:
        return FeatureProblem("not_applicable", reason)
    return next((clip.problems[need] for need in metric.requires() if need in clip.problems), None)


def score_clip(metric: ClipMetric, clip: ClipFeatures) -> ScoredClip:
    """Score one clip; whatever happens becomes a status, never an exception and never NaN."""
    started = time.perf_counter()

    def result(
        status: Status, value: float | None, series: tuple[float, ...] | None = None, reason: str = ""
    ) -> ScoredClip:
        return ScoredClip(status, value, series, reason, (time.perf_counter() - started) * 1000)

    obstacle = _obstacle(metric, clip)
    if obstacle is not None:
        return result(obstacle.status, None, reason=obstacle.reason)
    try:
        score = metric.score(clip)
    except Exception as error:
        problem = problem_of(error)
        return result(problem.status, None, reason=problem.reason)
    value = float(score.value)
    series = None if score.series is None else tuple(float(item) for item in score.series)
    if not math.isfinite(value) or (series is not None and not all(map(math.isfinite, series))):
        return result("failed", None, reason=f"{metric.spec.id} gave a value that is not finite ({value})")
    return result("ok", value, series)


def vector_of(metric: SetMetric, clip: ClipFeatures) -> ClipVector:
    """The clip's rows for a set metric, or the status and reason why there are none."""
    obstacle = _obstacle(metric, clip)
    if obstacle is not None:
        return ClipVector(obstacle.status, None, obstacle.reason)
    try:
        rows = metric.vector(clip)
        if rows.ndim != 2 or not bool(rows.isfinite().all()):
            return ClipVector(
                "failed",
                None,
                f"{metric.spec.id} gave rows of shape {tuple(rows.shape)}; expected finite (k, D)",
            )
    except Exception as error:
        problem = problem_of(error)
        return ClipVector(problem.status, None, problem.reason)
    return ClipVector("ok", rows, "")
