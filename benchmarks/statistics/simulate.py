"""How often do the tests, the gate and the set-metric comparison err? Answers by simulation.

Every replicate is a whole comparison of two models that are equal (or differ by a known amount). The code under
test is evalkit's own; only the data are made up. Replicates are handed to the vectorised functions as columns, so
a study of thousands takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evalkit.gate.verdict import CheckResult, conclude, confirm_regressions
from evalkit.stats.intervals import resample_counts, studentized_intervals, t_interval
from evalkit.stats.looks import look_levels
from evalkit.stats.margins import Verdict, judge_non_inferiority
from evalkit.stats.power import margin_for_gate
from evalkit.stats.sets import compare_distances, compare_kernel_distances
from evalkit.stats.significance import sign_flip_p_values

Array = NDArray[np.float64]

SEEDS = 4
METHODS = ("t on clips", "t on prompt means", "percentile bootstrap", "studentized bootstrap", "sign flips")


def null_differences(rng: np.random.Generator, replicates: int, prompts: int, seeds: int) -> Array:
    """Paired differences of two equal models, `(replicates, prompts, seeds)`.

    Prompts differ in how they suit either model, and skewly so (an exponential with mean zero); seeds of one prompt
    add as much variance again. Half of the variance of a clip is then common to its prompt.
    """
    prompt = rng.exponential(size=(replicates, prompts, 1)) - 1.0
    return prompt + rng.normal(size=(replicates, prompts, seeds))


def prompt_spread(rng: np.random.Generator, replicates: int, prompts: int) -> Array:
    """How much seeds of each prompt differ, `(replicates, prompts, 1)`."""
    return rng.lognormal(sigma=0.5, size=(replicates, prompts, 1))


def unchanged_differences(
    rng: np.random.Generator, replicates: int, prompts: int, seeds: int, spread: Array | None = None
) -> Array:
    """Paired differences of one model run twice: what prompts are like cancels, two sets of seeds remain.

    The scores of single seeds are skewed (lognormal), and their spread differs between prompts.
    """
    spread = prompt_spread(rng, replicates, prompts) if spread is None else spread
    first, second = rng.lognormal(sigma=0.75, size=(2, replicates, prompts, seeds))
    return spread * (first - second)


def type_one_error(prompts: int, replicates: int, seed: int, resamples: int = 1999) -> dict[str, float]:
    """Share of comparisons of equal models that are called different at a nominal 5%, by method."""
    rng = np.random.default_rng([seed, prompts])
    clips = null_differences(rng, replicates, prompts, SEEDS)
    means = clips.mean(axis=2).T  # (prompts, replicates): every replicate is a column
    flat = clips.reshape(replicates, -1)
    intervals = studentized_intervals(means, rng, 0.95, resamples)
    replicated = resample_counts(prompts, resamples, rng) @ means / prompts
    low, high = np.quantile(replicated, [0.025, 0.975], axis=0)
    p_values = {
        "t on clips": stats.ttest_1samp(flat, 0.0, axis=1).pvalue,
        "t on prompt means": stats.ttest_1samp(means, 0.0, axis=0).pvalue,
        "sign flips": sign_flip_p_values(means, rng, resamples),
    }
    rejected = {name: float((p <= 0.05).mean()) for name, p in p_values.items()}
    rejected["percentile bootstrap"] = float(((low > 0) | (high < 0)).mean())
    rejected["studentized bootstrap"] = float(np.mean([i.low > 0 or i.high < 0 for i in intervals]))
    return {name: rejected[name] for name in METHODS}


class GateRates(NamedTuple):
    """Shares of simulated gates by verdict, and by what naive gates would have done.

    named: the gate called the first metric regressed, the one that an effect is put on.
    any_drop: a gate that blocks any drop of any mean.
    uncorrected: a gate that blocks any metric whose 95% interval lies below zero.
    """

    passed: float
    regressed: float
    inconclusive: float
    named: float
    any_drop: float
    uncorrected: float


def gate_rates(
    *,
    prompts: int = 64,
    seeds: int = 3,
    metrics: int = 12,
    margin_sd: float | None = 0.4,
    effect_margins: float = 0.0,
    unchanged: bool = True,
    replicates: int,
    seed: int,
) -> GateRates:
    """Simulate gates with `metrics` independent metrics; the first is worse by `effect_margins` margins.

    Independent metrics are the hardest case for false alarms. The margin is in standard deviations of the prompt
    differences; None takes what `evalkit gate noise` proposes from two earlier runs with the same prompts.
    `unchanged`: one model run twice; otherwise two models that are equal on average and differ, skewly, in which
    prompts suit them.
    """
    rng = np.random.default_rng([seed, prompts, metrics])
    counts = dict.fromkeys(Verdict, 0)
    named = any_drop = uncorrected = 0
    draw = unchanged_differences if unchanged else null_differences
    true_margin = (margin_sd or 0.0) * float(draw(rng, 400, prompts, seeds).mean(axis=2).std())
    margins = np.full(metrics, true_margin)
    for _ in range(replicates):
        if margin_sd is None:
            spread = prompt_spread(rng, metrics, prompts)
            earlier = unchanged_differences(rng, metrics, prompts, seeds, spread).mean(axis=2)
            margins = margin_for_gate(prompts, metrics) * earlier.std(axis=1, ddof=1)
            effects = unchanged_differences(rng, metrics, prompts, seeds, spread).mean(axis=2)
        else:
            effects = draw(rng, metrics, prompts, seeds).mean(axis=2)
        effects[0] -= effect_margins * margins[0]
        intervals = [t_interval(values) for values in effects]
        results = [
            CheckResult(
                id=str(number),
                kind="non-inferiority",
                verdict=judge_non_inferiority(interval, margins[number]),
                sentence="",
                p_value=interval.p_below(0.0),
            )
            for number, interval in enumerate(intervals)
        ]
        results = confirm_regressions(results, 0.05)
        counts[Verdict(conclude(results).verdict)] += 1
        named += results[0].verdict is Verdict.REGRESS
        any_drop += bool((effects.mean(axis=1) < 0).any())
        uncorrected += any(interval.high < 0 for interval in intervals)
    return GateRates(
        counts[Verdict.PASS] / replicates,
        counts[Verdict.REGRESS] / replicates,
        counts[Verdict.INCONCLUSIVE] / replicates,
        named / replicates,
        any_drop / replicates,
        uncorrected / replicates,
    )


def frechet(reference: Array) -> Callable[[Array], float]:
    """Squared Frechet distance to a fixed reference, for few dimensions."""
    mean, spread = reference.mean(axis=0), np.cov(reference, rowvar=False)

    def distance(features: Array) -> float:
        gap, cov = features.mean(axis=0) - mean, np.cov(features, rowvar=False)
        cross = np.sqrt(np.maximum(np.linalg.eigvals(cov @ spread).real, 0.0)).sum()
        return float(gap @ gap + np.trace(cov) + np.trace(spread) - 2 * cross)

    return distance


class SetRates(NamedTuple):
    """Rejections at 5% by the label-swap test, and coverage of the 95% bootstrap interval."""

    rejected: float
    covered: float


def set_rates(metric: str, replicates: int, seed: int, prompts: int = 48, resamples: int = 199) -> SetRates:
    """A/A comparisons of FVD or KVD to one reference: two samples per prompt, 8 feature dimensions."""
    rng = np.random.default_rng([seed, len(metric), prompts])
    width, samples = 8, 2
    ids = np.repeat(np.arange(prompts), samples)
    rejected = covered = 0
    for _ in range(replicates):
        content = np.repeat(rng.normal(size=(prompts, width)), samples, axis=0)
        a = content + rng.normal(size=content.shape)
        b = content + rng.normal(size=content.shape)
        reference = rng.normal(0, math.sqrt(2), size=(200, width))
        if metric == "KVD":
            found = compare_kernel_distances(a, b, reference, ids, rng, resamples=resamples)
        else:
            found = compare_distances(a, b, frechet(reference), ids, rng, resamples=resamples)
        rejected += found.p_value <= 0.05
        covered += found.difference.low <= 0 <= found.difference.high
    return SetRates(rejected / replicates, covered / replicates)


class LookRates(NamedTuple):
    """False alarms of three looks: planned with O'Brien-Fleming spending, and at a plain 5% each time."""

    planned: float
    unplanned: float


def look_rates(replicates: int, seed: int, prompts: int = 96) -> LookRates:
    """Three looks at a third, two thirds and all of the prompts; one-sided t tests of equal models."""
    rng = np.random.default_rng([seed, prompts, 3])
    levels = look_levels([1 / 3, 2 / 3, 1.0])
    effects = null_differences(rng, replicates, prompts, SEEDS).mean(axis=2)
    p_values = np.stack(
        [
            stats.ttest_1samp(effects[:, : round(prompts * share)], 0.0, axis=1, alternative="less").pvalue
            for share in (1 / 3, 2 / 3, 1.0)
        ]
    )
    planned = (p_values <= np.array(levels)[:, None]).any(axis=0).mean()
    return LookRates(float(planned), float((p_values <= 0.05).any(axis=0).mean()))
