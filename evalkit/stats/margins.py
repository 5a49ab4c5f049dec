"""Non-inferiority: is the new run no worse than the old one by more than a margin fixed beforehand?"""

from __future__ import annotations

from enum import StrEnum

from evalkit.stats.intervals import Interval

__all__ = ["Verdict", "judge_bounds", "judge_non_inferiority"]


class Verdict(StrEnum):
    """What a check concludes. INVALID: the evidence is missing or cannot be compared."""

    PASS = "PASS"
    REGRESS = "REGRESS"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


def judge_bounds(lower: float, upper: float, pass_above: float, regress_below: float) -> Verdict:
    """PASS where `lower > pass_above`; else REGRESS where `upper < regress_below`; else INCONCLUSIVE."""
    if lower > pass_above:
        return Verdict.PASS
    return Verdict.REGRESS if upper < regress_below else Verdict.INCONCLUSIVE


def judge_non_inferiority(effect: Interval, margin: float, alpha: float = 0.05) -> Verdict:
    """Verdict of one check by itself, before Holm's correction over the checks of a gate.

    Args:
        effect: mean paired difference, oriented so that higher is better.
        margin: the largest drop that is acceptable, in the metric's unit, not negative.
        alpha: one-sided error of both bounds.

    Raises:
        ValueError: the margin is negative.
    """
    if margin < 0:
        raise ValueError(f"the margin must not be negative, got {margin}")
    if effect.standard_error == 0 and effect.estimate == 0:
        return Verdict.PASS  # bit-identical runs: nothing changed, whatever the margin
    return judge_bounds(
        effect.bound("lower", 1 - alpha), effect.bound("upper", 1 - alpha), -margin, regress_below=0.0
    )
