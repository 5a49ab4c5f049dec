"""One function per kind of check: evidence in, `CheckResult` out."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import singledispatch
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr

from evalkit.compare.sets import compare_set_metric
from evalkit.compare.words import number, signed
from evalkit.gate.evidence import Evidence, Missing, Rows
from evalkit.gate.policy import Absolute, Budget, Cases, Check, NonInferiority, Quantile, Rate
from evalkit.gate.verdict import CheckResult, Example
from evalkit.runs.manifest import MetricRecord
from evalkit.stats.intervals import Interval, clustered_rate_interval, percentile_interval, t_interval
from evalkit.stats.margins import Verdict, judge_bounds, judge_non_inferiority
from evalkit.stats.pairing import prompt_means
from evalkit.stats.power import more_prompts_needed, smallest_detectable_effect
from evalkit.suites.case_files import load_cases
from evalkit.suites.cases import check_cases

__all__ = ["evaluate"]


def evaluate(check: Check, evidence: Evidence) -> CheckResult:
    """Judge one check by itself; missing evidence becomes INVALID with the reason."""
    common = CheckResult(
        id=check.id,
        kind=check.kind,
        verdict=Verdict.INVALID,
        sentence="",
        metric=getattr(check, "metric", ""),
        title=getattr(check, "metric", check.id),
        level=check.level,
        why=check.why,
        slice=f"{check.slice.kind}: {check.slice.name}" if check.slice else "",
        safety=check.safety,
        where=str(check.where),
    )
    try:
        if common.metric:
            record = evidence.record(common.metric)
            common = replace(common, title=record.title, unit=record.unit)
        return _judge(check, evidence, common)
    except Missing as missing:
        return replace(common, sentence=f"Cannot be judged: {missing}.")


@singledispatch
def _judge(check: Check, evidence: Evidence, common: CheckResult) -> CheckResult:
    raise TypeError(f"no function judges checks of kind {check.kind}")


@_judge.register
def _non_inferiority(check: NonInferiority, evidence: Evidence, common: CheckResult) -> CheckResult:
    margin = check.margin if check.margin is not None else evidence.locked_margins.get(check.id)
    if margin is None:
        raise Missing("neither the policy nor the baseline's lock file has a margin for it")
    record = evidence.record(check.metric)
    if record.kind == "set":
        return _set_non_inferiority(check, evidence, common, record, margin)
    rows = evidence.paired(check.metric, check.slice)
    means = prompt_means(rows.table["prompt_id"], rows.table["change"])
    interval = t_interval(means.means)
    verdict = judge_non_inferiority(interval, margin, evidence.alpha)
    bounded = math.isfinite(interval.standard_error)
    deviation = interval.standard_error * math.sqrt(len(means.means)) if bounded else None
    more = more_prompts_needed(deviation, margin, len(means.means)) if deviation is not None else None
    found = _filled(common, interval, evidence.alpha, rows)
    found = replace(
        found,
        verdict=verdict,
        limit=f"margin {number(margin)}",
        margin=margin,
        drop=max(0.0, -interval.estimate),
        p_value=interval.p_below(0.0),
        smallest_detectable=smallest_detectable_effect(interval.standard_error) if bounded else None,
        more_prompts=more,
        baseline_mean=float(prompt_means(rows.table["prompt_id"], rows.table["value_a"]).means.mean()),
        candidate_mean=float(prompt_means(rows.table["prompt_id"], rows.table["value_b"]).means.mean()),
    )
    return replace(found, sentence=_change_sentence(found, evidence))


def _change_sentence(result: CheckResult, evidence: Evidence) -> str:
    unit = f" {result.unit}" if result.unit else ""
    size = f"{number(abs(result.estimate or 0.0))}{unit}"
    course = f"{number(result.baseline_mean)} to {number(result.candidate_mean)}"
    allowed = f"{number(result.margin)}{unit}"
    match result.verdict:
        case Verdict.PASS if result.upper is not None and result.upper < 0:
            text = f"{result.title} got worse by {size} ({course}), less than the margin of {allowed}."
        case Verdict.PASS:
            text = f"{result.title} changed by {signed(result.estimate)}{unit} ({course}); a drop of {allowed} is ruled out."
        case Verdict.REGRESS:
            text = f"{result.title} got worse by {size} ({course}); at least {number(-(result.upper or 0.0))}{unit} is certain."
        case _:
            lower = "any size" if result.lower is None else f"{number(-result.lower)}{unit}"
            text = (
                f"{result.title} changed by {signed(result.estimate)}{unit} ({course}); a drop of {lower} is still "
                f"possible, {allowed} is allowed"
            )
            look = evidence.look
            if look is not None and look.number < look.total:
                text += f"; this is look {look.number} of {look.total}, go on with the next"
            elif result.more_prompts:
                text += f"; about {result.more_prompts} more prompts would settle it"
            text += "."
    if result.missing:
        text += f" {result.missing} clips without a value count as the worst score."
    return text


def _filled(common: CheckResult, interval: Interval, alpha: float, rows: Rows) -> CheckResult:
    bounded = math.isfinite(interval.standard_error)
    return replace(
        common,
        estimate=interval.estimate,
        lower=interval.bound("lower", 1 - alpha) if bounded else None,
        upper=interval.bound("upper", 1 - alpha) if bounded else None,
        standard_error=interval.standard_error if bounded else None,
        prompts=int(rows.table["prompt_id"].nunique()),
        clips=len(rows.table),
        missing=rows.missing,
        examples=rows.examples,
    )


def _set_non_inferiority(
    check: NonInferiority, evidence: Evidence, common: CheckResult, record: MetricRecord, margin: float
) -> CheckResult:
    if check.slice is not None or evidence.look is not None:
        raise Missing("a set metric is judged on the whole suite, not on a part of it")
    baseline = evidence.require_baseline(check.metric)
    # Bounds are one-sided, so a two-sided interval at twice the error holds both of them.
    found = compare_set_metric(
        baseline, evidence.candidate, record, evidence.defaults.seed, 2 * evidence.alpha
    )
    if found.difference is None:
        raise Missing(found.reason)
    if check.metric.endswith("fvd"):
        width = evidence.candidate.vectors(check.metric)[1].shape[1]
        if found.n_generated <= width:
            raise Missing(
                f"FVD of {found.n_generated} clips in {width} dimensions is mostly bias; gate it with more than "
                f"{width} clips, or gate set.kvd"
            )
    sign = 1.0 if record.direction == "higher" else -1.0
    difference = found.difference.difference
    effect = sign * difference.estimate
    lower, upper = sorted((sign * difference.low, sign * difference.high))
    half = found.difference.p_value / 2
    unchanged = difference.estimate == 0 and difference.standard_error == 0
    result = replace(
        common,
        verdict=Verdict.PASS if unchanged else judge_bounds(lower, upper, -margin, 0.0),
        estimate=effect,
        lower=lower,
        upper=upper,
        limit=f"margin {number(margin)}",
        margin=margin,
        drop=max(0.0, -effect),
        p_value=half if effect < 0 else 1 - half,
        standard_error=difference.standard_error,
        baseline_mean=found.baseline_value,
        candidate_mean=found.candidate_value,
        prompts=found.prompts,
        clips=found.n_generated,
    )
    return replace(result, sentence=_change_sentence(result, evidence))


def _held_to(
    common: CheckResult,
    interval: Interval,
    bounds: tuple[float, float],
    limit: float,
    at_least: bool,
    p_value: float,
) -> CheckResult:
    """Judge a value against a floor (`at_least`) or a ceiling, on its one-sided bounds."""
    sign = 1.0 if at_least else -1.0
    lower, upper = sorted((sign * bounds[0], sign * bounds[1]))
    verdict = judge_bounds(lower, upper, sign * limit, sign * limit)
    if interval.standard_error == 0 and interval.estimate == limit:
        verdict = Verdict.PASS
    unit = f" {common.unit}" if common.unit else ""
    words = f"{'at least' if at_least else 'at most'} {number(limit)}{unit}"
    part = f" in {common.slice}" if common.slice else ""
    text = f"{common.title}{part} is {number(interval.estimate)}{unit}; {words} is asked"
    if verdict is Verdict.INCONCLUSIVE:
        text += f", and it may be anything from {number(bounds[0])} to {number(bounds[1])}"
    return replace(
        common,
        verdict=verdict,
        estimate=interval.estimate,
        lower=bounds[0] if math.isfinite(bounds[0]) else None,
        upper=bounds[1] if math.isfinite(bounds[1]) else None,
        limit=words,
        drop=max(0.0, sign * (limit - interval.estimate)),
        p_value=p_value,
        sentence=f"{text}.",
    )


@_judge.register
def _absolute(check: Absolute, evidence: Evidence, common: CheckResult) -> CheckResult:
    at_least = check.min is not None
    limit = check.min if check.min is not None else check.max or 0.0
    if evidence.record(check.metric).kind == "set":
        return _set_absolute(check, evidence, common, limit, at_least)
    rows = evidence.single(check.metric, check.slice)
    return _mean_held_to(common, rows, evidence, limit, at_least)


def _mean_held_to(
    common: CheckResult, rows: Rows, evidence: Evidence, limit: float, at_least: bool
) -> CheckResult:
    interval = t_interval(prompt_means(rows.table["prompt_id"], rows.table["value"]).means)
    filled = _filled(common, interval, evidence.alpha, rows)
    bounds = (interval.bound("lower", 1 - evidence.alpha), interval.bound("upper", 1 - evidence.alpha))
    p_value = interval.p_below(limit) if at_least else interval.p_above(limit)
    return replace(
        _held_to(filled, interval, bounds, limit, at_least, p_value), candidate_mean=interval.estimate
    )


def _set_absolute(
    check: Absolute, evidence: Evidence, common: CheckResult, limit: float, at_least: bool
) -> CheckResult:
    if check.slice is not None:
        raise Missing("a set metric is judged on the whole suite, not on a slice")
    table = evidence.candidate.set_scores
    rows = table[(table["metric_id"] == check.metric) & (table["group"] == "")]
    if rows.empty or rows.iloc[0]["status"] != "ok":
        raise Missing(str(rows.iloc[0]["reason"]) if len(rows) else f"no value of {check.metric}")
    row = rows.iloc[0]
    bounds = (float(row["interval_low"]), float(row["interval_high"]))
    if not all(map(math.isfinite, bounds)):
        raise Missing(f"{check.metric} has no interval to judge by")
    error = (bounds[1] - bounds[0]) / (2 * 1.959964)
    interval = Interval(float(row["value"]), *bounds, error, math.inf)
    p_value = interval.p_below(limit) if at_least else interval.p_above(limit)
    return replace(
        _held_to(common, interval, bounds, limit, at_least, p_value), clips=int(row["n_generated"])
    )


@_judge.register
def _rate(check: Rate, evidence: Evidence, common: CheckResult) -> CheckResult:
    rows = evidence.single(check.metric, check.slice)
    higher = evidence.record(check.metric).direction == "higher"
    value = rows.table["value"]
    flags = value < check.worse_than if higher else value > check.worse_than
    interval = clustered_rate_interval(flags, rows.table["prompt_id"], 1 - 2 * evidence.alpha)
    filled = replace(_filled(common, interval, evidence.alpha, rows), unit="")
    side = "below" if higher else "above"
    filled = replace(filled, title=f"Share of clips with {common.title} {side} {number(check.worse_than)}")
    effective = _effective_size(interval, rows)
    spread = math.sqrt(check.max_rate * (1 - check.max_rate) / effective)
    p_value = float(ndtr((check.max_rate - interval.estimate) / spread)) if spread else float(not flags.any())
    result = _held_to(filled, interval, (interval.low, interval.high), check.max_rate, False, p_value)
    if check.max_rate == 0 and not flags.any():
        # No finite number of clips can show a rate of exactly zero: zero tolerance asks for zero cases.
        result = replace(result, verdict=Verdict.PASS, sentence=f"{filled.title} is 0, as asked.")
    count = f"{int(flags.sum())} of {len(flags)} clips"
    return replace(
        result, limit=f"at most {100 * check.max_rate:g}% of clips", sentence=f"{result.sentence} ({count})"
    )


def _effective_size(interval: Interval, rows: Rows) -> float:
    rate = interval.estimate
    if 0 < rate < 1 and interval.standard_error:
        return rate * (1 - rate) / interval.standard_error**2
    return float(rows.table["prompt_id"].nunique())


@_judge.register
def _quantile(check: Quantile, evidence: Evidence, common: CheckResult) -> CheckResult:
    rows = evidence.single(check.metric, check.slice)
    groups = [group["value"].to_numpy(dtype=float) for _, group in rows.table.groupby("prompt_id")]

    def statistic(chosen: np.ndarray) -> float:
        return float(np.quantile(np.concatenate([groups[prompt] for prompt in chosen]), check.q))

    rng = np.random.default_rng([evidence.defaults.seed, 4])
    interval = percentile_interval(statistic, len(groups), rng, 1 - 2 * evidence.alpha)
    at_least = check.min is not None
    limit = check.min if check.min is not None else check.max or 0.0
    filled = replace(
        _filled(common, interval, evidence.alpha, rows),
        title=f"The {100 * check.q:g}% quantile of {common.title}",
    )
    p_value = interval.p_below(limit) if at_least else interval.p_above(limit)
    return _held_to(filled, interval, (interval.low, interval.high), limit, at_least, p_value)


@_judge.register
def _budget(check: Budget, evidence: Evidence, common: CheckResult) -> CheckResult:
    if check.max is not None:
        return _mean_held_to(common, evidence.single(check.metric, check.slice), evidence, check.max, False)
    baseline = evidence.require_baseline(check.metric)
    here, there = evidence.candidate.manifest.environment, baseline.manifest.environment
    for name in ("device", "processor"):
        if here.get(name) != there.get(name):
            raise Missing(
                f"costs of different machines do not compare: {there.get(name)} and {here.get(name)}"
            )
    rows = evidence.paired(check.metric, check.slice)
    allowed = 1 + (check.max_relative_increase or 0.0)
    prompts = rows.table["prompt_id"]
    before = prompt_means(prompts, rows.table["value_a"]).means
    after = prompt_means(prompts, rows.table["value_b"]).means
    # mean(after) <= allowed * mean(before) is a statement on the mean of one paired difference.
    room = t_interval(allowed * before - after)
    verdict = judge_non_inferiority(room, 0.0, evidence.alpha)
    increase = float(after.mean() / before.mean() - 1) if before.mean() else math.inf
    filled = _filled(common, room, evidence.alpha, rows)
    text = (
        f"{common.title} went from {number(float(before.mean()))} to {number(float(after.mean()))} {common.unit} "
        f"({100 * increase:+.3g}%); {100 * (allowed - 1):g}% more is allowed."
    )
    return replace(
        filled,
        verdict=verdict,
        sentence=text,
        limit=f"at most {100 * (allowed - 1):g}% more",
        drop=max(0.0, increase),
        p_value=room.p_below(0.0),
        baseline_mean=float(before.mean()),
        candidate_mean=float(after.mean()),
    )


@_judge.register
def _cases(check: Cases, evidence: Evidence, common: CheckResult) -> CheckResult:
    cases = load_cases(Path(check.where.path).parent / check.suite)
    run = evidence.cases_run
    series = run.series if any(case.detector.window for case in cases) else pd.DataFrame()
    results = check_cases(run.scores, series, cases)
    by_outcome: dict[str, list[str]] = {}
    for result in results:
        by_outcome.setdefault(result.outcome, []).append(result.message)
    failed, missing = by_outcome.get("failed", []), by_outcome.get("missing", [])
    verdict = Verdict.INVALID if missing else Verdict.REGRESS if failed else Verdict.PASS
    told = [*missing, *failed, *by_outcome.get("unexpected_pass", [])]
    counts = ", ".join(f"{len(names)} {outcome.replace('_', ' ')}" for outcome, names in by_outcome.items())
    examples = tuple(
        Example(result.case.id, "", 0, entry.seed, None, None, entry.value, entry.reason)
        for result in results
        if result.outcome == "failed"
        for entry in result.seeds
        if entry.passed is False
    )
    return replace(
        common,
        verdict=verdict,
        title="Regression cases",
        sentence=f"{len(results)} cases: {counts}." + "".join(f" {text}." for text in told[:5]),
        limit="fixed cases stay fixed",
        drop=float(len(failed)),
        prompts=len(results),
        clips=sum(len(result.seeds) for result in results),
        examples=examples[:5],
    )
