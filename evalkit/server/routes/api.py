"""The JSON interface for scripts, described by OpenAPI at `/api/openapi.json`; log in with a bearer token."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from evalkit.failures.duplicates import suggest
from evalkit.failures.errors import InvalidReport
from evalkit.failures.exporting import to_document
from evalkit.failures.ingest import ingest_attachment, ingest_clip
from evalkit.failures.record import (
    ClipEvidence,
    Evidence,
    FailureReport,
    Line,
    Model,
    Observation,
    Prose,
    Reproduction,
    Word,
    parse_report,
)
from evalkit.failures.schema import report_schema
from evalkit.failures.states import Status
from evalkit.failures.store import Query as ReportQuery
from evalkit.failures.triage import triage_report
from evalkit.failures.ulid import ULID_PATTERN
from evalkit.server.routes.filing import measure_upload
from evalkit.server.routes.triage import visible_report
from evalkit.server.security import Reporter, Triager
from evalkit.server.uploads import file_name, streamed

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "no token, or an unknown one"},
    403: {"description": "the account lacks the scope, or another site sent the request"},
    404: {"description": "no such thing"},
    409: {"description": "the report is in another state"},
    413: {"description": "too large"},
    415: {"description": "another kind of file"},
    421: {"description": "wrong Host header"},
    422: {"description": "a field is wrong; the answer names it"},
}
router = APIRouter(prefix="/api", tags=["failures"], responses=_REFUSALS)

UPLOAD_PATH, ATTACHMENT_PATH = "/api/uploads", "/api/attachments"
ReportId = Annotated[str, Path(pattern=ULID_PATTERN)]
FileName = Annotated[str, Header(alias="X-File-Name", max_length=600, description="percent-encoded")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class NewReport(_Body):
    """What a reporter sends; the server adds id, times, source and status."""

    category: Word
    severity: Literal["S0", "S1", "S2", "S3"]
    model: Model
    prompt: Prose
    evidence: Evidence
    title: Line = ""
    observation: Observation = Observation()
    reproduction: Reproduction = Field(default_factory=lambda: Reproduction.model_validate({}))
    tags: Annotated[tuple[Word, ...], Field(max_length=50)] = ()


class Change(_Body):
    """What a triager changes; empty fields stay as they are."""

    status: Status | None = None
    duplicate_of: Annotated[str, Field(pattern=ULID_PATTERN)] | None = None
    category: Word | None = None
    severity: Literal["S0", "S1", "S2", "S3"] | None = None
    note: Prose = ""


class Duplicate(_Body):
    """A report that may be about the same thing."""

    id: str
    reason: str
    likeness: float


class ReportWithHistory(_Body):
    """A report and every step it took."""

    report: FailureReport
    history: list[dict[str, Any]]


class Attached(_Body):
    """Digest of a file that was kept; name it in `evidence.attachments`."""

    digest: str


@router.get("/schema")
def schema(_: Reporter) -> dict[str, Any]:
    """JSON Schema of a stored report."""
    return report_schema()


@router.get("/reports")
def list_reports(
    request: Request,
    account: Reporter,
    status: Annotated[Status | None, Query()] = None,
    category: Annotated[str, Query(max_length=60)] = "",
    text: Annotated[str, Query(max_length=200)] = "",
    before: Annotated[str, Query(max_length=26, description="only ids smaller than this one")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[FailureReport]:
    """Reports, newest first; restricted ones only for triagers."""
    query = ReportQuery(
        (status,) if status else (),
        category,
        text=text,
        restricted=account.may("triage"),
        before=before,
        limit=limit,
    )
    found: list[FailureReport] = request.app.state.store.find(query)
    return found


@router.post("/reports", status_code=201)
def file_report(
    request: Request,
    response: Response,
    account: Reporter,
    new: NewReport,
    idempotency_key: Annotated[str, Header(alias="Idempotency-Key", max_length=60)] = "",
) -> FailureReport:
    """File a report. With an `Idempotency-Key`, sending it again changes nothing and answers 200."""
    if new.evidence.clip is not None and new.evidence.clip.run_id is not None:
        raise InvalidReport(
            "evidence.clip.run_id: file clips of runs in the browser or with `evalkit failures new --run`"
        )
    report = parse_report({**new.model_dump(mode="json"), "source": {"kind": "human", "name": account.name}})
    key = f"{account.name[:30]}:{idempotency_key}" if idempotency_key else None
    filed = request.app.state.store.add(report, actor=account.name, filing_key=key)
    if filed.created:
        measure_upload(request, report, account)
    else:
        response.status_code = 200
    stored: FailureReport = filed.report
    return stored


@router.get("/reports/{report_id}")
def get_report(request: Request, account: Reporter, report_id: ReportId) -> ReportWithHistory:
    """One report with its history."""
    report = visible_report(request, account, report_id)
    return ReportWithHistory.model_validate(to_document(report, request.app.state.store.history(report_id)))


@router.get("/reports/{report_id}/duplicates")
def duplicates(request: Request, account: Reporter, report_id: ReportId) -> list[Duplicate]:
    """Reports that may be about the same thing."""
    report = visible_report(request, account, report_id)
    found = suggest(request.app.state.store, report, restricted=account.may("triage"))
    return [Duplicate(id=entry.report.id, reason=entry.reason, likeness=entry.likeness) for entry in found]


@router.post("/reports/{report_id}/triage")
def triage(request: Request, account: Triager, report_id: ReportId, change: Change) -> FailureReport:
    """Move a report on, change its category or severity, or comment."""
    if change.duplicate_of is not None and change.status != "duplicate":
        raise InvalidReport("duplicate_of: only with the status duplicate")
    return triage_report(
        request.app.state.store,
        report_id,
        actor=account.name,
        status=change.status or "",
        duplicate_of=change.duplicate_of,
        category=change.category or "",
        severity=change.severity or "",
        note=change.note,
        cases=request.app.state.settings.cases,
    )


@router.post(
    "/uploads", status_code=201, openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}}}
)
async def upload_clip(request: Request, account: Reporter, x_file_name: FileName = "") -> ClipEvidence:
    """Upload a clip as the raw body; the answer goes into `evidence.clip` of the report."""
    name = file_name(request)
    async with streamed(request) as path:
        return await run_in_threadpool(
            ingest_clip, request.app.state.store, path, name=name, actor=account.name
        )


@router.post(
    "/attachments",
    status_code=201,
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}}},
)
async def upload_attachment(request: Request, account: Reporter, x_file_name: FileName = "") -> Attached:
    """Upload a picture or a text as the raw body."""
    name = file_name(request)
    async with streamed(request) as path:
        digest = await run_in_threadpool(
            ingest_attachment, request.app.state.store, path.read_bytes(), name=name, actor=account.name
        )
    return Attached(digest=digest)
