"""`evalkit run` and `evalkit generate`."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from evalkit.runs.store import Run

__all__ = ["conclude", "generate", "run", "this_command"]

Suite = Annotated[
    str, typer.Option(help="Name of a shipped suite (core, open-domain) or path of a suite file.")
]
Model = Annotated[
    str, typer.Option(help="Model, e.g. reference or reference@v1; `evalkit models list` shows all.")
]
Out = Annotated[Path, typer.Option(help="Run folder. The same command continues a run that was stopped.")]
Samples = Annotated[int, typer.Option(help="Clips a prompt. More prompts tell more than more samples.")]
Seed = Annotated[int, typer.Option(help="Base seed: runs with the same base seed pair clip by clip.")]
Limit = Annotated[int | None, typer.Option(help="Only this many prompts, spread evenly over categories.")]
Category = Annotated[list[str] | None, typer.Option(help="Only prompts of this category; may be repeated.")]
Tag = Annotated[list[str] | None, typer.Option(help="Only prompts with this tag; may be repeated.")]
PromptId = Annotated[
    list[str] | None, typer.Option("--prompt", help="Only the prompt with this id; may be repeated.")
]
Param = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Model parameter NAME=VALUE (JSON or text), e.g. guidance_scale=3; may be repeated."
    ),
]
Frames = Annotated[int | None, typer.Option("--num-frames", help="Frames a clip.")]
Height = Annotated[int | None, typer.Option(help="Height in pixels.")]
Width = Annotated[int | None, typer.Option(help="Width in pixels.")]
Fps = Annotated[str | None, typer.Option(help="Frames a second, e.g. 8 or 24000/1001.")]
Device = Annotated[
    str,
    typer.Option(
        help="Where the model and the metrics' networks compute: cpu, cuda, cuda:N, or auto (a GPU where there is one)."
    ),
]
ScoreDevice = Annotated[
    str | None,
    typer.Option(help="Where the metrics' networks compute, if not where the model does."),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        help="With --engine ray: GPUs of a worker that holds the model; 0.5 lets two share one. Default: 1."
    ),
]
GpusPerScorer = Annotated[
    float | None,
    typer.Option(help="With --engine ray: GPUs of a worker that holds the metrics' networks. Default: 0.25."),
]
Engine = Annotated[str, typer.Option(help="How work is spread: local processes, or ray.")]
Workers = Annotated[
    int | None, typer.Option(help="Worker processes (default: one a core; 0: this process only).")
]
Timeout = Annotated[float | None, typer.Option(help="Seconds a clip may take before it is failed.")]
Metrics = Annotated[
    list[str] | None,
    typer.Option(help="Metric ID[:param=value,...], `default` or `all`; may be repeated. Default: default."),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        help="Run folder, folder of clips or reference file (.safetensors) that set metrics (FVD, KVD, ...) "
        "compare with."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the manifest as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def run(
    suite: Suite,
    model: Model,
    out: Out,
    samples: Samples = 1,
    seed: Seed = 0,
    limit: Limit = None,
    category: Category = None,
    tag: Tag = None,
    prompt: PromptId = None,
    params: Param = None,
    num_frames: Frames = None,
    height: Height = None,
    width: Width = None,
    fps: Fps = None,
    metrics: Metrics = None,
    reference: Reference = None,
    device: Device = "cpu",
    score_device: ScoreDevice = None,
    engine: Engine = "local",
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    gpus_per_scorer: GpusPerScorer = None,
    timeout: Timeout = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Generate clips with a model, score them and write the report.

    Stopped or killed, the same command continues. Clips that fail keep their rows, with the reason; the run
    then ends as `partial`.

    Example: evalkit run --suite core --model reference --limit 12 --samples 2 --out runs/first
    """
    finished = _run(
        suite, model, out, samples, seed, limit, category, tag, prompt, params, num_frames, height, width, fps, device, engine,
        workers, timeout, quiet, metrics=metrics, reference=reference, score_device=score_device, gpus=gpus_per_worker, scoring_gpus=gpus_per_scorer,
    )  # fmt: skip
    conclude(finished, json_, quiet)


