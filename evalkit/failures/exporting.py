"""Reports out and in: JSON, JSONL and CSV here; the formats of other tools in `exchange` and `github`.

Restricted reports are left out unless asked for, in every format, and the number left out is told.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.failures.errors import InvalidReport, UnknownReport, unknown
from evalkit.failures.exchange import to_avid, to_fiftyone, to_label_studio
from evalkit.failures.github import issue_form, issue_markdown
from evalkit.failures.record import FailureReport, parse_report
from evalkit.failures.schema import report_schema
from evalkit.failures.store import media_of

if TYPE_CHECKING:
    from evalkit.failures.store import FailureStore, HistoryEntry

__all__ = ["FORMATS", "Export", "Imported", "export", "import_reports", "safe_cell", "to_document"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_CSV_COLUMNS: dict[str, Callable[[FailureReport], Any]] = {
    "id": lambda r: r.id,
    "created": lambda r: r.created.isoformat(),
    "updated": lambda r: r.updated.isoformat(),
    "status": lambda r: r.status,
    "category": lambda r: r.category,
    "severity": lambda r: r.severity,
    "source": lambda r: r.source.kind,
    "reporter": lambda r: r.source.name,
    "model": lambda r: r.model.name,
    "version": lambda r: r.model.version,
    "title": lambda r: r.title,
    "prompt": lambda r: r.prompt,
    "expected": lambda r: r.observation.expected,
    "observed": lambda r: r.observation.observed,
    "seed": lambda r: r.reproduction.seed,
    "first_frame": lambda r: r.observation.segments[0].first if r.observation.segments else None,
    "last_frame": lambda r: r.observation.segments[0].last if r.observation.segments else None,
    "seeds_failed": lambda r: r.failed_of_tried[0],
    "seeds_tried": lambda r: r.failed_of_tried[1],
    "duplicate_of": lambda r: r.duplicate_of,
    "case": lambda r: r.case,
    "clip_id": lambda r: r.evidence.clip.clip_id if r.evidence.clip else None,
    "tags": lambda r: " ".join(r.tags),
}


class Export(NamedTuple):
    """The text, and how many restricted reports were left out of it."""

    text: str
    withheld: int


class Imported(NamedTuple):
    """Ids that were added, and ids that the store had already and kept as they were."""

    added: tuple[str, ...]
    known: tuple[str, ...]


def export(
    store: FailureStore,
    reports: Sequence[FailureReport],
    kind: str,
    *,
    restricted: bool = False,
    media_prefix: str = "",
) -> Export:
    """Write reports in a format.

    Args:
        store: for the history of each report.
        reports: what to write.
        kind: a key of `FORMATS`.
        restricted: whether restricted reports are written too.
        media_prefix: what is put before a media digest where a tool wants a path or URL.

    Raises:
        InvalidReport: an unknown format.
    """
    if kind not in FORMATS:
        raise unknown("format", kind, FORMATS)
    allowed = [report for report in reports if restricted or not report.restricted]
    return Export(FORMATS[kind](store, allowed, media_prefix), len(reports) - len(allowed))


def to_document(report: FailureReport, history: Sequence[HistoryEntry]) -> dict[str, Any]:
    """A report with its history as JSON data; the history is beside the record, under `history`."""
    return {
        "report": report.model_dump(mode="json"),
        "history": [{**entry._asdict(), "at": entry.at.isoformat()} for entry in history],
    }


def safe_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets a leading apostrophe.

    >>> safe_cell("=HYPERLINK(1)"), safe_cell("a=b"), safe_cell(-3)
    ("'=HYPERLINK(1)", 'a=b', -3)
    """
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return "'" + value
    return value


def _json(store: FailureStore, reports: Sequence[FailureReport], _: str) -> str:
    documents = [to_document(report, store.history(report.id)) for report in reports]
    return (
        json.dumps({"schema": report_schema()["$id"], "reports": documents}, indent=2, ensure_ascii=False)
        + "\n"
    )


def _jsonl(store: FailureStore, reports: Sequence[FailureReport], _: str) -> str:
    lines = (
        json.dumps(to_document(report, store.history(report.id)), ensure_ascii=False) for report in reports
    )
    return "".join(line + "\n" for line in lines)


