"""Features: what is computed once per clip (or once per prompt) and shared by every metric.

An extractor turns a clip or a text into named tensors. Metrics name the features they need as
`FeatureRequest`s; the planner takes the union, so that no network sees a frame twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from evalkit.suites import Prompt
    from evalkit.video import Video

__all__ = [
    "ClipFeatures",
    "ClipRecord",
    "Extractor",
    "ExtractorSpec",
    "FeatureProblem",
    "FeatureRequest",
    "SuiteTexts",
]

Params = tuple[tuple[str, str | int | float | bool | None], ...]


class FeatureRequest(NamedTuple):
    """A feature by extractor name and frozen parameters: `FeatureRequest.of("image", network="clip")`."""

    extractor: str
    params: Params = ()

    @classmethod
    def of(cls, extractor: str, **params: str | int | float | bool | None) -> FeatureRequest:
        return cls(extractor, tuple(sorted(params.items())))


@dataclass(frozen=True, slots=True)
class ExtractorSpec:
    """Identity of an extractor.

    Args:
        id: registered name.
        version: raised whenever the same input may give another output.
        subject: `"clip"` (pixels) or `"text"` (the prompt's words; computed once per distinct text).
        title: one line for people, naming the network as what it is.
        weights_digest: digest of the network's weights; empty for analytic features.
        preprocessing: resize, crop, normalisation and dtype in words; part of the key.
        cached: whether results are stored on disk. False for what is large and cheap (frames, flow).
        citation: where the network comes from.
        device: kind of device its network computes on; a GPU's numbers have another key than the processor's.
    """

    id: str
    version: str
    subject: Literal["clip", "text"]
    title: str
    weights_digest: str = ""
    preprocessing: str = ""
    cached: bool = True
    citation: str = ""
    device: str = "cpu"


@runtime_checkable
class Extractor(Protocol):
    """Computes one feature. Constructed with the request's parameters as keywords; loads lazily.

    A constructor or `spec` may raise `MissingWeights` or `MissingExtra`: the metrics that need the feature
    are then `skipped` with that reason.

    An extractor whose network may compute on a GPU has `place(device)`, see `evalkit.features.device.Placed`.
    One whose network may see frames of several clips in a pass has `extract_many(subjects, inputs)`, which gives for
    each clip what `extract` would return or raise.
    """

    @property
    def requires(self) -> tuple[FeatureRequest, ...]:
        """Features that `extract` reads; a class attribute will do."""
        ...

    @property
    def spec(self) -> ExtractorSpec: ...

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Compute the feature.

        Args:
            subject: the decoded clip (uint8 `(T, 3, H, W)`) or the text, by `spec.subject`.
            inputs: the features named in `requires`.

        Returns:
            Named CPU tensors, float32 unless said otherwise; at least one.
        """
        ...


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """What is known of a clip besides its pixels.

    Args:
        prompt: the suite's prompt, or None for a clip without one.
        num_frames, height, width, fps: the clip's shape.
        seconds, peak_memory_bytes: measured while generating; None for clips that already existed.
        sample_index, seed: which of the prompt's samples this is.
        path: the original file, for metrics on original bytes; None when evalkit made the clip.
    """

    prompt: Prompt | None
    num_frames: int
    height: int
    width: int
    fps: Fraction
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    sample_index: int = 0
    seed: int | None = None
    path: str | None = None


class FeatureProblem(NamedTuple):
    """Why a feature is not there: the status and reason of every score that needed it."""

    status: Literal["failed", "skipped", "not_applicable"]
    reason: str


@dataclass(frozen=True)
class SuiteTexts:
    """One text feature for every distinct prompt text of a suite, in suite order."""

    rows: Mapping[str, Mapping[str, torch.Tensor]]
    _stacked: dict[str, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts, in the order of `matrix`'s rows."""
        return tuple(self.rows)

    def matrix(self, name: str) -> torch.Tensor:
        """The tensor `name` of all texts, stacked once: `(texts, ...)`."""
        if name not in self._stacked:
            import torch

            self._stacked[name] = torch.stack([tensors[name] for tensors in self.rows.values()])
        return self._stacked[name]


@dataclass(frozen=True, slots=True)
class ClipFeatures:
    """Everything a clip metric may look at.

    `features[request]` is a mapping of named tensors. Text features of the clip's own prompt are found under
    their request like any other; `suite_texts` holds the same for every prompt of the suite, for metrics that
    rank a clip's prompt among the others. `problems` says why a feature is missing; a metric never sees a
    clip with a problem among its own requests.
    """

    record: ClipRecord
    features: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    suite_texts: Mapping[FeatureRequest, SuiteTexts] = field(default_factory=dict)
    problems: Mapping[FeatureRequest, FeatureProblem] = field(default_factory=dict)

    def tensor(self, request: FeatureRequest, name: str) -> torch.Tensor:
        """The tensor `name` of a requested feature."""
        return self.features[request][name]
