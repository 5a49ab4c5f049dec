"""`evalkit export`: a run in another benchmark's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, typer.Option(help="New folder.")],
    layout: Annotated[str, typer.Option(help="vbench, evalcrafter or t2v-compbench.")] = "vbench",
    group: Annotated[str, typer.Option(help="Whose clips, where the run holds several models.")] = "",
) -> None:
    """Write a run's clips, prompts and scores as another benchmark names them, for that benchmark's own code.

    Example: evalkit export runs/first --layout vbench --out for-vbench
    """
    from evalkit.runs.exports import export_run
    from evalkit.runs.store import open_run

    done = export_run(open_run(run), layout, out, group=group)
    for line in done.left_out[:5]:
        typer.echo(f"note: left out {line}", err=True)
    if len(done.left_out) > 5:
        typer.echo(f"note: {len(done.left_out) - 5} further clips were left out", err=True)
    typer.echo(f"{out}: {done.clips} clips; scores: {', '.join(done.scores) or 'none'}", err=True)
