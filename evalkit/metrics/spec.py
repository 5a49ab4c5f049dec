"""What a metric says of itself, and the two kinds of metric.

A clip metric scores one clip; a set metric compares the features of two sets of clips. Both are thin
adapters: the mathematics lives in `evalkit.metrics.functional` as pure functions on tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from evalkit.features.protocol import ClipFeatures, FeatureRequest

__all__ = ["ClipMetric", "ClipScore", "MetricSpec", "SetMetric", "SetScore"]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """The card of a metric, shown in reports and by `evalkit metrics show ID`.

    Args:
        id: dotted name (`temporal.flicker`). Peers' formulas live under the peer's name (`vbench.*`).
        version: raised whenever the same clip may get another score.
        title: a few words for a table header.
        description: one sentence on what a person sees when the score is bad.
        direction: which way is better.
        unit: unit of the value (`""` for a plain number).
        range: smallest and largest possible value, None where unbounded.
        min_frames: fewer frames give the status `not_applicable`.
        series: whether a series is kept, and what one value of it belongs to.
        formula: the definition, in words and symbols a reader can recompute.
        invariant_to: changes that must not move the score.
        limits: known limits, honestly.
        evidence: `measured` when validated against people or ground truth, else `proxy`.
        citation: where it comes from.
        default: whether it runs unless other metrics are asked for.
        leaf: failure class of the taxonomy that this metric is evidence for (`temporal.flicker`), or "".
    """

    id: str
    version: str
    title: str
    description: str
    direction: Literal["higher", "lower"]
    unit: str = ""
    range: tuple[float | None, float | None] = (None, None)
    min_frames: int = 1
    series: Literal["frame", "transition", "none"] = "none"
    formula: str = ""
    invariant_to: tuple[str, ...] = ()
    limits: str = ""
    evidence: Literal["measured", "proxy"] = "proxy"
    citation: str = ""
    default: bool = True
    leaf: str = ""


class ClipScore(NamedTuple):
    """Value of one clip, and its course over time.

    Args:
        value: finite. A metric that cannot say raises `NotApplicable`.
        series: one value a frame `(T,)` or a transition `(T-1,)`, in the value's direction of badness; None
            where time has no meaning.
    """

    value: float
    series: Sequence[float] | None = None


class SetScore(NamedTuple):
    """Distance between two sets of clips.

    Args:
        value: the estimate.
        interval: 95% interval, or None where the metric has no honest one.
        noise_floor: the value that two halves of the reference give, or None.
        protocol: every number that defines the value; two values with other protocols are not comparable.
        n_generated, n_reference: clips on each side.
        p_value: how probable so large a value would be if both sides came from one distribution, or None where the
            metric has no such test. Clips count as independent.
    """

    value: float
    interval: tuple[float, float] | None
    noise_floor: float | None
    protocol: str
    n_generated: int
    n_reference: int
    p_value: float | None = None


@runtime_checkable
class ClipMetric(Protocol):
    """Scores one clip. Constructor parameters are stored under their own names and nothing else happens."""

    spec: ClassVar[MetricSpec]

    @property
    def params(self) -> Mapping[str, str | int | float | bool | None]:
        """Constructor parameters; part of the score's key."""
        ...

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Features that `score` reads."""
        ...

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Score one clip.

        Raises:
            NotApplicable: the clip cannot be scored by this metric; the reason becomes the row's reason.
        """
        ...


@runtime_checkable
class SetMetric(Protocol):
    """Compares two sets of clips by their features.

    Optional methods: `score_statistics(generated, statistics, *, seed)` for a reference of which only count, mean and
    scatter are known; `feature_protocol()` for metrics that take reference files; `score_prompts(rows, prompts)` and
    `per_prompt(rows, prompts)` for a metric that needs no reference but knows which rows belong to one prompt.
    """

    spec: ClassVar[MetricSpec]

    @property
    def params(self) -> Mapping[str, str | int | float | bool | None]: ...

    def requires(self) -> tuple[FeatureRequest, ...]: ...

    def vector(self, clip: ClipFeatures) -> torch.Tensor:
        """The clip's rows of the feature matrix, `(k, D)`."""
        ...

    def score(self, generated: torch.Tensor, reference: torch.Tensor, *, seed: int) -> SetScore:
        """Compare two feature matrices `(n, D)` and `(m, D)`."""
        ...
