"""What a triager does to a report, in one step: status, category, severity, a note."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evalkit.failures.errors import InvalidReport
from evalkit.failures.promote import mark_fixed
from evalkit.failures.states import STATUSES, check_transition
from evalkit.failures.taxonomy import load_taxonomy

if TYPE_CHECKING:
    from pathlib import Path

    from evalkit.failures.record import FailureReport
    from evalkit.failures.store import FailureStore

__all__ = ["triage_report"]


def triage_report(
    store: FailureStore,
    report_id: str,
    *,
    actor: str,
    status: str = "",
    duplicate_of: str | None = None,
    category: str = "",
    severity: str = "",
    note: str = "",
    cases: Path | None = None,
) -> FailureReport:
    """Change what is given, and leave the rest. With a note alone, comment.

    A promoted report that becomes `fixed` has its case set to `fixed`, so that from then on the gate demands it.

    Args:
        store: where the report is.
        report_id: which report.
        actor, note: what the history says.
        status, duplicate_of: as for `FailureStore.move`.
        category, severity: other values.
        cases: folder of the regression cases.

    Raises:
        InvalidReport: nothing is given, an unknown name, or a rule is broken.
        StateConflict: there is no such step.
    """
    if not (status or category or severity or note.strip()):
        raise InvalidReport("nothing to change; give a status, a category, a severity or a note")
    if category or severity:
        if category:
            load_taxonomy().leaf(category)
        fields: dict[str, Any] = {"category": category, "severity": severity}
        changes = {name: value for name, value in fields.items() if value}
        store.change(report_id, actor=actor, action="edited", changed=lambda _: changes, note=note)
    if status:
        if status not in STATUSES:
            raise InvalidReport(f"unknown status {status!r}; known: {', '.join(STATUSES)}")
        report = store.get(report_id)
        if status == "fixed" and report.case and cases is not None:
            check_transition(report.status, status)
            mark_fixed(cases, report.case)
        store.move(report_id, status, actor=actor, note=note, duplicate_of=duplicate_of)
    elif not (category or severity):
        store.comment(report_id, note, actor=actor)
    return store.get(report_id)
