"""`evalkit baseline`: promote runs to baselines, and look at them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["baseline_app"]

baseline_app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Baselines = Annotated[Path, typer.Option("--baselines", help="Folder of promoted baselines.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
DEFAULT_BASELINES = Path("benchmarks/baselines")


@baseline_app.callback()
def _root() -> None:
    """Promote, list, show and compare gate baselines.

    Example: evalkit baseline promote runs/release --as release-1.2 --reason "released on 1 May"
    """


@baseline_app.command("promote")
def promote(
    run: Annotated[Path, typer.Argument(help="Finished run folder.")],
    name: Annotated[str, typer.Option("--as", help="Name of the baseline.")],
    reason: Annotated[
        str, typer.Option("--reason", help="Why this run is the new baseline; kept in the lock file.")
    ],
    policy: Annotated[Path | None, typer.Option("--policy", help="Lock the margins of this policy.")] = None,
    baselines: Baselines = DEFAULT_BASELINES,
    as_json: Json = False,
) -> None:
    """Make a complete run from a clean checkout a baseline. It never moves afterwards.

    Example: evalkit baseline promote runs/release --as release-1.2 --reason "released" --policy policy.yaml
    """
    from evalkit.gate.baselines import open_baseline
    from evalkit.gate.baselines import promote as promote_run
    from evalkit.gate.policy import load_policy
    from evalkit.runs.store import open_run

    folder = promote_run(open_run(run), name, reason, baselines, load_policy(policy) if policy else None)
    lock = open_baseline(folder)[1]
    if as_json:
        typer.echo(lock.model_dump_json(indent=2))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    typer.echo(
        f"{folder}: {len(lock.files)} files, {size / 1024:.0f} KiB, {len(lock.margins)} margins locked",
        err=True,
    )


@baseline_app.command("list")
def list_(baselines: Baselines = DEFAULT_BASELINES, as_json: Json = False) -> None:
    """List the promoted baselines.

    Example: evalkit baseline list
    """
    from evalkit.gate.baselines import list_baselines, open_baseline

    locks = [open_baseline(baselines / name)[1] for name in list_baselines(baselines)]
    if as_json:
        typer.echo(json.dumps([lock.model_dump(mode="json") for lock in locks], indent=2, ensure_ascii=False))
    for lock in locks:
        typer.echo(
            f"{lock.name}\t{lock.promoted}\t{lock.model} {lock.revision}\t{lock.suite}\t{lock.reason}",
            err=True,
        )
    if not locks:
        typer.echo(f"no baselines in {baselines}; `evalkit baseline promote` makes one", err=True)


@baseline_app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of a baseline.")],
    baselines: Baselines = DEFAULT_BASELINES,
    as_json: Json = False,
) -> None:
    """Show what was promoted, and check its files against the lock.

    Example: evalkit baseline show release-1.2
    """
    from evalkit.errors import EvalkitError
    from evalkit.gate.baselines import find_baseline

    _, lock = find_baseline(name, baselines)
    if lock is None:
        raise EvalkitError(f"{name} is a run, not a promoted baseline; `evalkit baseline list` shows those")
    if as_json:
        typer.echo(lock.model_dump_json(indent=2))
    for key, value in lock.model_dump(mode="json", exclude={"files", "schema_id"}).items():
        typer.echo(f"{key}: {json.dumps(value, ensure_ascii=False)}", err=True)
    typer.echo(f"{len(lock.files)} files, all as locked", err=True)


@baseline_app.command("diff")
def diff(
    first: Annotated[str, typer.Argument(help="Name of a baseline, or a run folder.")],
    second: Annotated[str, typer.Argument(help="Name of a baseline, or a run folder.")],
    baselines: Baselines = DEFAULT_BASELINES,
    as_json: Json = False,
) -> None:
    """Compare two baselines, or a baseline with a run.

    Example: evalkit baseline diff release-1.1 release-1.2
    """
    from rich.console import Console

    from evalkit.compare.render import to_terminal
    from evalkit.compare.runs import compare_runs
    from evalkit.gate.baselines import find_baseline

    runs = [find_baseline(name, baselines)[0] for name in (first, second)]
    comparison = compare_runs(runs, labels=[Path(first).name, Path(second).name] if first != second else None)
    if as_json:
        typer.echo(json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    console = Console(stderr=True)
    console.print(to_terminal(comparison, compact=console.width < 120))
    for difference in comparison.differences:
        values = " | ".join(difference.values.values())
        console.print(f"{difference.area} {difference.key}: {values}", markup=False, highlight=False)
