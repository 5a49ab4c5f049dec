"""`evalkit score` and `evalkit rescore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.run import (
    Device,
    Engine,
    Json,
    Metrics,
    Out,
    Quiet,
    Reference,
    Timeout,
    Workers,
    conclude,
    this_command,
)

__all__ = ["rescore", "score"]

ScorerGpus = Annotated[
    float | None,
    typer.Option(help="With --engine ray: GPUs of a worker; 0.25 lets four share one. Default: 0.25."),
]


def score(
    folder: Annotated[
        str, typer.Argument(help="Folder of clips, or a URL (s3://bucket/clips). They stay where they are.")
    ],
    out: Out,
    layout: Annotated[
        str | None,
        typer.Option(help="How file names tell the prompt: vbench, evalcrafter, t2v-compbench, plain, csv."),
    ] = None,
    suite: Annotated[str | None, typer.Option(help="Suite whose prompt ids or texts name the files.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="CSV or JSON file with the columns file and prompt (and model, category)."),
    ] = None,
    metrics: Metrics = None,
    reference: Reference = None,
    device: Device = "cpu",
    engine: Engine = "local",
    workers: Workers = None,
    gpus_per_worker: ScorerGpus = None,
    timeout: Timeout = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score clips that exist already, from any model or camera.

    Files that cannot be read, files without a prompt and prompts without a file keep their rows, with the
    reason.

    Example: evalkit score clips/ --layout vbench --out runs/theirs
    """
    from evalkit.engine.progress import make_progress
    from evalkit.engine.run import make_executor, score_found
    from evalkit.suites import load_suite
    from evalkit.suites.layouts import scan_folder

    scan = scan_folder(
        folder, layout=layout, suite=load_suite(suite) if suite else None, prompts_file=prompts
    )
    finished = score_found(
        scan,
        out,
        metrics=metrics or ["default"],
        reference=reference,
        executor=make_executor(engine, workers, scoring_gpus=gpus_per_worker),
        device=device,
        timeout_s=timeout,
        progress=make_progress(quiet),
        command=this_command(),
    )
    conclude(finished, json_, quiet)


def rescore(
    folder: Annotated[Path, typer.Argument(help="Run folder.")],
    metrics: Metrics = None,
    reference: Reference = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Where networks compute: cpu, cuda, cuda:N or auto. Default: where they did before."
        ),
    ] = None,
    engine: Engine = "local",
    workers: Workers = None,
    gpus_per_worker: ScorerGpus = None,
    timeout: Timeout = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a run again: further metrics, or those whose version or weights changed. Nothing else is computed.

    Example: evalkit rescore runs/first --metrics temporal.cuts
    """
    from evalkit.engine.progress import make_progress
    from evalkit.engine.run import make_executor
    from evalkit.engine.run import rescore as rescore_run

    finished = rescore_run(
        folder,
        metrics=metrics,
        reference=reference,
        executor=make_executor(engine, workers, scoring_gpus=gpus_per_worker),
        device=device,
        timeout_s=timeout,
        progress=make_progress(quiet),
        command=this_command(),
    )
    conclude(finished, json_, quiet)
