"""The board, the table, and one report with everything that can be done to it."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import FileResponse, Response

from evalkit.failures.duplicates import suggest
from evalkit.failures.exporting import FORMATS, export
from evalkit.failures.promote import apply_results, suggest_detector
from evalkit.failures.promote import promote as promote_report
from evalkit.failures.record import ClipEvidence, Confirmation, FailureReport, now
from evalkit.failures.states import BOARD
from evalkit.failures.store import FailureStore
from evalkit.failures.store import Query as ReportQuery
from evalkit.failures.taxonomy import load_taxonomy
from evalkit.failures.triage import triage_report
from evalkit.server.accounts import Account
from evalkit.server.flashes import hazard
from evalkit.server.routes.runs import opened
from evalkit.server.security import Reporter, Triager
from evalkit.server.view import page, redirect

router = APIRouter(include_in_schema=False)

_PER_COLUMN = 30
_PAGE = 50
_INLINE = ("video/mp4", "image/webp", "image/png", "image/jpeg")
Text = Annotated[str, Query(max_length=200)]


def may_see(account: Account, report: FailureReport) -> bool:
    """Restricted reports are for triagers and for the person who filed them."""
    own = report.source.kind == "human" and report.source.name == account.name
    return not report.restricted or own or account.may("triage")


def visible_report(request: Request, account: Account, report_id: str) -> FailureReport:
    """The report, or 404 also where it exists but is not for this account."""
    report: FailureReport = request.app.state.store.get(report_id)
    if not may_see(account, report):
        raise HTTPException(404, f"there is no failure report {report_id!r}")
    return report


@router.get("/reports")
def board(
    request: Request, account: Reporter, category: Text = "", severity: Text = "", q: Text = ""
) -> Response:
    """One column for each status that a report passes through."""
    store, restricted = request.app.state.store, account.may("triage")
    columns = {
        status: store.find(
            ReportQuery((status,), category, severity, text=q, restricted=restricted, limit=_PER_COLUMN)
        )
        for status in BOARD
    }
    return page(
        request,
        "board.html",
        columns=columns,
        counts=store.counts(restricted=restricted),
        category=category,
        severity=severity,
        q=q,
        runs=list(request.app.state.library.runs().values()),
    )


@router.get("/reports/table")
def table(
    request: Request,
    account: Reporter,
    status: Text = "",
    category: Text = "",
    severity: Text = "",
    q: Text = "",
    before: Annotated[str, Query(max_length=26)] = "",
) -> Response:
    """The same as a table, for the keyboard and for many reports."""
    query = ReportQuery(
        (status,) if status else (),
        category,
        severity,
        text=q,
        restricted=account.may("triage"),
        before=before,
        limit=_PAGE + 1,
    )
    found = request.app.state.store.find(query)
    return page(
        request,
        "table.html",
        reports=found[:_PAGE],
        more=found[_PAGE - 1].id if len(found) > _PAGE else "",
        status=status,
        category=category,
        severity=severity,
        q=q,
        formats=[name for name in FORMATS if name != "github-form"],
    )


@router.get("/reports/export")
def export_reports(
    request: Request,
    account: Triager,
    kind: Annotated[str, Query(alias="format", max_length=30)] = "json",
    restricted: bool = False,
) -> Response:
    """All reports in a format; restricted ones only for admins who ask for them."""
    if restricted and not account.may("admin"):
        raise HTTPException(403, "restricted reports leave this server only by the hand of an admin")
    store = request.app.state.store
    reports = store.find(ReportQuery(restricted=True, limit=1_000_000))
    result = export(store, reports, kind, restricted=restricted)
    suffix = {"csv": "csv", "jsonl": "jsonl", "github-issue": "md", "github-form": "yml"}.get(kind, "json")
    return Response(
        result.text,
        media_type="text/csv"
        if suffix == "csv"
        else "text/plain"
        if suffix in ("md", "yml")
        else "application/json",
        headers={
            "content-disposition": f'attachment; filename="failures.{suffix}"',
            "x-evalkit-withheld": str(result.withheld),
        },
    )


@router.post("/reports/check-cases")
def check_cases_with_run(
    request: Request, account: Triager, run: Annotated[str, Form(max_length=64)]
) -> Response:
    """Carry over what a run over the regression cases says: verified, or regressed."""
    from evalkit.suites.case_files import load_cases
    from evalkit.suites.cases import check_cases

    state = request.app.state
    chosen = opened(request, run)
    results = check_cases(chosen.scores, chosen.series, load_cases(state.settings.cases))
    applied = apply_results(state.store, results, actor=account.name)
    return page(request, "cases.html", applied=applied, run=chosen)


@router.get("/reports/{report_id}")
def report_page(request: Request, account: Reporter, report_id: str, filed: Text = "") -> Response:
    """Everything that is known of one report."""
    return _report(request, account, visible_report(request, account, report_id), filed=filed)


def _report(
    request: Request,
    account: Account,
    report: FailureReport,
    *,
    filed: str = "",
    problem: str = "",
    status: int = 200,
) -> Response:
    state = request.app.state
    clip = report.evidence.clip
    run = state.library.run(clip.run_id) if clip and clip.run_id else None
    return page(
        request,
        "report.html",
        status,
        report=report,
        leaf=load_taxonomy().leaf(report.category),
        history=state.store.history(report.id),
        suggestions=suggest(state.store, report, restricted=account.may("triage"))
        if report.status in ("new", "needs_info", "triaged")
        else [],
        run=run,
        flashes=_flashes(state.store, clip),
        models=state.settings.models,
        metric=suggest_detector(report),
        job=state.jobs.of(report.id),
        attachments=[state.store.media_row(digest) for digest in report.evidence.attachments],
        filed=filed,
        problem=problem,
    )


def _flashes(store: FailureStore, clip: ClipEvidence | None) -> int:
    path = store.media.path(clip.preview) if clip is not None and clip.preview is not None else None
    return hazard(path) if path is not None and path.is_file() else 0


@router.post("/reports/{report_id}/comment")
def comment(
    request: Request, account: Reporter, report_id: str, note: Annotated[str, Form(max_length=20_000)] = ""
) -> Response:
    """Say something about a report."""
    visible_report(request, account, report_id)
    request.app.state.store.comment(report_id, note, actor=account.name)
    return redirect(request, f"/reports/{report_id}")


@router.post("/reports/{report_id}/witness")
def witness(
    request: Request, account: Reporter, report_id: str, note: Annotated[str, Form(max_length=20_000)] = ""
) -> Response:
    """Bear witness: this person saw it too."""
    visible_report(request, account, report_id)
    seen = Confirmation(kind="witness", by=account.name, at=now(), note=note)
    request.app.state.store.confirm(report_id, seen, actor=account.name)
    return redirect(request, f"/reports/{report_id}")


@router.post("/reports/{report_id}/triage")
def triage(
    request: Request,
    account: Triager,
    report_id: str,
    status: Annotated[str, Form(max_length=20)] = "",
    duplicate_of: Annotated[str, Form(max_length=26)] = "",
    category: Annotated[str, Form(max_length=60)] = "",
    severity: Annotated[str, Form(max_length=2)] = "",
    note: Annotated[str, Form(max_length=20_000)] = "",
    back: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Move a report on, or change its category or severity."""
    state = request.app.state
    triage_report(
        state.store,
        report_id,
        actor=account.name,
        status=status,
        duplicate_of=duplicate_of.strip().upper() or None if status == "duplicate" else None,
        category=category,
        severity=severity,
        note=note,
        cases=state.settings.cases,
    )
    return redirect(request, "/reports" if back == "board" else f"/reports/{report_id}")


