"""Filing a report: the form, uploads, and what may be a duplicate."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import FormData

from evalkit.failures.drafts import clip_fields
from evalkit.failures.duplicates import suggest
from evalkit.failures.errors import InvalidReport
from evalkit.failures.ingest import ingest_attachment, ingest_clip
from evalkit.failures.record import FailureReport, Reproduction
from evalkit.failures.taxonomy import load_taxonomy
from evalkit.server.accounts import Account
from evalkit.server.forms import read_report
from evalkit.server.routes.runs import opened
from evalkit.server.security import Reporter
from evalkit.server.uploads import file_name, streamed
from evalkit.server.view import page, redirect

router = APIRouter(include_in_schema=False)

UPLOAD_PATH = "/uploads"
ATTACHMENT_PATH = "/attachments"


@router.get("/file")
def filing_page(request: Request, _: Reporter, run: str = "", clip: str = "") -> Response:
    """The filing form, prefilled from a clip of a run where one is named."""
    return page(request, "file.html", **_prefill(request, run, clip), problem="", form=FormData())


def _prefill(request: Request, run_id: str, clip_id: str) -> dict[str, Any]:
    context: dict[str, Any] = {
        "run": None, "row": None, "known": {}, "flashes": 0, "draft": uuid.uuid4().hex
    }  # fmt: skip
    context["repro"] = Reproduction.model_validate({}).model_dump()
    if run_id:
        run = opened(request, run_id)
        row = request.app.state.library.clips(run).get(clip_id)
        if row is None:
            raise InvalidReport(f"run {run_id} has no clip {clip_id!r}")
        known = clip_fields(run, row)
        flashes = request.app.state.library.hazard(run, clip_id)
        context |= {
            "run": run,
            "row": row,
            "known": known,
            "repro": known["reproduction"],
            "flashes": flashes,
        }
    return context


@router.post("/file")
async def file_report(request: Request, account: Reporter) -> Response:
    """File the report, once for each draft, however often the form is sent."""
    form = await request.form()
    return await run_in_threadpool(_file, request, form, account)


def _file(request: Request, form: FormData, account: Account) -> Response:
    state = request.app.state
    draft = str(form.get("draft", ""))[:64]
    try:
        report = read_report(form, store=state.store, library=state.library, account=account, keep=True)
    except InvalidReport as error:
        context = _prefill(request, str(form.get("run", "")), str(form.get("clip", "")))
        return page(request, "file.html", 422, **(context | {"draft": draft}), problem=str(error), form=form)
    filed = state.store.add(
        report, actor=account.name, filing_key=f"{account.name[:30]}:{draft}" if draft else None
    )
    if filed.created:
        measure_upload(request, filed.report, account)
    return redirect(request, f"/reports/{filed.report.id}", filed=draft)


def measure_upload(request: Request, report: FailureReport, account: Account) -> None:
    """Let the metrics read an uploaded clip: in another process, since it may take longer than an answer should."""
    clip = report.evidence.clip
    if clip is None or clip.original is None or not load_taxonomy().leaf(report.category).metrics:
        return
    state = request.app.state
    command = ("failures", "measure", report.id, "--as", account.name, "--db", str(state.db_url),
               "--media", str(state.store.media.root.resolve()))  # fmt: skip
    state.jobs.submit(report.id, command)


@router.post("/file/duplicates")
async def duplicates(request: Request, account: Reporter) -> Response:
    """A fragment with reports that may be about the same thing; empty while the form is not complete enough."""
    form = await request.form()
    return await run_in_threadpool(_duplicates, request, form, account)


def _duplicates(request: Request, form: FormData, account: Account) -> Response:
    state = request.app.state
    filled = FormData([*form.multi_items(), ("severity", "S1"), ("observed", "-")])
    try:
        report = read_report(filled, store=state.store, library=state.library, account=account, keep=False)
    except InvalidReport:
        return page(request, "_duplicates.html", suggestions=[])
    found = suggest(state.store, report, restricted=account.may("triage"))
    return page(request, "_duplicates.html", suggestions=found)


@router.post(UPLOAD_PATH)
async def upload_clip(request: Request, account: Reporter) -> JSONResponse:
    """A clip that no run knows, as the raw body. It is decoded with limits before anything is kept."""
    name = file_name(request)
    async with streamed(request) as path:
        clip = await run_in_threadpool(
            ingest_clip, request.app.state.store, path, name=name, actor=account.name
        )
    return JSONResponse(clip.model_dump(mode="json"), 201)


@router.post(ATTACHMENT_PATH)
async def upload_attachment(request: Request, account: Reporter) -> JSONResponse:
    """A picture or a text, as the raw body."""
    name = file_name(request)
    async with streamed(request) as path:
        digest = await run_in_threadpool(
            ingest_attachment, request.app.state.store, path.read_bytes(), name=name, actor=account.name
        )
    return JSONResponse({"digest": digest, "name": name}, 201)
