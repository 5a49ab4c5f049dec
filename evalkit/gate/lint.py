"""Everything that is wrong with a policy, its waivers and the metrics it names, without running it."""

from __future__ import annotations

import datetime
from pathlib import Path

from evalkit.gate.policy import Policy, Where, read_policy
from evalkit.gate.waivers import read_waivers
from evalkit.metrics.registry import metric_specs
from evalkit.suites.document import Problem, nearest

__all__ = ["lint_policy"]


def lint_policy(path: Path, today: datetime.date) -> list[Problem]:
    """Problems of a policy file and of the waiver file it names, in order of their places.

    A metric that is not installed here is a warning: the gate reads tables, which may come from elsewhere.

    Args:
        path: the policy.
        today: waivers that have expired by then are warned of.
    """
    policy, problems = read_policy(path)
    found = list(problems)
    if policy is not None:
        found += _unknown_metrics(policy)
        if policy.waivers is not None:
            waivers, wrong = read_waivers(policy.waivers, policy.checks)
            found += wrong
            found += [
                _warning(
                    waiver.where,
                    "expired",
                    f"the waiver of {waiver.check} expired on {waiver.expires}; remove it",
                )
                for waiver in waivers
                if today > waiver.expires
            ]
    return sorted(found)


def _unknown_metrics(policy: Policy) -> list[Problem]:
    specs = metric_specs()
    return [
        _warning(
            check.where,
            "unknown-metric",
            f"metric {name!r} is not installed here; {nearest(name, list(specs))}",
        )
        for check in policy.checks
        if (name := getattr(check, "metric", "")) and name not in specs
    ]


def _warning(where: Where, code: str, message: str) -> Problem:
    return Problem(where.path, where.line, where.column, "warning", code, message)
