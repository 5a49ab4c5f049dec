"""A policy in plain words, and what it can and cannot see with the runs at hand."""

from __future__ import annotations

from functools import singledispatch

from evalkit.gate.checks import evaluate
from evalkit.gate.evidence import Evidence
from evalkit.gate.policy import Absolute, Budget, Cases, Check, NonInferiority, Policy, Quantile, Rate
from evalkit.stats.power import pass_probability

__all__ = ["explain_check", "explain_policy"]


def explain_policy(policy: Policy, evidence: Evidence | None = None) -> list[str]:
    """One paragraph per check, and one on how they are put together.

    Args:
        policy: what to explain.
        evidence: where given, adds how likely an unchanged model passes each check.
    """
    lines = [
        f"{check.id} ({check.level}): {_where(check)}{_say(check)}{_chance(check, evidence)}"
        for check in policy.checks
    ]
    defaults = policy.defaults
    lines.append(
        f"All checks of level fail must pass. Each bound errs one time in {1 / defaults.alpha:.0f}; a check is called "
        "regressed only if that survives Holm's correction over all checks."
    )
    if defaults.failed_clips == "incomplete":
        lines.append(
            f"More than {defaults.max_failed_clips} clips without a value make the evidence incomplete (exit 4)."
        )
    else:
        lines.append("Clips without a value count as the worst score.")
    lines.append(
        "Too little data to tell ends with exit code 3."
        if defaults.inconclusive == "fail"
        else "Too little data to tell passes with a warning."
    )
    if policy.looks:
        shares = ", ".join(f"{100 * share:.3g}%" for share in policy.looks)
        lines.append(f"Looks are planned at {shares} of the prompts, with O'Brien-Fleming error spending.")
    return lines


def _where(check: Check) -> str:
    return f"in prompts of {check.slice.kind} {check.slice.name!r}, " if check.slice else ""


def _chance(check: Check, evidence: Evidence | None) -> str:
    if evidence is None:
        return ""
    result = evaluate(check, evidence)
    if result.margin is None or not result.standard_error or result.prompts < 2:
        return f" Now: {result.sentence}"
    deviation = result.standard_error * result.prompts**0.5
    chance = pass_probability(result.margin / deviation, result.prompts)
    caught = 1 - pass_probability(result.margin / deviation, result.prompts, -2 * result.margin / deviation)
    return (
        f" With {result.prompts} prompts an unchanged model passes {100 * chance:.3g}% of the time, and one that is "
        f"worse by twice the margin fails {100 * caught:.4g}% of the time."
    )


@singledispatch
def _say(check: Check) -> str:
    raise TypeError(f"no words for checks of kind {check.kind}")


def explain_check(check: Check) -> str:
    """What one check asks, in a sentence."""
    return _where(check) + _say(check)


@_say.register
def _non_inferiority(check: NonInferiority) -> str:
    size = "the locked margin" if check.margin is None else f"{check.margin:g}"
    return f"{check.metric} may be worse than the baseline by less than {size}, shown with confidence."


@_say.register
def _absolute(check: Absolute) -> str:
    words = f"at least {check.min:g}" if check.min is not None else f"at most {check.max:g}"
    return f"the mean of {check.metric} over prompts must be {words}, shown with confidence."


@_say.register
def _rate(check: Rate) -> str:
    return f"at most {100 * check.max_rate:g}% of the clips may have a {check.metric} worse than {check.worse_than:g}."


@_say.register
def _quantile(check: Quantile) -> str:
    words = f"at least {check.min:g}" if check.min is not None else f"at most {check.max:g}"
    return f"the {100 * check.q:g}% quantile of {check.metric} over clips must be {words}."


@_say.register
def _cases(check: Cases) -> str:
    return f"regression cases in {check.suite} that were fixed must stay fixed."


@_say.register
def _budget(check: Budget) -> str:
    if check.max is not None:
        return f"{check.metric} must stay below {check.max:g}."
    return f"{check.metric} may rise by at most {100 * (check.max_relative_increase or 0):g}% against the baseline."
