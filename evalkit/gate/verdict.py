"""Results of checks, and the one function that turns them into verdict, text and exit code.

0   PASS          every blocking check passed (or is waived)
1   REGRESS       at least one blocking check got worse
2   -             wrong usage or configuration
3   INCONCLUSIVE  too little data to tell, nothing shown to be worse
4   INVALID       evidence is missing or cannot be compared
70  -             a bug in evalkit
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from evalkit.errors import EvalkitError, EvidenceError
from evalkit.gate.waivers import Waiver
from evalkit.stats.margins import Verdict
from evalkit.stats.significance import holm

__all__ = [
    "EXIT_CODES",
    "INTERNAL_ERROR",
    "CheckResult",
    "Conclusion",
    "Example",
    "apply_waivers",
    "conclude",
    "conclude_error",
    "confirm_regressions",
]

EXIT_CODES = {Verdict.PASS: 0, Verdict.REGRESS: 1, Verdict.INCONCLUSIVE: 3, Verdict.INVALID: 4}
INTERNAL_ERROR = 70


class Example(NamedTuple):
    """A clip that shows what a check found; seeds and values of baseline (a) and candidate (b)."""

    prompt_id: str
    group: str
    sample_index: int
    seed: int | None
    clip_id: str | None
    baseline: float | None
    candidate: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes:
        id, kind, metric, title, unit, level, why, slice, safety: from policy and metric; `slice` is "" for all.
        verdict: of this check, after correction for the number of checks.
        sentence: what was found, in words.
        limit: what it was held to, in words.
        estimate, lower, upper: what was measured, with one-sided bounds; for non-inferiority the oriented change
            (positive is better), else the value itself. None where there is no number.
        drop: how much worse than allowed to begin with: the drop against the baseline, or the distance beyond an
            absolute limit, never negative; waivers are measured by it.
        margin: of non-inferiority, else None.
        p_value: one-sided, against "not worse"; None where the check is no test.
        p_adjusted: two-sided, after Holm's correction over the checks.
        standard_error, smallest_detectable, more_prompts: what the data could have shown.
        baseline_mean, candidate_mean: means over prompts.
        prompts, clips, missing: what it rests on; `missing` clips count as the worst score.
        examples: worst clips.
        where: `file:line:column` in the policy.
        waiver: the waiver that lets it pass, or None.
    """

    id: str
    kind: str
    verdict: Verdict
    sentence: str
    metric: str = ""
    title: str = ""
    unit: str = ""
    level: str = "fail"
    why: str = ""
    slice: str = ""
    safety: bool = False
    limit: str = ""
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    drop: float | None = None
    margin: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    standard_error: float | None = None
    smallest_detectable: float | None = None
    more_prompts: int | None = None
    baseline_mean: float | None = None
    candidate_mean: float | None = None
    prompts: int = 0
    clips: int = 0
    missing: int = 0
    examples: tuple[Example, ...] = ()
    where: str = ""
    waiver: Waiver | None = None

    @property
    def blocks(self) -> bool:
        """Whether the gate's verdict depends on this result."""
        return self.level == "fail" and self.waiver is None and self.verdict is not Verdict.PASS


def confirm_regressions(results: Sequence[CheckResult], alpha: float) -> list[CheckResult]:
    """Name a check as regressed only where that survives Holm's correction over all checks.

    Without it, twelve checks of an unchanged model would accuse one of them in a good part of all changes. The
    p-values are doubled, so that each is two-sided: where the differences of two models are skewed, one tail of a
    t test errs twice as often as it should, and the two tails together do not.
    """
    tested = [result for result in results if result.p_value is not None]
    two_sided = [min(1.0, 2 * (result.p_value or 0.0)) for result in tested]
    adjusted = dict(zip((result.id for result in tested), holm(two_sided), strict=True))
    confirmed = []
    for result in results:
        p_adjusted = float(adjusted[result.id]) if result.id in adjusted else None
        changed = replace(result, p_adjusted=p_adjusted)
        if result.verdict is Verdict.REGRESS and p_adjusted is not None and p_adjusted > alpha:
            doubt = (
                f" It looks worse, but among {len(tested)} checks that may be chance (p = {p_adjusted:.2g})."
            )
            changed = replace(changed, verdict=Verdict.INCONCLUSIVE, sentence=result.sentence + doubt)
        confirmed.append(changed)
    return confirmed


