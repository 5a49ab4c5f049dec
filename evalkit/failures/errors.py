"""What goes wrong with failure reports.

EvalkitError
└── FailureError                 a report cannot be filed, changed, read or exported as asked
    ├── UnknownReport            no report of that id
    ├── InvalidReport            the content breaks a rule of the record
    ├── StateConflict            the step is not allowed from where the report stands
    └── StoreError               the database or the media folder cannot be used
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from evalkit.errors import EvalkitError

__all__ = ["FailureError", "InvalidReport", "StateConflict", "StoreError", "UnknownReport", "unknown"]


class FailureError(EvalkitError):
    """A report cannot be filed, changed, read or exported as asked."""


class UnknownReport(FailureError):  # reads as what happened, like its siblings
    """No report of that id."""

    def __init__(self, report_id: str) -> None:
        super().__init__(f"there is no failure report {report_id!r}; `evalkit failures list` shows all ids")


class InvalidReport(FailureError):
    """The content breaks a rule of the record; the message names the field."""


class StateConflict(FailureError):
    """The step is not allowed from the state that the report is in."""


class StoreError(FailureError):
    """The database or the media folder cannot be used."""


def unknown(what: str, name: str, known: Iterable[str]) -> InvalidReport:
    """An error for a name outside a closed list, with the closest right ones."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(known)}"
    return InvalidReport(f"unknown {what} {name!r}; {hint}")
