"""From pairs to rows of the comparison table, and the correction for having many rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from evalkit.compare.estimate import Estimate, effect_matrix, estimate_effects
from evalkit.compare.types import Effect, SetChange, Word
from evalkit.compare.words import choose_word, explain
from evalkit.runs.manifest import MetricRecord
from evalkit.stats.intervals import Interval
from evalkit.stats.pairing import Outcome, impute_worst, prompt_means
from evalkit.stats.power import more_prompts_needed, smallest_detectable_effect
from evalkit.stats.significance import benjamini_hochberg, holm

__all__ = ["correct_effects", "correct_sets", "effects_of", "slices_of"]


def effects_of(
    pairs: pd.DataFrame,
    records: Sequence[MetricRecord],
    labels: tuple[str, str],
    margins: Mapping[str, float],
    *,
    alpha: float,
    seed: int,
    resamples: int,
    part: tuple[str, str] = ("all", ""),
) -> list[Effect]:
    """One uncorrected row per metric.

    Args:
        pairs: from `paired_changes`, all of them or those of a slice.
        records: the metrics, in table order.
        labels: of baseline and candidate.
        margins: metric id to the largest acceptable drop.
        alpha, seed, resamples: see `compare_runs`.
        part: slice kind and name.
    """
    paired = pairs[pairs["outcome"] == Outcome.PAIRED.value]
    estimates = estimate_effects(effect_matrix(paired), seed, alpha, resamples)
    by_metric = {str(metric_id): rows for metric_id, rows in pairs.groupby("metric_id")}
    empty = pairs.iloc[:0]
    return [
        _describe(by_metric.get(record.id, empty), estimates.get(record.id), record, labels, margins, part)
        for record in records
    ]


def slices_of(
    pairs: pd.DataFrame, tags: Mapping[str, Sequence[str]]
) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The slices of a suite: ((kind, name), pairs in it), by category, then by tag.

    A slice that holds every prompt is the whole again and is left out.

    Args:
        pairs: from `paired_changes`.
        tags: prompt id to its tags.
    """
    prompts = set(pairs["prompt_id"])
    for category, rows in pairs.groupby("category"):
        if set(rows["prompt_id"]) != prompts:
            yield ("category", str(category)), rows
    for tag in sorted({tag for prompt in prompts for tag in tags.get(prompt, ())}):
        inside = {prompt for prompt in prompts if tag in tags.get(prompt, ())}
        if inside != prompts:
            yield ("tag", tag), pairs[pairs["prompt_id"].isin(inside)]


def _describe(
    pairs: pd.DataFrame,
    estimate: Estimate | None,
    record: MetricRecord,
    labels: tuple[str, str],
    margins: Mapping[str, float],
    part: tuple[str, str],
) -> Effect:
    counts = {str(name): int(count) for name, count in pairs["outcome"].value_counts().items()}
    paired = pairs[pairs["outcome"] == Outcome.PAIRED.value]
    margin = margins.get(record.id)
    common = Effect(
        metric_id=record.id,
        title=record.title,
        unit=record.unit,
        direction=record.direction,
        evidence=record.evidence,
        baseline=labels[0],
        candidate=labels[1],
        slice_kind=part[0],
        slice_name=part[1],
        baseline_mean=None,
        candidate_mean=None,
        effect=None,
        low=None,
        high=None,
        robust_low=None,
        robust_high=None,
        standard_error=None,
        deviation=None,
        p_value=None,
        p_adjusted=None,
        exploratory=part[0] != "all",
        prompts=0,
        samples=0.0,
        planned=len(pairs),
        paired=len(paired),
        missing={name: count for name, count in counts.items() if name != Outcome.PAIRED.value},
        worst_case_effect=None,
        smallest_detectable=None,
        margin=margin,
        more_prompts=None,
        word=Word.NOT_COMPARABLE,
        sentence="",
    )
    if estimate is None:
        reason = "no clip has a value in both runs"
        if counts.get(Outcome.NOT_APPLICABLE.value) == len(pairs):
            reason = "the metric does not apply to any of these clips"
        return replace(common, reason=reason, sentence=f"{record.title} cannot be compared: {reason}.")
    interval, robust, p_value, prompts = estimate
    bounded = math.isfinite(interval.standard_error)
    deviation = interval.standard_error * math.sqrt(prompts) if bounded else None
    return replace(
        common,
        baseline_mean=float(prompt_means(paired["prompt_id"], paired["value_a"]).means.mean()),
        candidate_mean=float(prompt_means(paired["prompt_id"], paired["value_b"]).means.mean()),
        effect=interval.estimate,
        low=interval.low if bounded else None,
        high=interval.high if bounded else None,
        # A resample without any spread can leave an end of the bootstrap interval open.
        robust_low=robust.low if math.isfinite(robust.low) else None,
        robust_high=robust.high if math.isfinite(robust.high) else None,
        standard_error=interval.standard_error if bounded else None,
        deviation=deviation,
        p_value=p_value,
        prompts=prompts,
        samples=len(paired) / prompts,
        worst_case_effect=_worst_case(pairs, record),
        smallest_detectable=smallest_detectable_effect(interval.standard_error) if bounded else None,
        more_prompts=more_prompts_needed(deviation, margin, prompts)
        if margin and deviation is not None
        else None,
    )


