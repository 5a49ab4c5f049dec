"""Options and answers that the verbs of `evalkit failures` share."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evalkit.failures.record import FailureReport
    from evalkit.failures.store import FailureStore

__all__ = ["Actor", "Cases", "Db", "Json", "ReportId", "Restricted", "open_failures", "say", "who_am_i"]

ReportId = Annotated[
    str, typer.Argument(metavar="ID", help="Report id, or its last characters where unique.")
]
Db = Annotated[
    str, typer.Option(help="Database URL (default: $EVALKIT_DB, else sqlite:///failures/failures.db).")
]
Actor = Annotated[str, typer.Option("--as", help="Who you are, for the history (default: your login name).")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]
Restricted = Annotated[bool, typer.Option("--restricted", help="Restricted reports (safety.*), too.")]
Cases = Annotated[Path, typer.Option("--cases", help="Folder of the regression cases.")]


def open_failures(db: str, media: Path | None = None) -> FailureStore:
    """The store that `--db` names, with its files in `media` if they do not lie beside it."""
    from evalkit.failures.store import open_store

    return open_store(db or None, media)


def who_am_i(actor: str) -> str:
    """The name that the history shows."""
    return actor or getpass.getuser()


def say(report: FailureReport, as_json: bool, text: str) -> None:
    """The report as JSON on stdout if asked for, and one sentence for people on stderr."""
    if as_json:
        typer.echo(json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False))
    typer.echo(text, err=True)
