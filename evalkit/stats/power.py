"""How much a comparison could have seen, and what it would take to see more."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import chi2, nct, t

__all__ = [
    "VarianceParts",
    "margin_for_gate",
    "margin_for_pass",
    "more_prompts_needed",
    "pass_probability",
    "prompts_needed",
    "smallest_detectable_effect",
    "variance_parts",
]


def _reach(alpha: float, power: float) -> float:
    return float(ndtri(1 - alpha) + ndtri(power))


def smallest_detectable_effect(standard_error: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """MDE80: the smallest true change that this comparison would have called with 80% probability.

    `(z_{1-alpha} + z_power) * SE` = `(1.645 + 0.842) * SE`, in the metric's unit.
    """
    return _reach(alpha, power) * standard_error


def prompts_needed(deviation: float, margin: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Prompts that make an unchanged model PASS with probability `power`: `6.18 (sd / margin)^2`.

    Args:
        deviation: standard deviation of the mean paired difference over prompts.
        margin: non-inferiority margin, same unit, positive.
        alpha: one-sided error.
        power: wanted probability of PASS.
    """
    if not margin > 0:
        raise ValueError(f"the margin must be positive, got {margin}")
    # At least two: one prompt has no spread to judge by.
    return max(2, math.ceil((_reach(alpha, power) * deviation / margin) ** 2))


def more_prompts_needed(deviation: float, margin: float, prompts: int) -> int:
    """How many prompts to add to the `prompts` at hand to reach 80% power; 0 where they suffice."""
    return max(0, prompts_needed(deviation, margin) - prompts)


def pass_probability(margin_over_sd: float, prompts: int, effect_over_sd: float = 0.0) -> float:
    """Probability of PASS: the one-sided 95% lower bound lies above `-margin` (noncentral t).

    Args:
        margin_over_sd: margin in standard deviations of the prompt differences.
        prompts: number of prompts.
        effect_over_sd: true effect in the same unit; negative is worse.
    """
    shift = (margin_over_sd + effect_over_sd) * math.sqrt(prompts)
    return float(nct.sf(t.ppf(0.95, prompts - 1), prompts - 1, shift))


def margin_for_pass(power: float, prompts: int) -> float:
    """Margin, in standard deviations of the prompt differences, that an unchanged model passes with `power`."""
    return float(brentq(lambda margin: pass_probability(margin, prompts) - power, 1e-6, 1e3))


def margin_for_gate(prompts: int, checks: int, power: float = 0.95) -> float:
    """Margin, in *measured* standard deviations, with which an unchanged model passes `checks` checks at once.

    Every check must pass by itself, so each needs `power ** (1 / checks)` where checks are independent (the hardest
    case). A deviation that one pair of runs measured may be too small, most of all where differences have heavy
    tails: its upper confidence limit at the same level (chi-squared, `prompts - 1` degrees of freedom) stands in.

    Args:
        prompts: number of prompts, at least 2, of the measurement and of the gate.
        checks: number of checks in the policy.
        power: wanted probability that all of them pass.
    """
    level = power ** (1 / checks)
    upper = math.sqrt((prompts - 1) / float(chi2.ppf(1 - level, prompts - 1)))
    return upper * margin_for_pass(level, prompts)


class VarianceParts(NamedTuple):
    """Variance of paired differences, split by source; `Var(mean) = (between + within / seeds) / prompts`.

    Attributes:
        between: variance of the true prompt effects (never negative).
        within: variance between seeds of one prompt; None with one seed per prompt.
    """

    between: float
    within: float | None

    def standard_error(self, prompts: int, seeds: float) -> float:
        """Expected standard error of the mean with that many prompts and seeds per prompt."""
        return math.sqrt((self.between + (self.within or 0.0) / seeds) / prompts)


def variance_parts(differences: ArrayLike, prompt_ids: ArrayLike) -> VarianceParts:
    """One-way analysis of variance of paired differences, moment estimates, unequal seeds allowed.

    Args:
        differences: `(clips,)` paired differences.
        prompt_ids: `(clips,)` prompt of each.
    """
    values = np.asarray(differences, dtype=np.float64)
    _, index, counts = np.unique(np.asarray(prompt_ids), return_inverse=True, return_counts=True)
    prompts, clips = counts.size, values.size
    means = np.bincount(index, weights=values) / counts
    if prompts < 2:
        within = float(values.var(ddof=1)) if clips > 1 else None
        return VarianceParts(0.0, within)
    if clips == prompts:
        return VarianceParts(float(means.var(ddof=1)), None)
    within = float(((values - means[index]) ** 2).sum() / (clips - prompts))
    among = float((counts * (means - values.mean()) ** 2).sum() / (prompts - 1))
    typical = (clips - (counts.astype(float) ** 2).sum() / clips) / (prompts - 1)
    return VarianceParts(max(0.0, (among - within) / typical), within)
