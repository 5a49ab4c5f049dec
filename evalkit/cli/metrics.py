"""`evalkit metrics`: list metrics, explain one, write the reference pages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["metrics_app"]

metrics_app = typer.Typer(
    help="List and explain metrics.",
    epilog="Example: evalkit metrics show temporal.flicker",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]


@metrics_app.command("list", epilog="Example: evalkit metrics list --default")
def list_metrics(
    default: Annotated[bool, typer.Option("--default", help="Only what runs by default.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List metrics: id, title, which way is better, and what stands behind them."""
    from evalkit.metrics.registry import metric_specs

    specs = {name: spec for name, spec in metric_specs().items() if spec.default or not default}
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(spec) for spec in specs.values()], indent=2))
        return
    for name, spec in specs.items():
        mark = "*" if spec.default else " "
        typer.echo(f"{mark} {name:<32} {spec.direction:<7} {spec.evidence:<9} {spec.title}")
    typer.echo("* runs by default; `evalkit metrics show ID` explains one", err=True)


@metrics_app.command("show", epilog="Example: evalkit metrics show temporal.flicker")
def show_metric(
    name: Annotated[str, typer.Argument(metavar="ID", help="Id of the metric.")], as_json: JsonOption = False
) -> None:
    """Explain one metric: definition, parameters, limits, source, and whether it can run here."""
    from evalkit.metrics.cards import card, parameters
    from evalkit.metrics.registry import METRICS

    metric = METRICS.load(name)
    if as_json:
        settings = {key: None if value is dataclasses.MISSING else value for key, value in parameters(metric)}
        typer.echo(json.dumps({**dataclasses.asdict(metric.spec), "parameters": settings}, indent=2))
        return
    typer.echo(card(name, metric))


@metrics_app.command("cards", epilog="Example: evalkit metrics cards --out docs/reference/metrics")
def cards(
    out: Annotated[Path, typer.Option(help="Folder for the pages.")],
    figures: Annotated[
        Path | None, typer.Option(help="Folder of pictures named METRIC.svg, to be linked from the pages.")
    ] = None,
) -> None:
    """Write one reference page per metric, and an index, from the metrics' own specs."""
    from evalkit.metrics.cards import write_cards

    for path in write_cards(out, figures):
        typer.echo(str(path))


@metrics_app.command(
    "reference", epilog="Example: evalkit metrics reference runs/real --metric set.fvd --out real.safetensors"
)
def reference(
    run: Annotated[Path, typer.Argument(help="Run over the reference clips, scored with the metric.")],
    out: Annotated[Path, typer.Option(help="New reference file (.safetensors).")],
    metric: Annotated[str, typer.Option(help="Set metric whose features are written.")] = "set.fvd",
    source: Annotated[str, typer.Option(help="Where the clips come from, in words.")] = "",
    statistics_only: Annotated[
        bool, typer.Option("--statistics-only", help="Only count, mean and covariance: enough for FVD.")
    ] = False,
) -> None:
    """Write a run's features as a reference file for `--reference`, with their protocol inside."""
    from evalkit.engine.reference import write_reference
    from evalkit.runs.store import open_run

    made = write_reference(open_run(run), metric, out, source=source, statistics_only=statistics_only)
    typer.echo(f"{out}: {made.statistics.count} clips, {made.protocol}", err=True)


@metrics_app.command("totals", epilog="Example: evalkit metrics totals results/mine_eval_results.json")
def totals(
    files: Annotated[list[Path], typer.Argument(help="VBench's *_eval_results.json; dimensions are joined.")],
    as_json: JsonOption = False,
) -> None:
    """Print VBench's quality, semantic and total score from its own result files."""
    from evalkit.errors import EvalkitError
    from evalkit.metrics.vbench_scores import read_results
    from evalkit.metrics.vbench_scores import totals as vbench_totals

    scores: dict[str, float] = {}
    for path in files:
        for dimension, (overall, _) in read_results(path).items():
            if scores.setdefault(dimension, overall) != overall:
                raise EvalkitError(
                    f"{path}: dimension {dimension!r} has another value in an earlier file; give one"
                )
    found = vbench_totals(scores)
    if as_json:
        typer.echo(json.dumps({"dimensions": scores, **found._asdict()}, indent=2))
        return
    for name, value in {**scores, **found._asdict()}.items():
        typer.echo(f"{name:<24} {100 * value:6.2f}")


@metrics_app.command(
    "import",
    epilog="Example: evalkit metrics import runs/first results/mine_eval_results.json --exported for-vbench",
)
def import_results(
    run: Annotated[Path, typer.Argument(help="Run folder whose clips were scored.")],
    files: Annotated[
        list[Path],
        typer.Argument(
            help="VBench's *_eval_results.json, EvalCrafter's *_record.txt, T2V-CompBench's *.csv."
        ),
    ],
    exported: Annotated[
        Path | None, typer.Option(help="Folder of `evalkit export` that the benchmark scored.")
    ] = None,
    group: Annotated[str, typer.Option(help="Whose clips, where the run holds several models.")] = "",
) -> None:
    """File the scores that another benchmark's own code gave a run's clips, under that benchmark's ids."""
    from evalkit.engine.peer_scores import import_scores
    from evalkit.runs.store import open_run

    done = import_scores(open_run(run), files, exported=exported, group=group)
    for name, count in done.metrics.items():
        typer.echo(f"{name}: {count} clips", err=True)
    if done.unknown:
        typer.echo(
            f"note: {len(done.unknown)} clips of the files are none of the run's, such as {done.unknown[0]}",
            err=True,
        )
    typer.echo(f"render the report anew with: evalkit report {run}", err=True)
