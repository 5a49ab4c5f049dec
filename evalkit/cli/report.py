"""`evalkit report` and `evalkit gallery`: what people look at, rendered from a run's tables alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evalkit.report import ReportedFailure
    from evalkit.runs.store import Run

__all__ = ["gallery", "report"]

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print the paths as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def report(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option(help="Folder (default: RUN/report).")] = None,
    figures: Annotated[
        str | None, typer.Option(help="Also write the figures for papers: svg, png or pdf.")
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Render a run's report: HTML, Markdown and tables (CSV, Markdown, LaTeX, Parquet).

    Example: evalkit report runs/first --figures pdf
    """
    from evalkit.errors import EvalkitError
    from evalkit.report import render_report, write_figures
    from evalkit.report.plots import FIGURE_FORMATS
    from evalkit.runs.store import open_run

    if figures is not None and figures not in FIGURE_FORMATS:
        raise EvalkitError(f"--figures {figures!r} is no format for figures; use {', '.join(FIGURE_FORMATS)}")
    opened = open_run(run)
    page = render_report(opened, out, progress=_progress(quiet))
    written = write_figures(opened, page.parent / "figures", figures) if figures else []
    _say(page, json_, tables=str(page.parent / "tables"), figures=[str(path) for path in written])


def gallery(
    run: RunFolder,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Earlier run on the same suite: adds what regressed and what was fixed."),
    ] = None,
    failures: Annotated[
        str | None,
        typer.Option(
            help="Database URL of failure reports (default: $EVALKIT_DB, else failures/failures.db)."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder (default: RUN/gallery).")] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Render a run's gallery: worst clips by metric and category, changes, reports, a random sample, all clips.

    Clips that a safety report is about are left out.

    Example: evalkit gallery runs/new --baseline runs/old
    """
    from evalkit.report import render_gallery
    from evalkit.runs.store import open_run

    opened = open_run(run)
    page = render_gallery(
        opened,
        open_run(baseline) if baseline is not None else None,
        reported_failures(opened, failures),
        out,
        progress=_progress(quiet),
    )
    _say(page, json_)


def reported_failures(run: Run, url: str | None = None) -> list[ReportedFailure]:
    """Failure reports about clips of a run, as the gallery shows them; none where no database exists.

    Args:
        run: the run.
        url: database; by default `$EVALKIT_DB`, else `failures/failures.db` where that file exists.
    """
    import os

    url = url or os.environ.get("EVALKIT_DB")
    if url is None and not Path("failures/failures.db").is_file():
        return []
    from evalkit.failures.store import Query, open_store
    from evalkit.report import ReportedFailure

    ours = set(run.generations["clip_id"].dropna())
    store = open_store(url)
    found: list[ReportedFailure] = []
    before = ""
    try:
        while page := store.find(Query(restricted=True, before=before)):
            before = page[-1].id
            for filed in page:
                clip = filed.evidence.clip
                if clip is None or clip.clip_id is None or clip.clip_id not in ours:
                    continue
                segments = filed.observation.segments
                found.append(
                    ReportedFailure(
                        clip_id=clip.clip_id,
                        id=filed.id,
                        category=filed.category,
                        severity=filed.severity,
                        status=filed.status,
                        title=filed.title,
                        first=segments[0].first if segments else None,
                        last=segments[0].last if segments else None,
                        restricted=filed.restricted,
                    )
                )
    finally:
        store.close()
    return found


def _progress(quiet: bool) -> Callable[[int, int], None] | None:
    """Count clips on a terminal while previews are made."""
    if quiet or not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        if done == total or done % max(1, total // 100) == 0:
            typer.echo(f"\rclips {done} of {total}", err=True, nl=done == total)

    return show


def _say(page: Path, as_json: bool, **more: object) -> None:
    if as_json:
        typer.echo(json.dumps({"page": str(page.resolve()), **more}, indent=2))
    else:
        typer.echo(str(page.resolve()), err=True)