def apply_waivers(
    results: Sequence[CheckResult], waivers: Sequence[Waiver], today: datetime.date
) -> tuple[list[CheckResult], list[str]]:
    """Let waived results pass, and warn of waivers that expired, do not reach, or are not needed.

    Args:
        results: after `confirm_regressions`.
        waivers: as read.
        today: decides which waivers hold.

    Returns:
        The results, waived ones marked; and warnings.
    """
    by_check = {waiver.check: waiver for waiver in waivers}
    changed, warnings, used = [], [], set()
    for result in results:
        waiver = by_check.get(result.id)
        needed = result.verdict in (Verdict.REGRESS, Verdict.INCONCLUSIVE)
        if waiver is None or not needed or result.safety:
            changed.append(result)
            continue
        used.add(result.id)
        if not waiver.active(today):
            when = f"expired on {waiver.expires}" if today > waiver.expires else f"starts on {waiver.created}"
            warnings.append(f"{waiver.where}: the waiver of {result.id} {when}; the check is active")
            changed.append(result)
        elif result.drop is None or result.drop > waiver.max_drop:
            size = "an unknown drop" if result.drop is None else f"{result.drop:.4g}"
            warnings.append(
                f"{waiver.where}: the waiver of {result.id} reaches to {waiver.max_drop:g}, found {size}; the check "
                "is active"
            )
            changed.append(result)
        else:
            changed.append(replace(result, waiver=waiver))
    warnings += [
        f"{waiver.where}: the waiver of {waiver.check} is not needed; remove it"
        for waiver in waivers
        if waiver.check not in used
    ]
    return changed, warnings


class Conclusion(NamedTuple):
    """Verdict (or the class of error), text and exit code, always from one place."""

    verdict: str
    exit_code: int
    text: str


def conclude(results: Iterable[CheckResult]) -> Conclusion:
    """The gate's verdict from its checks.

    Missing evidence comes before a regression: numbers on incomplete evidence may mislead either way. Both are
    listed. PASS is an intersection-union test, every check must pass by itself, so it needs no correction.
    """
    results = list(results)
    blocking = [result for result in results if result.blocks]
    by_verdict = {
        verdict: [result.id for result in blocking if result.verdict is verdict]
        for verdict in (Verdict.INVALID, Verdict.REGRESS, Verdict.INCONCLUSIVE)
    }
    words = {
        Verdict.INVALID: "evidence incomplete or not comparable",
        Verdict.REGRESS: "worse than allowed",
        Verdict.INCONCLUSIVE: "too little data to tell",
    }
    said = [f"{words[verdict]}: {_listed(ids)}" for verdict, ids in by_verdict.items() if ids]
    verdict = next((v for v, ids in by_verdict.items() if ids), Verdict.PASS)
    passed = sum(result.verdict is Verdict.PASS for result in results)
    counted = f"{passed} of {len(results)} checks passed"
    warned = [
        result.id for result in results if result.level == "warn" and result.verdict is not Verdict.PASS
    ]
    if warned:
        said.append(f"warned of: {_listed(warned)}")
    waived = [result.id for result in results if result.waiver is not None]
    if waived:
        said.append(f"waived: {_listed(waived)}")
    return Conclusion(verdict.value, EXIT_CODES[verdict], "; ".join([counted, *said]) + ".")


def _listed(ids: Sequence[str], most: int = 20) -> str:
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more


def conclude_error(error: BaseException) -> Conclusion:
    """The conclusion of a gate that could not run: its own exit code per cause."""
    if isinstance(error, EvidenceError):
        return Conclusion(Verdict.INVALID.value, EXIT_CODES[Verdict.INVALID], str(error))
    if isinstance(error, EvalkitError):
        return Conclusion("USAGE", error.exit_code, str(error))
    return Conclusion(
        "INTERNAL",
        INTERNAL_ERROR,
        f"evalkit failed ({type(error).__name__}: {error}); please report this as a bug",
    )
