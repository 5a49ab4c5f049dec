"""The life of a report: which step leads where, and what a step needs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

from evalkit.failures.errors import StateConflict

__all__ = ["BOARD", "EXITS", "STATUSES", "TRANSITIONS", "Status", "check_transition"]

Status = Literal[
    "new",
    "needs_info",
    "triaged",
    "confirmed",
    "fixed",
    "verified",
    "regressed",
    "duplicate",
    "not_reproducible",
    "wont_fix",
    "invalid",
]
STATUSES: tuple[Status, ...] = get_args(Status)
EXITS: tuple[Status, ...] = ("duplicate", "not_reproducible", "wont_fix", "invalid")
BOARD: tuple[Status, ...] = tuple(status for status in STATUSES if status not in EXITS)
"""Columns of the triage board, in the order a report passes through them."""

TRANSITIONS: Mapping[Status, tuple[Status, ...]] = MappingProxyType(
    {
        "new": ("needs_info", "triaged", *EXITS),
        "needs_info": ("triaged", *EXITS),
        "triaged": ("needs_info", "confirmed", *EXITS),
        "confirmed": ("fixed", *EXITS),
        "fixed": ("verified", "regressed"),
        "verified": ("regressed",),
        "regressed": ("fixed", *EXITS),
        # A closed report that turns out to be right after all is judged anew.
        **dict.fromkeys(EXITS, ("triaged",)),
    }
)


def check_transition(current: Status, target: Status) -> None:
    """Refuse a step that the life of a report does not have.

    Raises:
        StateConflict: with the steps that are possible.

    >>> check_transition("new", "verified")
    Traceback (most recent call last):
    evalkit.failures.errors.StateConflict: a report that is new cannot become verified; from new it can become ...
    """
    if target not in TRANSITIONS[current]:
        raise StateConflict(
            f"a report that is {current} cannot become {target}; "
            f"from {current} it can become {', '.join(TRANSITIONS[current])}"
        )
