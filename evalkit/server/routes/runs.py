"""Runs, their pages, clips and comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse, Response

from evalkit.errors import EvalkitError
from evalkit.failures.store import Query as ReportQuery
from evalkit.server.accounts import Account
from evalkit.server.flashes import known_hazards
from evalkit.server.security import RENDERED_PAGE_POLICY, Reporter
from evalkit.server.view import page

if TYPE_CHECKING:
    from evalkit.runs.store import Run

router = APIRouter(include_in_schema=False)

_PAGE = 60
_RENDERED = ("report", "gallery", "previews")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".tex": "text/plain; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
}
# Everything that shows a clip: previews, posters, and what is made of them (ID.heat.mp4, ID.strip.jpg, ID.f9.jpg).
_PICTURES = (".mp4", ".webp", ".jpg", ".png")


def opened(request: Request, run_id: str) -> Run:
    """The run of this id, or 404."""
    run: Run | None = request.app.state.library.run(run_id)
    if run is None:
        raise HTTPException(404, f"there is no run {run_id!r} here")
    return run


@router.get("/")
def runs_page(request: Request, account: Reporter) -> Response:
    """All runs, and how many reports are open."""
    library, store = request.app.state.library, request.app.state.store
    return page(
        request,
        "runs.html",
        runs=list(library.runs().values()),
        folder=library.folder,
        counts=store.counts(restricted=account.may("triage")),
    )


@router.get("/runs/{run_id}")
def run_page(
    request: Request,
    _: Reporter,
    run_id: str,
    metric: Annotated[str, Query(max_length=200)] = "",
    category: Annotated[str, Query(max_length=200)] = "",
    q: Annotated[str, Query(max_length=200)] = "",
    start: Annotated[int, Query(ge=0, le=10**6)] = 0,
) -> Response:
    """The gallery of a run: its clips, the worst first, each with a way to file a report."""
    run = opened(request, run_id)
    records = [record for record in run.manifest.metrics if record.kind == "clip"]
    chosen = next((record for record in records if record.id == metric), records[0] if records else None)
    scores: dict[str, float] = {}
    if chosen is not None:
        table = run.scores
        table = table[(table["metric_id"] == chosen.id) & (table["status"] == "ok")]
        scores = dict(zip(table["clip_id"], table["value"].astype(float), strict=True))
    hidden, reported = _reports_of(request, run_id)
    rows: list[dict[str, Any]] = [
        {**row, "prompt": _prompt(run, row["prompt_id"]), "value": scores.get(clip_id)}
        for clip_id, row in request.app.state.library.clips(run).items()
        if clip_id not in hidden and (not category or row["category"] == category)
    ]
    rows = [row for row in rows if q.casefold() in f"{row['prompt_id']} {row['prompt']}".casefold()]
    sign = 1 if chosen is not None and chosen.direction == "higher" else -1
    rows.sort(key=lambda row: (row["value"] is None, sign * (row["value"] or 0), row["prompt_id"]))
    return page(
        request,
        "run.html",
        run=run,
        manifest=run.manifest,
        records=records,
        chosen=chosen,
        categories=run.suite.categories,
        category=category,
        q=q,
        rows=rows[start : start + _PAGE],
        total=len(rows),
        start=start,
        step=_PAGE,
        flashes=known_hazards(run),
        reported=reported,
        hidden=len(hidden),
        rendered={name: (run.folder / name / "index.html").is_file() for name in ("report", "gallery")},
    )


def _prompt(run: Run, prompt_id: str) -> str:
    prompt = run.suite.by_id.get(prompt_id)
    return prompt.text if prompt else ""


def _reports_of(request: Request, run_id: str) -> tuple[set[str], dict[str, int]]:
    """Clips with a restricted report (left out of galleries), and how many reports the others have."""
    hidden: set[str] = set()
    reported: dict[str, int] = {}
    for report in request.app.state.store.find(ReportQuery(run_id=run_id, restricted=True, limit=100_000)):
        clip = report.evidence.clip
        if clip is None or clip.clip_id is None:
            continue
        if report.restricted:
            hidden.add(clip.clip_id)
        reported[clip.clip_id] = reported.get(clip.clip_id, 0) + 1
    return hidden, reported


@router.get("/runs/{run_id}/clips/{clip_id}/flashes")
def clip_flashes(request: Request, account: Reporter, run_id: str, clip_id: str) -> dict[str, int]:
    """Flashes within one second of a clip that must stay covered, else 0; pages ask before they play it."""
    run = opened(request, run_id)
    _check_shown(request, account, run_id, clip_id)
    return {"flashes": request.app.state.library.hazard(run, clip_id)}


def _check_shown(request: Request, account: Account, run_id: str, clip_id: str) -> None:
    if clip_id in _reports_of(request, run_id)[0] and not account.may("triage"):
        raise HTTPException(403, "a restricted report is about this clip")


@router.get("/runs/{run_id}/clips/{clip_id}/{kind}")
def clip_file(request: Request, account: Reporter, run_id: str, clip_id: str, kind: str) -> Response:
    """Preview (with byte ranges, so that players can seek) or poster of a clip, by ids only."""
    run = opened(request, run_id)
    if kind not in ("preview", "poster"):
        raise HTTPException(404, "a clip has a preview and a poster")
    _check_shown(request, account, run_id, clip_id)
    path = request.app.state.library.media(run, clip_id, kind)
    if path is None:
        raise HTTPException(404, f"run {run_id} has no {kind} of clip {clip_id}")
    media_type = "video/mp4" if kind == "preview" else "image/webp"
    return FileResponse(path, media_type=media_type, headers={"cache-control": "private, max-age=3600"})


@router.get("/runs/{run_id}/files/{path:path}")
def rendered_file(request: Request, account: Reporter, run_id: str, path: str) -> Response:
    """The static report and gallery of a run, as `evalkit report` and `evalkit gallery` wrote them."""
    run = opened(request, run_id)
    root = run.folder.resolve()
    if "\\" in path or "\x00" in path or not path.isprintable():
        raise HTTPException(404, "no such file")
    file = (root / path).resolve()
    inside = any(file.is_relative_to(root / name) for name in _RENDERED)
    if not inside or file.suffix not in _TYPES or not file.is_file():
        raise HTTPException(404, "no such file; `evalkit report` and `evalkit gallery` write them")
    if file.suffix in _PICTURES:
        _check_shown(request, account, run_id, file.name.partition(".")[0])
    headers = {"content-security-policy": RENDERED_PAGE_POLICY} if file.suffix == ".html" else {}
    return FileResponse(file, media_type=_TYPES[file.suffix], headers=headers)


@router.get("/compare")
def compare_page(
    request: Request,
    _: Reporter,
    a: Annotated[str, Query(max_length=64)] = "",
    b: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """What changed from run A to run B, metric by metric, and where most."""
    from evalkit.compare.render import ICONS
    from evalkit.compare.runs import compare_runs

    runs = request.app.state.library.runs()
    comparison, problem, changed = None, "", []
    if a and b:
        first, second = opened(request, a), opened(request, b)
        try:
            comparison = compare_runs([first, second], labels=[f"A: {_name(first)}", f"B: {_name(second)}"])
            changed = _changed(first, second)
        except EvalkitError as error:
            problem = str(error)
    return page(
        request,
        "compare.html",
        runs=list(runs.values()),
        a=a,
        b=b,
        comparison=comparison,
        icons=ICONS,
        problem=problem,
        changed=changed,
    )


def _name(run: Run) -> str:
    return f"{run.manifest.model.id} {run.manifest.model.revision} ({Path(run.folder).name})"


def _changed(first: Run, second: Run) -> list[dict[str, Any]]:
    """The clips of the second run that lost most against the first, by any metric."""
    from evalkit.failures.worst import worst_clips

    return [
        {
            "row": clip.row,
            "metric": clip.metric_id,
            "title": clip.fields["title"],
            "prompt": clip.fields["prompt"],
        }
        for clip in worst_clips(second, first, 8)
    ]
