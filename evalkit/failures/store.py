"""The store of failure reports: filing, reading, and changing with history."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from evalkit.failures import tables
from evalkit.failures.database import Database, open_database
from evalkit.failures.errors import InvalidReport, StateConflict, UnknownReport
from evalkit.failures.fingerprint import fingerprint
from evalkit.failures.media import MediaFolder, StoredFile
from evalkit.failures.record import Confirmation, FailureReport, now, parse_report
from evalkit.failures.states import STATUSES, Status, check_transition

__all__ = ["DEFAULT_DATABASE", "FailureStore", "Filed", "HistoryEntry", "Query", "open_store"]

DEFAULT_DATABASE = "sqlite:///failures/failures.db"
_reports, _history = tables.reports, tables.history


class Filed(NamedTuple):
    """Outcome of filing: the stored report, and whether it is new or the same filing sent again."""

    report: FailureReport
    created: bool


class HistoryEntry(NamedTuple):
    """One step in the life of a report. Entries are never changed or removed."""

    seq: int
    at: datetime
    actor: str
    action: str
    from_status: Status | None
    to_status: Status
    note: str
    changes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """Which reports to list; newest first.

    Args:
        status, category, severity, source, model: keep these; a class such as `temporal` stands for all its leaves.
        text: words that occur in the prompt.
        run_id, clip_id: keep reports about this run or clip.
        restricted: whether restricted reports are among them.
        before: only ids smaller than this one, to turn pages.
        limit: how many at most.
    """

    status: tuple[str, ...] = ()
    category: str = ""
    severity: str = ""
    source: str = ""
    model: str = ""
    text: str = ""
    run_id: str = ""
    clip_id: str = ""
    restricted: bool = False
    before: str = ""
    limit: int = 100


class FailureStore:
    """Reports in a database, their files in a folder."""

    def __init__(self, database: Database, media: MediaFolder) -> None:
        self.database, self.media = database, media

    # ----------------------------------------------------------------------------------------------- filing
    def add(
        self,
        report: FailureReport,
        *,
        actor: str,
        filing_key: str | None = None,
        note: str = "",
        action: str = "filed",
    ) -> Filed:
        """File a report. When this returns, the report survives a crash.

        Args:
            report: what to file.
            actor: whose doing this is, for the history.
            filing_key: a key that the sender chose for this filing. Sent again with the same key (a second click, a
                repeated request after a lost answer), the first report is returned and nothing is added.
            note, action: what the history says.

        Raises:
            InvalidReport: it names media that the store does not have, or an id that is taken.
        """
        with self.database.writing() as connection:
            if filing_key is not None and (earlier := self._filed(connection, filing_key)):
                return Filed(earlier, created=False)
            try:
                with connection.begin_nested():
                    connection.execute(sa.insert(_reports).values(filing_key=filing_key, **_columns(report)))
            except sa.exc.IntegrityError:
                # Another process filed it between the look and the insert (PostgreSQL; SQLite has one writer).
                if filing_key is not None and (earlier := self._filed(connection, filing_key)):
                    return Filed(earlier, created=False)
                raise InvalidReport(
                    f"the id {report.id} is taken by another report; leave the id out"
                ) from None
            self._link_media(connection, report)
            entry = _entry(report, 1, actor, action, None, note)
            connection.execute(sa.insert(_history).values(**entry))
        return Filed(report, created=True)

    def _filed(self, connection: sa.Connection, filing_key: str) -> FailureReport | None:
        record = connection.scalar(sa.select(_reports.c.record).where(_reports.c.filing_key == filing_key))
        return None if record is None else parse_report(record)

    def _link_media(self, connection: sa.Connection, report: FailureReport) -> None:
        wanted = media_of(report)
        known = set(
            connection.scalars(
                sa.select(tables.media.c.digest).where(tables.media.c.digest.in_(wanted))
            ).all()
        )
        if missing := wanted - known:
            raise InvalidReport(f"media {', '.join(sorted(missing))} are not in the store; upload them first")
        linked = set(
            connection.scalars(
                sa.select(tables.report_media.c.digest).where(tables.report_media.c.report_id == report.id)
            ).all()
        )
        if new := sorted(wanted - linked):
            connection.execute(
                sa.insert(tables.report_media), [{"report_id": report.id, "digest": digest} for digest in new]
            )

    # ---------------------------------------------------------------------------------------------- reading
    def get(self, report_id: str) -> FailureReport:
        """One report.

        Raises:
            UnknownReport: there is none of that id.
        """
        with self.database.reading() as connection:
            record = connection.scalar(sa.select(_reports.c.record).where(_reports.c.id == report_id))
        if record is None:
            raise UnknownReport(report_id)
        return parse_report(record)

    def find(self, query: Query = Query()) -> list[FailureReport]:
        """Reports that satisfy the query, newest first."""
        statement = sa.select(_reports.c.record).order_by(_reports.c.id.desc()).limit(query.limit)
        for condition in _conditions(query):
            statement = statement.where(condition)
        with self.database.reading() as connection:
            return [parse_report(record) for record in connection.scalars(statement)]

    def counts(self, *, restricted: bool = False) -> dict[str, int]:
        """How many reports are in each status; every status has an entry."""
        statement = sa.select(_reports.c.status, sa.func.count()).group_by(_reports.c.status)
        if not restricted:
            statement = statement.where(~_reports.c.restricted)
        with self.database.reading() as connection:
            found = {row[0]: row[1] for row in connection.execute(statement)}
        return {status: found.get(status, 0) for status in STATUSES}

    def history(self, report_id: str) -> list[HistoryEntry]:
        """All steps of a report, oldest first."""
        statement = sa.select(_history).where(_history.c.report_id == report_id).order_by(_history.c.seq)
        with self.database.reading() as connection:
            rows = connection.execute(statement).mappings().all()
        return [
            HistoryEntry(
                row["seq"],
                datetime.fromtimestamp(row["at_ms"] / 1000, UTC),
                *(row[name] for name in ("actor", "action", "from_status", "to_status", "note", "changes")),
            )
            for row in rows
        ]

    # --------------------------------------------------------------------------------------------- changing
    def change(
        self,
        report_id: str,
        *,
        actor: str,
        action: str,
        changed: Callable[[FailureReport], dict[str, Any]],
        note: str = "",
    ) -> FailureReport:
        """Change fields of a report under its lock, and write the history in the same transaction.

        Args:
            report_id: which report.
            actor, action, note: what the history says.
            changed: given the report as it is now, returns the fields that get another value.

        Raises:
            UnknownReport: there is none of that id.
            InvalidReport: the changed report would break a rule.
            StateConflict: the change moves the report along a way that it does not have.
        """
        with self.database.writing() as connection:
            lock = sa.select(_reports.c.record).where(_reports.c.id == report_id).with_for_update()
            record = connection.scalar(lock)
            if record is None:
                raise UnknownReport(report_id)
            before = parse_report(record)
            fields = changed(before)
            after = parse_report({**before.model_dump(mode="json"), **fields, "updated": now().isoformat()})
            if after.status != before.status:
                check_transition(before.status, after.status)
            old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
            difference = {
                name: [old[name], new[name]] for name in new if name != "updated" and old[name] != new[name]
            }
            if not difference and action != "comment":
                return before
            connection.execute(
                sa.update(_reports).where(_reports.c.id == report_id).values(**_columns(after))
            )
            self._link_media(connection, after)
            last = sa.select(sa.func.max(_history.c.seq)).where(_history.c.report_id == report_id)
            seq = (connection.scalar(last) or 0) + 1
            entry = _entry(after, seq, actor, action, before.status, note, difference)
            connection.execute(sa.insert(_history).values(**entry))
        return after

    def move(
        self, report_id: str, status: Status, *, actor: str, note: str = "", duplicate_of: str | None = None
    ) -> FailureReport:
        """Bring a report to another status.

        Args:
            report_id: which report.
            status: where to.
            actor, note: what the history says.
            duplicate_of: the report that this one repeats; needed for `duplicate` and for nothing else.

        Raises:
            StateConflict: there is no such step, or the other report is a duplicate itself.
            InvalidReport: a rule is broken, e.g. `confirmed` without a reproduction or a second person.
        """
        if status not in STATUSES:
            raise InvalidReport(f"unknown status {status!r}; known: {', '.join(STATUSES)}")
        if duplicate_of is not None and self.get(duplicate_of).status == "duplicate":
            target = self.get(duplicate_of).duplicate_of
            raise StateConflict(f"{duplicate_of} is a duplicate itself; name the report it repeats, {target}")

        def moved(report: FailureReport) -> dict[str, Any]:
            if status == report.status:
                raise StateConflict(f"the report is {status} already")
            check_transition(report.status, status)
            return {"status": status, "duplicate_of": duplicate_of}

        return self.change(report_id, actor=actor, action="moved", changed=moved, note=note)

    def confirm(self, report_id: str, confirmation: Confirmation, *, actor: str) -> FailureReport:
        """Add a confirmation; a triaged report that is now reproduced or seen by two becomes confirmed."""

        def confirmed(report: FailureReport) -> dict[str, Any]:
            entries = [entry.model_dump(mode="json") for entry in (*report.confirmations, confirmation)]
            candidate = report.model_copy(update={"confirmations": (*report.confirmations, confirmation)})
            enough = candidate.failed_of_tried[0] > 0 or len(candidate.people) > 1
            status = "confirmed" if enough and report.status == "triaged" else report.status
            return {"confirmations": entries, "status": status}

        return self.change(
            report_id, actor=actor, action=confirmation.kind, changed=confirmed, note=confirmation.note
        )

    def comment(self, report_id: str, note: str, *, actor: str) -> FailureReport:
        """Say something; the report stays as it is."""
        if not note.strip():
            raise InvalidReport("the comment is empty; write what you want to say")
        return self.change(report_id, actor=actor, action="comment", changed=lambda _: {}, note=note)

    # ------------------------------------------------------------------------------------------------ media
    def add_media(self, source: Path | bytes, media_type: str, *, name: str, actor: str) -> StoredFile:
        """Keep a file and enter it in the table of media. The caller has checked what kind of file it is."""
        stored = self.media.add(source) if isinstance(source, Path) else self.media.add_bytes(source)
        row = {
            "digest": stored.digest,
            "media_type": media_type,
            "size": stored.size,
            "name": "".join(c for c in name if c.isprintable())[:200],
            "added_by": actor,
            "created_ms": _milliseconds(now()),
        }
        with self.database.writing() as connection:
            known = connection.scalar(
                sa.select(tables.media.c.digest).where(tables.media.c.digest == stored.digest)
            )
            if known is None:
                connection.execute(sa.insert(tables.media).values(**row))
        return stored

    def media_row(self, digest: str) -> sa.RowMapping | None:
        """What is known of a file: type, size, name, who added it, and whether a restricted report uses it."""
        restricted = (
            sa.select(sa.func.count())
            .select_from(tables.report_media.join(_reports))
            .where(tables.report_media.c.digest == digest, _reports.c.restricted)
            .scalar_subquery()
        )
        statement = sa.select(tables.media, restricted.label("restricted")).where(
            tables.media.c.digest == digest
        )
        with self.database.reading() as connection:
            return connection.execute(statement).mappings().first()

    def prune_media(self, older_than: timedelta = timedelta(days=1)) -> int:
        """Remove uploads that never became part of a report.

        Returns:
            How many files went.
        """
        used = sa.select(tables.report_media.c.digest)
        old = tables.media.c.created_ms < _milliseconds(now() - older_than)
        with self.database.writing() as connection:
            gone = connection.scalars(
                sa.select(tables.media.c.digest).where(old, tables.media.c.digest.not_in(used))
            ).all()
            connection.execute(sa.delete(tables.media).where(tables.media.c.digest.in_(gone)))
        for digest in gone:
            self.media.remove(digest)
        return len(gone)

    def close(self) -> None:
        """Give the database connections back."""
        self.database.close()


def open_store(url: str | None = None, media: Path | None = None) -> FailureStore:
    """Open a store, creating it where there is none.

    Args:
        url: database; by default `$EVALKIT_DB`, else `failures/failures.db` in the current folder.
        media: folder of files; by default `media` beside an SQLite file, else `failures/media`.
    """
    url = url or os.environ.get("EVALKIT_DB") or DEFAULT_DATABASE
    database = open_database(url)
    if media is None:
        path = database.engine.url.database
        media = Path(path).parent / "media" if database.is_sqlite and path else Path("failures/media")
    return FailureStore(database, MediaFolder(media))


def media_of(report: FailureReport) -> set[str]:
    """Digests of all files that a report names."""
    clip = report.evidence.clip
    named = [*report.evidence.attachments, report.reproduction.workflow]
    if clip is not None:
        named += [clip.original, clip.preview, clip.poster]
    return {digest for digest in named if digest}


def _conditions(query: Query) -> Sequence[sa.ColumnElement[bool]]:
    columns = _reports.c
    conditions: list[sa.ColumnElement[bool]] = []
    if query.status:
        conditions.append(columns.status.in_(query.status))
    if query.category:
        leaf = "." in query.category
        conditions.append((columns.category if leaf else columns.family) == query.category)
    for column, value in (
        (columns.severity, query.severity),
        (columns.source_kind, query.source),
        (columns.model_name, query.model),
        (columns.run_id, query.run_id),
        (columns.clip_id, query.clip_id),
    ):
        if value:
            conditions.append(column == value)
    if query.text:
        conditions.append(columns.prompt.icontains(query.text, autoescape=True))
    if not query.restricted:
        conditions.append(~columns.restricted)
    if query.before:
        conditions.append(columns.id < query.before)
    return conditions


def _columns(report: FailureReport) -> dict[str, Any]:
    clip = report.evidence.clip
    return {
        "id": report.id,
        "status": report.status,
        "category": report.category,
        "family": report.category.partition(".")[0],
        "severity": report.severity,
        "restricted": report.restricted,
        "source_kind": report.source.kind,
        "reporter": report.source.name,
        "model_name": report.model.name,
        "model_version": report.model.version,
        "prompt": report.prompt,
        "fingerprint": fingerprint(report),
        "clip_id": clip.clip_id if clip else None,
        "run_id": clip.run_id if clip else None,
        "phash": clip.phash if clip else None,
        "duplicate_of": report.duplicate_of,
        "created_ms": _milliseconds(report.created),
        "updated_ms": _milliseconds(report.updated),
        "record": report.model_dump(mode="json"),
    }


def _entry(
    report: FailureReport,
    seq: int,
    actor: str,
    action: str,
    before: Status | None,
    note: str,
    changes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "report_id": report.id,
        "seq": seq,
        "at_ms": _milliseconds(now()),
        "actor": actor,
        "action": action,
        "from_status": before,
        "to_status": report.status,
        "note": note,
        "changes": changes or {},
    }


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
