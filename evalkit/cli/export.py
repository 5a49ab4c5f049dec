"""`evalkit export`: a run in another benchmark's layout, or its copy in an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["export"]


def export(
    run: Annotated[str, typer.Argument(help="Run folder, or the URL of a stored run.")],
    out: Annotated[
        str, typer.Option(help="New folder, or with --layout run a URL (s3://bucket/runs/first).")
    ],
    layout: Annotated[
        str, typer.Option(help="vbench, evalcrafter, t2v-compbench, or run for the run as it is.")
    ] = "vbench",
    group: Annotated[str, typer.Option(help="Whose clips, where the run holds several models.")] = "",
) -> None:
    """Write a run's clips, prompts and scores as another benchmark names them, for that benchmark's own code.

    With --layout run, copy the run to an object store, or from there into a folder.

    Example: evalkit export runs/first --layout vbench --out for-vbench
    """
    from evalkit.errors import RunError
    from evalkit.remote import is_url
    from evalkit.runs.exports import export_run
    from evalkit.runs.store import open_run
    from evalkit.runs.transfer import fetch_run, store_run

    if layout == "run":
        if is_url(run) == is_url(out):
            raise RunError(
                f"{run} to {out}: --layout run copies between a folder and a URL; a run folder on a disk can be copied "
                "and moved as it is"
            )
        if is_url(out):
            count = store_run(open_run(Path(run)), out)
            typer.echo(f"{out}: {count} files; compare it with `evalkit compare {out} OTHER`", err=True)
        else:
            typer.echo(f"{out}: {fetch_run(run, Path(out)).manifest.run_id}", err=True)
        return
    done = export_run(open_run(Path(run)), layout, Path(out), group=group)
    for line in done.left_out[:5]:
        typer.echo(f"note: left out {line}", err=True)
    if len(done.left_out) > 5:
        typer.echo(f"note: {len(done.left_out) - 5} further clips were left out", err=True)
    typer.echo(f"{out}: {done.clips} clips; scores: {', '.join(done.scores) or 'none'}", err=True)