@router.post("/reports/{report_id}/reproduce")
def reproduce(
    request: Request,
    account: Triager,
    report_id: str,
    model: Annotated[str, Form(max_length=500)],
    seeds: Annotated[str, Form(max_length=200, pattern=r"^[0-9, ]*$")] = "",
    metric: Annotated[str, Form(max_length=200)] = "",
    limit: Annotated[str, Form(max_length=30)] = "",
) -> Response:
    """Run the model again, in a child process. Only models that the server was started with can be chosen."""
    state = request.app.state
    if model not in state.settings.models:
        raise HTTPException(
            403, f"the model {model!r} may not be run from here; start the server with --model"
        )
    report = visible_report(request, account, report_id)
    command = ["failures", "confirm", report.id, "--model", model, "--as", account.name, "--workers", "0"]
    command += [
        "--db",
        str(state.db_url),
        "--out",
        str(state.reproductions / f"{report.id}-{uuid.uuid4().hex[:8]}"),
    ]
    clip = report.evidence.clip
    run = state.library.run(clip.run_id) if clip and clip.run_id else None
    if run is not None:
        command += ["--run", str(run.folder.resolve())]
    for option, value in (
        ("--seeds", seeds.strip()),
        ("--metric", metric.strip()),
        ("--limit", limit.strip()),
    ):
        if value:
            command += [f"{option}={value}"]  # joined: a value that begins with a dash stays a value
    state.jobs.submit(report.id, tuple(command))
    return redirect(request, f"/reports/{report_id}")


@router.get("/reports/{report_id}/job")
def job(request: Request, account: Reporter, report_id: str) -> Response:
    """A fragment that says how far the reproduction is; it asks again by itself while one runs."""
    report = visible_report(request, account, report_id)
    return page(request, "_job.html", report=report, job=request.app.state.jobs.of(report.id))


@router.post("/reports/{report_id}/promote")
def promote(
    request: Request,
    account: Triager,
    report_id: str,
    metric: Annotated[str, Form(max_length=200)] = "",
    limit: Annotated[float | None, Form()] = None,
) -> Response:
    """Write the regression case."""
    state = request.app.state
    promote_report(
        state.store,
        report_id,
        folder=state.settings.cases,
        actor=account.name,
        metric=metric.strip() or None,
        limit=limit,
    )
    return redirect(request, f"/reports/{report_id}")


@router.get("/media/{digest}")
def media(request: Request, account: Reporter, digest: str) -> Response:
    """A file of a report, by its digest. Only what was encoded here, and plain pictures, are shown in the page."""
    path, kind = _readable(request, account, digest)
    if kind in _INLINE:
        return FileResponse(path, media_type=kind, headers={"cache-control": "private, max-age=3600"})
    # What a stranger sent is never rendered: it is saved, under a name made here.
    return FileResponse(path, media_type="application/octet-stream", filename=f"{digest}.bin")


@router.get("/media/{digest}/flashes")
def media_flashes(request: Request, account: Reporter, digest: str) -> dict[str, int]:
    """The same as for a clip of a run, for a clip that was uploaded."""
    path, kind = _readable(request, account, digest)
    # Only what was encoded here is decoded in this process.
    return {"flashes": hazard(path) if kind == "video/mp4" else 0}


def _readable(request: Request, account: Account, digest: str) -> tuple[Path, str]:
    """Path and media type of a file that this account may see."""
    store = request.app.state.store
    row = store.media_row(digest)
    if row is None:
        raise HTTPException(404, "no such file")
    if row["restricted"] and not (account.may("triage") or row["added_by"] == account.name):
        raise HTTPException(403, "a restricted report uses this file")
    path: Path = store.media.path(digest)
    if not path.is_file():
        raise HTTPException(404, "the file is gone from the media folder")
    return path, row["media_type"]
