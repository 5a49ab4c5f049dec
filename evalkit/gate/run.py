"""`run_gate`: a candidate, a baseline and a policy in, a verdict out."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalkit.compare.runs import failure_change
from evalkit.errors import EvalkitError, RunError
from evalkit.gate.baselines import Lock, find_baseline
from evalkit.gate.checks import evaluate
from evalkit.gate.evidence import Evidence
from evalkit.gate.policy import Budget, NonInferiority, Policy, PolicyError, load_policy
from evalkit.gate.verdict import (
    CheckResult,
    Conclusion,
    apply_waivers,
    conclude,
    conclude_error,
    confirm_regressions,
)
from evalkit.gate.waivers import Waiver, load_waivers
from evalkit.runs.store import Run, open_run
from evalkit.stats.margins import Verdict

__all__ = ["GateResult", "gather", "judge", "run_gate"]


@dataclass(frozen=True, slots=True)
class GateResult:
    """Everything a gate said.

    Attributes:
        conclusion: verdict, exit code and headline, from `verdict.conclude` or `verdict.conclude_error`.
        policy, baseline, candidate: what was judged, as paths or names.
        candidate_model, baseline_model: id and revision.
        results: one per check, the two built-in ones first; empty when the gate could not run.
        warnings: waivers and policy lines that deserve a look.
        alpha: one-sided error of each bound.
    """

    conclusion: Conclusion
    policy: str
    candidate: str
    baseline: str = ""
    candidate_model: str = ""
    baseline_model: str = ""
    results: tuple[CheckResult, ...] = ()
    warnings: tuple[str, ...] = ()
    alpha: float = 0.05


def run_gate(
    run: Path,
    policy: Path,
    *,
    baseline: str = "",
    baselines: Path = Path("benchmarks/baselines"),
    cases: Path | None = None,
    today: datetime.date | None = None,
) -> GateResult:
    """Judge a run. What goes wrong is a conclusion too, with its own exit code, so that outputs can be written.

    Args:
        run: folder of the candidate.
        policy: policy file.
        baseline: name of a promoted baseline, or folder of a run; "" takes the policy's.
        baselines: folder of promoted baselines.
        cases: folder of the run over the regression cases, if it is not the candidate itself.
        today: decides which waivers hold; default: the current day in UTC.

    Raises:
        Exception: a bug in evalkit, only where the environment variable EVALKIT_TRACEBACK is set.
    """
    try:
        read = load_policy(policy)
        waivers = load_waivers(read.waivers, read.checks) if read.waivers else ()
        evidence = gather(run, read, baseline=baseline, baselines=baselines, cases=cases)
        day = today or datetime.datetime.now(datetime.UTC).date()
        return judge(read, evidence, waivers, day)
    except Exception as error:
        if os.environ.get("EVALKIT_TRACEBACK") and not isinstance(error, EvalkitError):
            raise
        return GateResult(conclude_error(error), str(policy), str(run), baseline)


def gather(
    run: Path, policy: Policy, *, baseline: str, baselines: Path, cases: Path | None = None
) -> Evidence:
    """Open what a gate judges.

    Raises:
        EvalkitError: a run or baseline cannot be opened, or a margin was widened.
    """
    candidate = open_run(run)
    against, lock = _baseline(policy, baseline, baselines)
    cases_run = open_run(cases) if cases else candidate
    return Evidence(
        candidate, against, cases_run, policy.defaults, policy.looks, _locked_margins(policy, lock)
    )


def judge(
    policy: Policy,
    evidence: Evidence,
    waivers: Sequence[Waiver],
    today: datetime.date,
    known: Mapping[str, CheckResult] | None = None,
) -> GateResult:
    """Evaluate every check, correct for their number, apply waivers and conclude.

    Args:
        policy: the checks.
        evidence: what they look at.
        waivers: as read.
        today: decides which waivers hold.
        known: results of `evaluate` by check id that need not be computed again.
    """
    known = known or {}
    own = [_completeness(evidence), *_generation_failures(evidence)]
    results = own + [known.get(check.id) or evaluate(check, evidence) for check in policy.checks]
    results = confirm_regressions(results, evidence.alpha)
    if policy.defaults.inconclusive == "warn":
        unsure = Verdict.INCONCLUSIVE
        results = [
            replace(result, level="warn") if result.verdict is unsure else result for result in results
        ]
    results, warnings = apply_waivers(results, waivers, today)
    baseline, candidate = evidence.baseline, evidence.candidate
    return GateResult(
        conclusion=conclude(results),
        policy=str(policy.path),
        candidate=str(candidate.folder),
        baseline=str(baseline.folder) if baseline else "",
        candidate_model=_model(candidate),
        baseline_model=_model(baseline) if baseline else "",
        results=tuple(results),
        warnings=(*map(str, policy.warnings), *warnings),
        alpha=evidence.alpha,
    )


def _model(run: Run) -> str:
    return f"{run.manifest.model.id} {run.manifest.model.revision}"


def _baseline(policy: Policy, asked: str, folder: Path) -> tuple[Run | None, Lock | None]:
    name = asked or policy.baseline
    relative = [
        check.id
        for check in policy.checks
        if isinstance(check, NonInferiority)
        or (isinstance(check, Budget) and check.max_relative_increase is not None)
    ]
    if name:
        return find_baseline(name, folder)
    if relative:
        raise PolicyError(
            f"{policy.path}: {', '.join(relative)} compare with a baseline, and there is none; name one in the policy "
            "(`baseline: NAME`) or with --baseline"
        )
    return None, None


def _locked_margins(policy: Policy, lock: Lock | None) -> dict[str, float]:
    """Margins fixed when the baseline was promoted.

    Raises:
        PolicyError: the policy has a wider margin than the lock file.
    """
    locked = {} if lock is None else dict(lock.margins)
    widened = [
        f"{check.where}: error: the margin of {check.id} is {check.margin:g}, but {locked[check.id]:g} was locked when "
        f"the baseline was promoted; promote a new baseline, or write a waiver"
        for check in policy.checks
        if isinstance(check, NonInferiority)
        and check.margin is not None
        and check.margin > locked.get(check.id, float("inf"))
    ]
    if widened:
        raise PolicyError("\n".join(widened))
    return locked


def _completeness(evidence: Evidence) -> CheckResult:
    """Built-in: all planned clips are there, in both runs, of the same prompts."""
    problems = []
    tolerated = evidence.defaults.max_failed_clips
    for which, run in (("candidate", evidence.candidate), ("baseline", evidence.baseline)):
        if run is None:
            continue
        if run.manifest.status in ("running", "generated"):
            problems.append(f"the {which} {run.folder} is not finished (status {run.manifest.status})")
            continue
        statuses = run.generations["status"].value_counts()
        missing, failed = int(statuses.get("missing", 0)), int(statuses.get("failed", 0))
        planned = len(run.generations)
        if missing:
            problems.append(f"{missing} of {planned} clips of the {which} are missing; continue its run")
        if failed > tolerated and evidence.defaults.failed_clips == "incomplete":
            problems.append(f"{failed} of {planned} clips of the {which} failed, {tolerated} are tolerated")
    if not problems and evidence.suite_problem:
        problems.append(evidence.suite_problem)
    clips = 0 if problems else len(evidence.candidate.generations)
    look = evidence.look
    seen = (
        f" Look {look.number} of {look.total}, {len(look.prompts)} prompts." if look and not problems else ""
    )
    return CheckResult(
        id="completeness",
        kind="completeness",
        verdict=Verdict.INVALID if problems else Verdict.PASS,
        sentence="; ".join(problems) + "."
        if problems
        else f"All {clips} planned clips are accounted for.{seen}",
        title="Completeness",
        safety=True,
        limit=f"at most {tolerated} failed clips",
        clips=clips,
    )


def _generation_failures(evidence: Evidence) -> list[CheckResult]:
    """Built-in: the candidate does not fail to generate more often than the baseline (exact McNemar test)."""
    if evidence.baseline is None or evidence.suite_problem:
        return []
    try:
        change = failure_change(evidence.baseline, evidence.candidate, "baseline", "candidate")
    except RunError:
        return []  # an unfinished run has no tables; completeness says so
    worse = 2 * change.p_more <= evidence.alpha
    # With so few clips that differ the test can never fire; counting it would only weaken the others (Tarone 1990).
    testable = 2 * 0.5 ** (change.newly_failed + change.recovered) <= evidence.alpha
    return [
        CheckResult(
            id="generation-failures",
            kind="rate",
            verdict=Verdict.REGRESS if worse else Verdict.PASS,
            sentence=(
                f"{change.candidate_failed} of {change.pairs} clips failed, {change.baseline_failed} in the baseline "
                f"({change.newly_failed} newly, {change.recovered} recovered)."
            ),
            title="Generation failures",
            limit="no more failures than the baseline",
            estimate=change.candidate_failed / max(1, change.pairs),
            drop=max(0, change.candidate_failed - change.baseline_failed) / max(1, change.pairs),
            p_value=change.p_more if testable else None,
            clips=change.pairs,
            safety=True,
        )
    ]
