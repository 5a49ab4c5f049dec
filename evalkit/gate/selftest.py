"""A gate that was never seen to fire is unverified: inject known defects into the tables and look.

Every check gets a candidate that is spoiled exactly where the check looks, and as much as its limit says; the
gate must turn red and name that check. `defects` does the same with real clips.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import singledispatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from evalkit.gate.checks import evaluate
from evalkit.gate.evidence import Evidence, Missing
from evalkit.gate.policy import Absolute, Budget, Cases, Check, NonInferiority, Policy, Quantile, Rate
from evalkit.gate.run import GateResult, judge
from evalkit.runs.store import Run
from evalkit.stats.margins import Verdict
from evalkit.stats.pairing import prompt_means
from evalkit.suites.case_files import load_cases
from evalkit.suites.cases import Case, prompt_id

__all__ = ["Injection", "selftest", "selftest_conclusion"]


class Injection(NamedTuple):
    """One injected defect and what the gate said.

    `seen` is "red" (REGRESS or INVALID, as it must be), "unsure" (INCONCLUSIVE: too few prompts for this margin),
    "blind" (PASS) or "untested" (the check could not be judged to begin with).
    """

    check: str
    injected: str
    verdict: str
    exit_code: int
    seen: str
    sentence: str


def selftest(policy: Policy, evidence: Evidence, today: datetime.date) -> list[Injection]:
    """Spoil the candidate once per check, and twice for completeness; waivers are left out on purpose."""
    unspoiled = {check.id: evaluate(check, evidence) for check in policy.checks}
    found = [_broken_evidence(policy, evidence, today, *case) for case in _incomplete(evidence)]
    for check in policy.checks:
        try:
            spoiled, injected = _spoil(check, evidence)
        except Missing as missing:
            found.append(Injection(check.id, "nothing", "INVALID", 4, "untested", f"{missing}"))
            continue
        # Checks of other metrics see what they saw before.
        metric = getattr(check, "metric", None)
        untouched = {
            other.id: unspoiled[other.id]
            for other in policy.checks
            if other is not check and getattr(other, "metric", "cases") != metric
        }
        result = judge(policy, spoiled, (), today, untouched)
        mine = next(entry for entry in result.results if entry.id == check.id)
        seen = {Verdict.REGRESS: "red", Verdict.INCONCLUSIVE: "unsure", Verdict.PASS: "blind"}.get(
            mine.verdict, "untested"
        )
        found.append(
            Injection(
                check.id, injected, mine.verdict.value, result.conclusion.exit_code, seen, mine.sentence
            )
        )
    return found


def selftest_conclusion(found: list[Injection]) -> tuple[int, str]:
    """Exit code and headline: 0 all red, 1 a defect passed unseen, 3 unsure, 4 a check could not be tested."""
    for seen, code in (("blind", 1), ("untested", 4), ("unsure", 3)):
        names = [entry.check for entry in found if entry.seen == seen]
        if names:
            words = {
                "blind": "did not see",
                "untested": "could not be tested for",
                "unsure": "is not sure of",
            }[seen]
            return code, f"the gate {words} the defect injected for: {', '.join(names)}"
    return 0, f"the gate saw all {len(found)} injected defects"


def with_tables(run: Run, **tables: object) -> Run:
    """The run with some of its lazily read attributes replaced."""
    copy = Run(run.folder, run.manifest)
    vars(copy).update(tables)
    return copy


def _incomplete(evidence: Evidence) -> Iterator[tuple[str, Run]]:
    run, lost = evidence.candidate, evidence.defaults.max_failed_clips + 1
    generations = run.generations.copy()
    generations.loc[generations.index[:lost], "status"] = "missing"
    yield f"{lost} clips missing", with_tables(run, generations=generations)


def _broken_evidence(
    policy: Policy, evidence: Evidence, today: datetime.date, injected: str, run: Run
) -> Injection:
    result: GateResult = judge(policy, replace(evidence, candidate=run), (), today)
    verdict = result.results[0].verdict
    seen = "red" if verdict is Verdict.INVALID and result.conclusion.exit_code == 4 else "blind"
    return Injection(
        "completeness", injected, verdict.value, result.conclusion.exit_code, seen, result.results[0].sentence
    )


@singledispatch
def _spoil(check: Check, evidence: Evidence) -> tuple[Evidence, str]:
    raise TypeError(f"no defect is known for checks of kind {check.kind}")


def _with_values(evidence: Evidence, metric: str, change: Callable[[pd.DataFrame], pd.Series]) -> Evidence:
    """The evidence with other values of one metric in the candidate."""
    scores = evidence.candidate.scores.copy()
    chosen = (scores["metric_id"] == metric) & (scores["status"] == "ok")
    scores.loc[chosen, "value"] = change(scores[chosen])
    return replace(evidence, candidate=with_tables(evidence.candidate, scores=scores))


def _sign(evidence: Evidence, metric: str) -> float:
    return 1.0 if evidence.record(metric).direction == "higher" else -1.0


@_spoil.register
def _worse_than_margin(check: NonInferiority, evidence: Evidence) -> tuple[Evidence, str]:
    margin = check.margin if check.margin is not None else evidence.locked_margins.get(check.id, 0.0)
    if evidence.record(check.metric).kind == "set":
        return _shifted_vectors(check, evidence)
    rows = evidence.paired(check.metric, check.slice).table
    effect = float(prompt_means(rows["prompt_id"], rows["change"]).means.mean())
    shift = _sign(evidence, check.metric) * (-2 * margin - effect)
    return _with_values(
        evidence, check.metric, lambda rows: rows["value"] + shift
    ), f"a drop of {2 * margin:.4g}, twice the margin"


def _shifted_vectors(check: NonInferiority, evidence: Evidence) -> tuple[Evidence, str]:
    evidence.require_baseline(check.metric)
    run = evidence.candidate
    keys, vectors = run.vectors(check.metric)
    far = vectors + 3 * vectors.std(axis=0, keepdims=True).astype(vectors.dtype)

    def replaced(metric_id: str) -> tuple[list[tuple[str, str, int]], np.ndarray]:
        return (keys, far) if metric_id == check.metric else run.vectors(metric_id)

    return replace(
        evidence, candidate=with_tables(run, vectors=replaced)
    ), "features moved by three deviations"


def _beyond(
    check: Absolute | Budget | Quantile, evidence: Evidence, limit: float, at_least: bool, now: float
) -> tuple[Evidence, str]:
    rows = evidence.single(check.metric, check.slice).table
    spread = float(rows["value"].std(ddof=1)) if len(rows) > 1 else 0.0
    target = limit + (-1 if at_least else 1) * max(spread, 0.1 * abs(limit), 1e-9)
    spoiled = _with_values(evidence, check.metric, lambda rows: rows["value"] + (target - now))
    return spoiled, f"moved from {now:.4g} to {target:.4g}, beyond the limit of {limit:.4g}"


@_spoil.register
def _beyond_absolute(check: Absolute, evidence: Evidence) -> tuple[Evidence, str]:
    if evidence.record(check.metric).kind == "set":
        raise Missing("set metrics with an absolute limit have no clip values to spoil")
    rows = evidence.single(check.metric, check.slice).table
    now = float(prompt_means(rows["prompt_id"], rows["value"]).means.mean())
    limit = check.min if check.min is not None else check.max or 0.0
    return _beyond(check, evidence, limit, check.min is not None, now)


@_spoil.register
def _beyond_quantile(check: Quantile, evidence: Evidence) -> tuple[Evidence, str]:
    now = float(np.quantile(evidence.single(check.metric, check.slice).table["value"], check.q))
    limit = check.min if check.min is not None else check.max or 0.0
    return _beyond(check, evidence, limit, check.min is not None, now)


@_spoil.register
def _beyond_budget(check: Budget, evidence: Evidence) -> tuple[Evidence, str]:
    if check.max is not None:
        rows = evidence.single(check.metric, check.slice).table
        now = float(prompt_means(rows["prompt_id"], rows["value"]).means.mean())
        return _beyond(check, evidence, check.max, False, now)
    rows = evidence.paired(check.metric, check.slice).table
    factor = (1 + 2 * (check.max_relative_increase or 0.0)) * float(
        rows["value_a"].mean() / rows["value_b"].mean()
    )
    spoiled = _with_values(evidence, check.metric, lambda rows: rows["value"] * factor)
    return spoiled, f"twice the allowed increase ({200 * (check.max_relative_increase or 0.0):g}%)"


@_spoil.register
def _too_many(check: Rate, evidence: Evidence) -> tuple[Evidence, str]:
    evidence.single(check.metric, check.slice)
    share = min(1.0, 2 * check.max_rate + 0.25)
    bad = check.worse_than - _sign(evidence, check.metric) * max(0.1 * abs(check.worse_than), 1e-9)

    def change(rows: pd.DataFrame) -> pd.Series:
        values = rows["value"].copy()
        # Evenly over the table, so that every slice and every prompt has its share.
        marked = np.floor(np.arange(1, len(values) + 1) * share) > np.floor(np.arange(len(values)) * share)
        values[marked] = bad
        return values

    return _with_values(evidence, check.metric, change), f"{100 * share:g}% of the clips at {bad:.4g}"


@_spoil.register
def _case_returns(check: Cases, evidence: Evidence) -> tuple[Evidence, str]:
    fixed = [
        case for case in load_cases(Path(check.where.path).parent / check.suite) if case.state == "fixed"
    ]
    if not fixed:
        raise Missing("no case is fixed yet, so none can come back")
    case, run = fixed[0], evidence.cases_run
    bad = _bad_value(case)
    names = [prompt_id(case, seed) for seed in case.seeds]
    scores = run.scores.copy()
    hit = scores["prompt_id"].isin(names) & (scores["metric_id"] == case.detector.metric)
    scores.loc[hit & (scores["status"] == "ok"), "value"] = bad
    tables: dict[str, object] = {"scores": scores}
    if case.detector.window is not None:
        series = run.series.copy()
        inside = series["prompt_id"].isin(names) & (series["metric_id"] == case.detector.metric)
        series["values"] = [
            np.full_like(values, bad) if chosen else values
            for values, chosen in zip(series["values"], inside, strict=True)
        ]
        tables["series"] = series
    return replace(evidence, cases_run=with_tables(run, **tables)), f"case {case.id} fails again"


def _bad_value(case: Case) -> float:
    floor, ceiling = case.detector.min, case.detector.max
    if floor is not None:
        return floor - abs(floor) - 1.0
    return (
        (ceiling or 0.0) + abs(ceiling or 0.0) + 1.0 if ceiling is None or math.isfinite(ceiling) else ceiling
    )
