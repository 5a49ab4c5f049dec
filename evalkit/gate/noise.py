"""What two runs of one unchanged model differ by, and the margins that this allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from evalkit.compare.runs import compare_runs
from evalkit.errors import EvalkitError
from evalkit.runs.store import Run
from evalkit.stats.power import margin_for_gate, margin_for_pass

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
        margin_alone: what an unchanged model passes with 95% probability, with as many prompts and samples, where
            this is the only check and the measured deviation is the true one.
        margin_together: what it passes together with a check of every other metric, with 95% probability for all
            of them, allowing for a deviation that was measured too small.
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
    margin_alone: float
    margin_together: float


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
    rows = [row for row in comparison.effects if row.standard_error is not None]
    checks = sum(row.deviation is not None and row.deviation > 0 for row in rows)
    found = []
    for row in rows:
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
                margin_for_pass(0.95, row.prompts) * row.deviation,
                margin_for_gate(row.prompts, max(1, checks)) * row.deviation,
            )
        )
    return found


def policy_lines(found: Sequence[Noise]) -> str:
    """Checks for a policy, with the margins for all of them together rounded up to two digits."""
    lines = ["checks:"]
    for row in found:
        if row.margin_together > 0:
            margin = _rounded_up(row.margin_together)
            lines.append(f"  - {{id: {row.metric_id}, metric: {row.metric_id}, margin: {margin:.2g}}}")
    return "\n".join(lines) + "\n"


def _rounded_up(value: float) -> float:
    import math

    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / step - 1e-9) * step
