"""Reports that may be about the same thing: suggested, never merged by themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import sqlalchemy as sa

from evalkit.failures.fingerprint import NEAR_BITS, NEAR_PROMPT, fingerprint, hash_distance, prompt_likeness
from evalkit.failures.record import FailureReport, parse_report
from evalkit.failures.store import FailureStore
from evalkit.failures.tables import reports

__all__ = ["Suggestion", "suggest"]

# Of one class, newest first. Likeness of prompts is computed in Python, some 10 microseconds each.
_CANDIDATES = 2000


class Suggestion(NamedTuple):
    """A report that may be about the same thing, and why; `likeness` is 1 for exact keys."""

    report: FailureReport
    reason: Literal["same clip", "same fingerprint", "looks alike"]
    likeness: float


def suggest(
    store: FailureStore, report: FailureReport, *, limit: int = 5, restricted: bool = False
) -> list[Suggestion]:
    """Reports that may repeat `report` or be repeated by it, likeliest first.

    Args:
        store: where to look.
        report: filed or not yet filed.
        limit: how many at most.
        restricted: whether restricted reports may be suggested.
    """
    visible = sa.true() if restricted else ~reports.c.restricted
    others = sa.select(reports.c.record).where(reports.c.id != report.id, visible).limit(limit)
    clip = report.evidence.clip
    found: dict[str, Suggestion] = {}
    with store.database.reading() as connection:
        if clip is not None and clip.clip_id:
            same = others.where(reports.c.clip_id == clip.clip_id, reports.c.category == report.category)
            _add(found, (Suggestion(parse_report(r), "same clip", 1.0) for r in connection.scalars(same)))
        same = others.where(reports.c.fingerprint == fingerprint(report))
        _add(found, (Suggestion(parse_report(r), "same fingerprint", 1.0) for r in connection.scalars(same)))
        near = [pair for pair in _near(connection, report, visible) if pair[0] not in found][:limit]
        records = {
            record["id"]: record
            for record in connection.scalars(
                sa.select(reports.c.record).where(reports.c.id.in_([report_id for report_id, _ in near]))
            )
        }
    _add(found, (Suggestion(parse_report(records[name]), "looks alike", likeness) for name, likeness in near))
    return list(found.values())[:limit]


def _add(found: dict[str, Suggestion], suggestions: Iterable[Suggestion]) -> None:
    for suggestion in suggestions:
        found.setdefault(suggestion.report.id, suggestion)


def _near(
    connection: sa.Connection, report: FailureReport, visible: sa.ColumnElement[bool]
) -> list[tuple[str, float]]:
    candidates = (
        sa.select(reports.c.id, reports.c.prompt, reports.c.phash)
        .where(reports.c.family == report.category.partition(".")[0], reports.c.id != report.id, visible)
        .order_by(reports.c.id.desc())
        .limit(_CANDIDATES)
    )
    own = report.evidence.clip.phash if report.evidence.clip else None
    near = []
    for report_id, prompt, phash in connection.execute(candidates):
        likeness = prompt_likeness(report.prompt, prompt)
        alike = likeness >= NEAR_PROMPT
        if own is not None and phash is not None:
            distance = hash_distance(own, phash)
            # A picture that is alike carries a weaker likeness of words, never replaces it: grey skies all look alike.
            alike = alike or (distance <= NEAR_BITS and likeness >= NEAR_PROMPT / 2)
            likeness = (likeness + 1 - distance / 64) / 2
        if alike:
            near.append((report_id, likeness))
    return sorted(near, key=lambda pair: -pair[1])
