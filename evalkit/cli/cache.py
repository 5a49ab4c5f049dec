"""`evalkit cache`: what features cost on disk, and getting the space back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["cache_app"]

cache_app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""Size of runs' feature caches, and pruning.

Features are kept in RUN/features, so that a further metric needs no decoding. Deleting them loses nothing but
time. Example: evalkit cache info runs/*""",
)

Runs = Annotated[list[Path], typer.Argument(help="Run folders.")]


@cache_app.command()
def info(runs: Runs, json_: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False) -> None:
    """Show how much space each run's features, clips and previews take.

    Example: evalkit cache info runs/first
    """
    from evalkit.runs.store import open_run

    sizes = {}
    for folder in runs:
        open_run(folder)
        sizes[str(folder)] = {part: _size(folder / part) for part in ("features", "clips", "previews")}
    if json_:
        typer.echo(json.dumps(sizes, indent=2))
        return
    for name, parts in sizes.items():
        typer.echo(f"{name}: " + ", ".join(f"{part} {size / 2**20:.1f} MiB" for part, size in parts.items()))


@cache_app.command()
def prune(runs: Runs) -> None:
    """Delete the features of finished runs; clips, previews and tables stay.

    Feature rows of set metrics stay too: `compare` resamples them.

    Example: evalkit cache prune runs/first
    """
    import shutil

    from evalkit.errors import RunError
    from evalkit.runs.store import open_run

    for folder in runs:
        if open_run(folder).manifest.status == "running":
            raise RunError(f"{folder} is not finished, its features are still needed; finish the run first")
        freed = 0
        for part in sorted((folder / "features").glob("*")):
            if part.is_dir() and part.name != "sets":
                freed += _size(part)
                shutil.rmtree(part)
        typer.echo(f"{folder}: freed {freed / 2**20:.1f} MiB", err=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
