"""What two runs of one unchanged model differ by, and the margins that this allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from evalkit.compare.runs import compare_runs
from evalkit.errors import EvalkitError
from evalkit.runs.store import Run
from evalkit.stats.power import pass_probability

__all__ = ["Noise", "measure_noise", "policy_lines"]


class Noise(NamedTuple):
    """Variation of one metric between two runs of one model.

    Attributes:
        metric_id, title, unit: the metric.
        prompts, samples: what it was measured on.
        effect: mean difference; an unchanged model has none but chance.
        deviation: standard deviation of the prompt differences.
        standard_error: of the mean difference.
        p_value: sign-flip test; small values put "one model" in doubt.
        margin_80, margin_95: margins that an unchanged model passes with 80% and 95% probability, with as many
            prompts and samples.
    """

    metric_id: str
    title: str
    unit: str
    prompts: int
    samples: float
    effect: float
    deviation: float
    standard_error: float
    p_value: float
    margin_80: float
    margin_95: float


def measure_noise(a: Run, b: Run, metrics: Sequence[str] | None = None, seed: int = 0) -> list[Noise]:
    """Measure A/A variation.

    Args:
        a: a run.
        b: a run of the same model, with other seeds.
        metrics: default: all that both have.
        seed: of the resampling.

    Raises:
        EvalkitError: the runs are of different models, or share all seeds, so that nothing can vary.
    """
    first, second = a.manifest.model, b.manifest.model
    if (first.id, first.revision, first.weights, first.config) != (
        second.id, second.revision, second.weights, second.config,
    ):  # fmt: skip
        raise EvalkitError(
            f"{a.folder} and {b.folder} are of different models ({first.id} {first.revision} and {second.id} "
            f"{second.revision}); noise is measured between two runs of one model"
        )
    comparison = compare_runs([a, b], labels=["first", "second"], metrics=metrics, seed=seed)
    clips = comparison.clips
    if len(clips) and (clips["clip_id_a"] == clips["clip_id_b"]).all():
        raise EvalkitError(
            f"{a.folder} and {b.folder} hold the same clips; make the second run with another --seed"
        )
    found = []
    for row in comparison.effects:
        if row.standard_error is None or row.deviation is None or row.effect is None or row.p_value is None:
            continue
        found.append(
            Noise(
                row.metric_id,
                row.title,
                row.unit,
                row.prompts,
                row.samples,
                row.effect,
                row.deviation,
                row.standard_error,
                row.p_value,
                _margin(0.80, row.prompts) * row.deviation,
                _margin(0.95, row.prompts) * row.deviation,
            )
        )
    return found


def _margin(power: float, prompts: int) -> float:
    """Margin in standard deviations that an unchanged model passes with probability `power`."""
    from scipy.optimize import brentq

    return float(brentq(lambda margin: pass_probability(margin, prompts) - power, 1e-6, 1e3))


def policy_lines(found: Sequence[Noise]) -> str:
    """Checks for a policy, with the 95% margins rounded up to two digits."""
    lines = ["checks:"]
    for row in found:
        if row.margin_95 > 0:
            margin = _rounded_up(row.margin_95)
            lines.append(f"  - {{id: {row.metric_id}, metric: {row.metric_id}, margin: {margin:.2g}}}")
    return "\n".join(lines) + "\n"


def _rounded_up(value: float) -> float:
    import math

    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / step - 1e-9) * step