def generate(
    suite: Suite,
    model: Model,
    out: Out,
    samples: Samples = 1,
    seed: Seed = 0,
    limit: Limit = None,
    category: Category = None,
    tag: Tag = None,
    prompt: PromptId = None,
    params: Param = None,
    num_frames: Frames = None,
    height: Height = None,
    width: Width = None,
    fps: Fps = None,
    device: Device = "cpu",
    engine: Engine = "local",
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    timeout: Timeout = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Only generate clips; score them later with `evalkit rescore`.

    Example: evalkit generate --suite core --model reference --out runs/clips
    """
    finished = _run(
        suite, model, out, samples, seed, limit, category, tag, prompt, params, num_frames, height, width, fps, device, engine,
        workers, timeout, quiet, score=False, gpus=gpus_per_worker,
    )  # fmt: skip
    conclude(finished, json_, quiet, report=False)


def _run(
    suite: str,
    model: str,
    out: Path,
    samples: int,
    seed: int,
    limit: int | None,
    category: list[str] | None,
    tag: list[str] | None,
    prompt: list[str] | None,
    params: list[str] | None,
    num_frames: int | None,
    height: int | None,
    width: int | None,
    fps: str | None,
    device: str,
    engine: str,
    workers: int | None,
    timeout: float | None,
    quiet: bool,
    *,
    metrics: list[str] | None = None,
    reference: Path | None = None,
    score: bool = True,
    score_device: str | None = None,
    gpus: float | None = None,
    scoring_gpus: float | None = None,
) -> Run:
    from evalkit.engine.progress import make_progress
    from evalkit.engine.run import make_executor, run_model
    from evalkit.models import load_model
    from evalkit.suites import load_suite

    chosen = load_suite(suite)
    if category or tag or prompt or limit:
        chosen = chosen.select(categories=category, tags=tag, ids=prompt, limit=limit)
    shape = {"num_frames": num_frames, "height": height, "width": width, "fps": fps}
    overrides = {
        **_parse(params or []),
        **{name: value for name, value in shape.items() if value is not None},
    }
    return run_model(
        chosen,
        load_model(model),
        out,
        samples=samples,
        seed=seed,
        overrides=overrides,
        metrics=metrics or ["default"],
        reference=reference,
        executor=make_executor(engine, workers, gpus=gpus, scoring_gpus=scoring_gpus),
        device=device,
        score_device=score_device,
        timeout_s=timeout,
        progress=make_progress(quiet),
        command=this_command(),
        score=score,
    )


def _parse(params: list[str]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for text in params:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--set {text!r}: write NAME=VALUE, e.g. --set guidance_scale=3")
        try:
            parsed[name] = json.loads(value)
        except ValueError:
            parsed[name] = value
    return parsed


def this_command() -> list[str]:
    """The command line as it was typed, for the manifest."""
    return ["evalkit", *sys.argv[1:]]


def conclude(finished: Run, as_json: bool, quiet: bool, report: bool = True) -> None:
    """Render the report, and say how the run ended and where everything is.

    Exit code 4 when clips or scores are missing: the evidence is incomplete.
    """
    page = None
    if report:
        from evalkit.report import render_gallery, render_report

        render_gallery(finished)  # first: the report links to the gallery that it finds
        page = render_report(finished)
    manifest = finished.manifest
    if as_json:
        typer.echo(json.dumps(manifest.model_dump(mode="json"), indent=2))
    counts = manifest.counts
    if counts is not None and not quiet:
        for line in manifest.notes[:5]:
            typer.echo(f"note: {line}", err=True)
        scores = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in counts.scores.items())
        typer.echo(
            f"{manifest.status}: {counts.clips_ok} of {counts.clips_planned} clips"
            + (f"; scores: {scores}" if scores else ""),
            err=True,
        )
        if page is None:
            typer.echo(f"score the clips: evalkit rescore {shlex.quote(str(finished.folder))}", err=True)
        else:
            typer.echo(f"report: {page.resolve()}", err=True)
    if manifest.status == "partial":
        raise typer.Exit(4)
