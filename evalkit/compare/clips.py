"""Clip by clip and prompt by prompt: what regressed, what was fixed, what stayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from evalkit.compare.types import ClipOutcome
from evalkit.runs.manifest import MetricRecord
from evalkit.runs.store import Run
from evalkit.stats.pairing import Outcome, pair_scores
from evalkit.stats.power import variance_parts

__all__ = ["clip_table", "clip_threshold", "paired_changes", "prompt_table"]

_CLIP_COLUMNS = [
    "metric_id", "candidate", "prompt_id", "group", "sample_index", "category", "seed_a", "seed_b", "clip_id_a",
    "clip_id_b", "value_a", "value_b", "change", "threshold", "outcome", "reason",
]  # fmt: skip


def paired_changes(a: Run, b: Run, records: Sequence[MetricRecord]) -> pd.DataFrame:
    """`pair_scores` of the given clip metrics, with `change`: the oriented difference, positive is better."""
    wanted = {record.id: 1.0 if record.direction == "higher" else -1.0 for record in records}
    first, second = (run.scores[run.scores["metric_id"].isin(wanted)] for run in (a, b))
    pairs = pair_scores(first, second)
    change = pairs["metric_id"].map(wanted).astype(float) * (pairs["value_b"] - pairs["value_a"])
    return pairs.assign(change=change.where(pairs["outcome"] == Outcome.PAIRED.value))


def clip_threshold(paired: pd.DataFrame, margin: float | None) -> float:
    """How far one clip must move to be called regressed or fixed.

    Twice the standard deviation that another seed of the same prompt gives the difference (with one seed per
    prompt, of all differences), and never less than the margin: a margin bounds the mean over prompts, and
    single clips scatter more than their mean.

    Args:
        paired: pairs of one metric, with `change`.
        margin: largest acceptable drop, or None.
    """
    if len(paired) < 2:
        return float("inf")
    within = variance_parts(paired["change"], paired["prompt_id"]).within
    noise = 2 * float(np.sqrt(within) if within is not None else paired["change"].std(ddof=1))
    return max(noise, margin or 0.0)


def clip_table(pairs: pd.DataFrame, margins: Mapping[str, float], candidate: str) -> pd.DataFrame:
    """One row per planned clip and metric, see `Comparison.clips`."""
    paired = pairs[pairs["outcome"] == Outcome.PAIRED.value]
    thresholds = {
        str(metric_id): clip_threshold(rows, margins.get(str(metric_id)))
        for metric_id, rows in paired.groupby("metric_id")
    }
    threshold = pairs["metric_id"].map(thresholds).astype(float)
    is_paired = pairs["outcome"] == Outcome.PAIRED.value
    outcome = np.select(
        [
            is_paired & (pairs["change"] < -threshold),
            is_paired & (pairs["change"] > threshold),
            is_paired,
            pairs["outcome"] == Outcome.FAILED_B.value,
            pairs["outcome"] == Outcome.FAILED_A.value,
        ],
        [
            ClipOutcome.REGRESSED.value,
            ClipOutcome.FIXED.value,
            ClipOutcome.UNCHANGED.value,
            ClipOutcome.NEWLY_FAILED.value,
            ClipOutcome.RECOVERED.value,
        ],
        default=ClipOutcome.UNKNOWN.value,
    )
    reason = pairs["reason_b"].where(pairs["reason_b"].notna(), pairs["reason_a"])
    missing = {
        Outcome.ONLY_A.value: "the candidate has no such clip",
        Outcome.ONLY_B.value: "only in the candidate",
    }
    reason = reason.where(~pairs["outcome"].isin(missing), pairs["outcome"].map(missing))
    table = pairs.assign(
        candidate=candidate, threshold=threshold, outcome=outcome, reason=reason.where(~is_paired)
    )
    return table[_CLIP_COLUMNS]


def prompt_table(pairs: pd.DataFrame, candidate: str) -> pd.DataFrame:
    """One row per metric and prompt with a pair, see `Comparison.prompts`."""
    paired = pairs[pairs["outcome"] == Outcome.PAIRED.value]
    table = paired.groupby(["metric_id", "prompt_id"], as_index=False).agg(
        category=("category", "first"),
        baseline_mean=("value_a", "mean"),
        candidate_mean=("value_b", "mean"),
        effect=("change", "mean"),
        samples=("change", "size"),
    )
    table.insert(1, "candidate", candidate)
    return table
