"""`evalkit compare`: what changed between two or more runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["compare"]


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, or URLs of stored runs; the first is the baseline.",
            metavar="RUN_A RUN_B [RUN_C ...]",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write tables, Markdown and figures here.")
    ] = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="Compare only this metric; repeatable.")
    ] = None,
    margins: Annotated[
        list[str] | None,
        typer.Option("--margin", help="METRIC=LARGEST_ACCEPTABLE_DROP in the metric's unit; repeatable."),
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", help="Name of a run in tables, in order.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Two-sided error of intervals and verdicts.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON on stdout.")] = False,
) -> None:
    """Compare runs of one suite, prompt by prompt.

    Example: evalkit compare runs/v1 runs/v2 --margin temporal.flicker=0.01 --out comparison
    """
    from rich.console import Console

    from evalkit.compare.render import to_terminal
    from evalkit.compare.runs import compare_runs
    from evalkit.compare.write import write_comparison
    from evalkit.runs.transfer import opened

    with opened(*runs) as found:
        comparison = compare_runs(
            found,
            labels=labels or None,
            metrics=metrics or None,
            margins=dict(parse_margin(text) for text in margins or ()),
            alpha=alpha,
            seed=seed,
        )
        if as_json:
            typer.echo(json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
        console = Console(stderr=True)
        console.print(to_terminal(comparison, compact=console.width < 120))
        if out is not None:
            from evalkit.report import render_comparison

            files = write_comparison(comparison, out)
            page = render_comparison(comparison, found, out)
            console.print(
                f"{len(files)} files written to {out}; page: {page.resolve()}", markup=False, highlight=False
            )


def parse_margin(text: str) -> tuple[str, float]:
    """Read `METRIC=NUMBER`.

    Raises:
        EvalkitError: it is not of that form.
    """
    from evalkit.errors import EvalkitError

    metric, equals, value = text.partition("=")
    try:
        if not (equals and metric):
            raise ValueError
        return metric, float(value)
    except ValueError:
        raise EvalkitError(
            f"--margin {text!r} is not METRIC=NUMBER; write for example --margin temporal.flicker=0.01"
        ) from None