def _csv(_store: FailureStore, reports: Sequence[FailureReport], _: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_CSV_COLUMNS)
    for report in reports:
        cells = (read(report) for read in _CSV_COLUMNS.values())
        writer.writerow("" if cell is None else safe_cell(cell) for cell in cells)
    return text.getvalue()


FORMATS: dict[str, Callable[[FailureStore, Sequence[FailureReport], str], str]] = {
    "json": _json,
    "jsonl": _jsonl,
    "csv": _csv,
    "github-issue": lambda _, reports, __: "\n\n---\n\n".join(map(issue_markdown, reports)),
    "github-form": lambda *_: issue_form(),
    "label-studio": lambda _, reports, prefix: _dump(to_label_studio(reports, prefix)),
    "fiftyone": lambda _, reports, prefix: _dump(to_fiftyone(reports, prefix)),
    "avid": lambda _, reports, __: _dump(to_avid(reports)),
}
"""Format name to writer; the writer gets the store, the reports and the media prefix."""


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def import_reports(store: FailureStore, text: str, *, actor: str) -> Imported:
    """File reports from a JSON or JSONL export, or from a list of bare records.

    Every record is checked before the first is filed. Ids, states and times are kept; a report whose id is known is
    left as it is. Files do not travel in an export: what the store does not have is dropped from the evidence, and
    the history says so. The exported history becomes the note of the first entry.

    Raises:
        InvalidReport: not JSON, or a record that breaks a rule; the message says which one. Nothing is filed then.
    """
    records = [_read(position, data) for position, data in enumerate(_documents(text), start=1)]
    added, known = [], []
    for report, history in records:
        try:
            store.get(report.id)
        except UnknownReport:
            kept, missing = _without_missing_media(store, report)
            notes = [f"files not imported: {', '.join(sorted(missing))}"] if missing else []
            notes += [
                f"{entry.get('at', '')} {entry.get('actor', '')}: {entry.get('action', '')}"
                + (f" -> {entry['to_status']}" if entry.get("to_status") else "")
                + (f" ({entry['note']})" if entry.get("note") else "")
                for entry in history
            ]
            store.add(kept, actor=actor, action="imported", note="\n".join(notes))
            added.append(report.id)
        else:
            known.append(report.id)
    return Imported(tuple(added), tuple(known))


def _documents(text: str) -> list[Any]:
    try:
        data = json.loads(text)
    except ValueError:
        documents = []
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    documents.append(json.loads(line))
                except ValueError as error:
                    raise InvalidReport(
                        f"line {number} is not JSON: {error}; give a JSON or JSONL export"
                    ) from None
        return documents
    if isinstance(data, dict):
        return list(data["reports"]) if isinstance(data.get("reports"), list) else [data]
    if isinstance(data, list):
        return data
    raise InvalidReport("the file holds neither reports nor a list of them")


def _read(position: int, data: Any) -> tuple[FailureReport, list[dict[str, Any]]]:
    history: Any = []
    if isinstance(data, dict) and "report" in data:
        data, history = data["report"], data.get("history", [])
    try:
        report = parse_report(data)
    except InvalidReport as error:
        raise InvalidReport(f"report {position} of the file: {error}; nothing was imported") from error
    entries = [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []
    return report, entries


def _without_missing_media(store: FailureStore, report: FailureReport) -> tuple[FailureReport, set[str]]:
    missing = {digest for digest in media_of(report) if store.media_row(digest) is None}
    if not missing:
        return report, missing
    data = report.model_dump(mode="json")
    evidence = data["evidence"]
    evidence["attachments"] = [digest for digest in evidence["attachments"] if digest not in missing]
    if evidence["clip"]:
        for name in ("original", "preview", "poster"):
            if evidence["clip"][name] in missing:
                evidence["clip"][name] = None
    if data["reproduction"]["workflow"] in missing:
        data["reproduction"]["workflow"] = None
    if not evidence["clip"] and not evidence["attachments"] and not evidence["statement"].strip():
        evidence["statement"] = "The files of this report were not part of the export."
    return parse_report(data), missing
