"""Effects of many metrics over the same prompts, with intervals and p-values, in a few matrix products."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from evalkit.stats.intervals import Interval, studentized_intervals, t_interval
from evalkit.stats.significance import sign_flip_p_values

__all__ = ["Estimate", "effect_matrix", "estimate_effects"]


class Estimate(NamedTuple):
    """Mean paired difference over prompts.

    Attributes:
        interval: t interval with `prompts - 1` degrees of freedom.
        robust: studentized bootstrap interval.
        p_value: sign-flip test, two-sided.
        prompts: how many prompts.
    """

    interval: Interval
    robust: Interval
    p_value: float
    prompts: int


def effect_matrix(paired: pd.DataFrame) -> pd.DataFrame:
    """Mean oriented difference of every prompt (rows) under every metric (columns).

    A prompt without a pair under a metric has no entry there (NaN inside this matrix only; the outcome and
    the reason of every missing pair are kept in the clip table).

    Args:
        paired: rows with `metric_id`, `prompt_id` and `change`.
    """
    return paired.pivot_table(index="prompt_id", columns="metric_id", values="change", aggfunc="mean")


def estimate_effects(matrix: pd.DataFrame, seed: int, alpha: float, resamples: int) -> dict[str, Estimate]:
    """Estimate every column of `effect_matrix`.

    Metrics with the same prompts share resamples, and a metric's result does not depend on which others are
    there: the resamples depend on the seed and the number of prompts alone.

    Args:
        matrix: prompts by metrics.
        seed: of the resampling.
        alpha: two-sided error of the intervals.
        resamples: sign patterns and bootstrap samples.
    """
    present = matrix.notna().to_numpy()
    found: dict[str, Estimate] = {}
    for mask in np.unique(present.T, axis=0):
        names = [
            name for name, column in zip(matrix.columns, present.T, strict=True) if (column == mask).all()
        ]
        values = matrix.loc[mask, names].to_numpy(dtype=np.float64)
        if not len(values):
            continue
        p_values = sign_flip_p_values(values, np.random.default_rng([seed, 1]), resamples)
        robust = studentized_intervals(values, np.random.default_rng([seed, 2]), 1 - alpha, resamples)
        for column, name in enumerate(names):
            interval = t_interval(values[:, column], 1 - alpha)
            found[name] = Estimate(interval, robust[column], float(p_values[column]), len(values))
    return found