def _worst_case(pairs: pd.DataFrame, record: MetricRecord) -> float | None:
    complete = {Outcome.PAIRED.value, Outcome.NOT_APPLICABLE.value}
    if pairs["outcome"].isin(complete).all():
        return None
    higher = record.direction == "higher"
    filled = impute_worst(pairs, higher, record.range[0] if higher else record.range[1])
    change = (filled["value_b"] - filled["value_a"]) * (1 if higher else -1)
    return float(prompt_means(filled["prompt_id"], change).means.mean())


def correct_effects(effects: Sequence[Effect], alpha: float, *, exploratory: bool) -> tuple[Effect, ...]:
    """Adjust p-values over all rows (Holm; Benjamini-Hochberg for slices) and put the verdicts into words."""
    known = [effect for effect in effects if effect.p_value is not None]
    adjust = benjamini_hochberg if exploratory else holm
    adjusted = iter(adjust([effect.p_value or 0.0 for effect in known]))
    return tuple(
        effect
        if effect.p_value is None
        else _worded(replace(effect, p_adjusted=float(next(adjusted))), alpha)
        for effect in effects
    )


def _worded(effect: Effect, alpha: float) -> Effect:
    error = math.inf if effect.standard_error is None else effect.standard_error
    low = -math.inf if effect.low is None else effect.low
    high = math.inf if effect.high is None else effect.high
    interval = Interval(effect.effect or 0.0, low, high, error, max(1.0, effect.prompts - 1.0))
    word = choose_word(interval, _known(effect.p_adjusted), effect.margin, alpha)
    means = (effect.baseline_mean or 0.0, effect.candidate_mean or 0.0)
    sentence = explain(
        word,
        effect.title,
        effect.unit,
        interval,
        means,
        effect.margin,
        effect.smallest_detectable,
        effect.more_prompts,
        alpha,
    )
    return replace(effect, word=word, sentence=sentence)


def _known(p_value: float | None) -> float:
    return 1.0 if p_value is None else p_value


def correct_sets(
    changes: Sequence[SetChange], margins: Mapping[str, float], alpha: float
) -> tuple[SetChange, ...]:
    """Holm over the set metrics, and their verdicts in words."""
    adjusted = iter(holm([change.p_value for change in changes if change.p_value is not None]))
    rows = []
    for change in changes:
        if change.p_value is None or change.effect is None or change.low is None or change.high is None:
            rows.append(replace(change, sentence=f"{change.title} cannot be compared: {change.reason}."))
            continue
        p_adjusted = float(next(adjusted))
        # Half the interval stands in for the standard error: the bounds below are the bootstrap's own.
        error = (change.high - change.low) / (2 * 1.959964)
        interval = Interval(change.effect, change.low, change.high, error, math.inf)
        margin = margins.get(change.metric_id)
        word = choose_word(interval, p_adjusted, margin, alpha)
        means = (change.baseline_value or 0.0, change.candidate_value or 0.0)
        sentence = explain(word, change.title, change.unit, interval, means, margin, None, None, alpha)
        sentence = f"{sentence} Label swaps: p = {p_adjusted:.2g}; the interval is conservative."
        if change.baseline_p is not None and change.candidate_p is not None:
            sentence += (
                f" Each run against the reference (permutation test): p = {change.baseline_p:.2g} in the baseline, "
                f"{change.candidate_p:.2g} in the candidate."
            )
        rows.append(replace(change, p_adjusted=p_adjusted, word=word, sentence=sentence))
    return tuple(rows)
