"""The main jobs: make and score clips, score clips that exist, score a run again.

Every function is a resume: called again with the same arguments it does what is left, and nothing twice.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from evalkit.engine.device import resolve_device
from evalkit.engine.executor import Executor, InlineExecutor, LocalExecutor, outcomes
from evalkit.engine.generate import GenerateJob, clip_row
from evalkit.engine.progress import Progress, Silent
from evalkit.engine.score import ScoreJob
from evalkit.engine.scoring import score_clips
from evalkit.engine.session import Session
from evalkit.errors import EvalkitError, EvidenceError, MissingExtra, MissingWeights, RunError
from evalkit.features.device import kind_of, network_device
from evalkit.models.protocol import ModelInfo, VideoModel
from evalkit.runs.environment import environment
from evalkit.runs.files import refuse_url
from evalkit.runs.manifest import MetricRecord
from evalkit.runs.plan import Plan, PlannedClip, batches, plan_generation
from evalkit.runs.store import Run, open_run
from evalkit.suites.prompt import FrozenMapping, Suite

if TYPE_CHECKING:
    from evalkit.metrics.spec import ClipMetric, SetMetric
    from evalkit.suites.layouts import FolderScan

# Clips that a worker scores together, by the kind of its device; the processor is as fast clip by clip.
_TOGETHER = {"cuda": 16}

__all__ = ["default_workers", "make_executor", "rescore", "run_model", "score_found", "scored_on"]


def default_workers() -> int:
    """One worker a core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_executor(
    engine: str, workers: int | None, *, gpus: float | None = None, scoring_gpus: float | None = None
) -> Executor:
    """The executor of `--engine`, `--workers` and `--gpus-per-worker`.

    Args:
        engine: `local` or `ray`.
        workers: None for one a core; a local model on a GPU then gets one worker a card.
        gpus: on Ray, GPUs of a worker that holds a model; 1 where None.
        scoring_gpus: on Ray, GPUs of a worker that holds metrics' networks; a quarter where None.

    Raises:
        EvalkitError: an unknown engine, or a wrong number of workers or GPUs.
        MissingExtra: Ray is not installed.
    """
    count = default_workers() if workers is None else workers
    if count < 0:
        raise EvalkitError(f"--workers must be 0 (this process only) or more, got {count}")
    shares = [share for share in (gpus, scoring_gpus) if share is not None]
    for share in shares:
        # Ray hands out parts of one card, or whole cards.
        if share <= 0 or (share > 1 and share != int(share)):
            raise EvalkitError(
                f"--gpus-per-worker must be a part of a GPU (0.25) or a whole number of them, got {share:g}"
            )
    if engine == "local":
        if shares:
            raise EvalkitError(
                "--gpus-per-worker is for --engine ray; local workers take the cards in turn: leave it out, and use "
                "--workers to choose how many share them"
            )
        return LocalExecutor(count, model_a_card=workers is None) if count else InlineExecutor()
    if engine == "ray":
        import importlib.util

        if importlib.util.find_spec("ray") is None:
            raise MissingExtra("ray", "ray", "--engine ray")
        if not count:
            raise EvalkitError("--engine ray needs at least one worker; use --workers 1 or more")
        from evalkit.engine.ray import RayExecutor

        return RayExecutor(
            count,
            gpus=1.0 if gpus is None else gpus,
            scoring_gpus=0.25 if scoring_gpus is None else scoring_gpus,
        )
    raise EvalkitError(f"unknown engine {engine!r}; known: local, ray")


def run_model(
    suite: Suite,
    model: VideoModel,
    out: Path,
    *,
    samples: int = 1,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    metrics: Sequence[str] = ("default",),
    reference: Path | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    device: str = "cpu",
    score_device: str | None = None,
    timeout_s: float | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    score: bool = True,
) -> Run:
    """Generate clips for a suite with a model, and score them.

    Args:
        suite: prompts.
        model: constructed, not loaded.
        out: run folder; an unfinished or finished run of the same plan is continued.
        samples: clips a prompt.
        seed: base seed; see `evalkit.runs.plan.clip_seed`.
        overrides: shape and parameters that win over the prompts' and the model's own.
        metrics: metric spec strings, or `default`, or `all`.
        reference: run folder, folder of clips or reference file that set metrics compare with.
        executor, workers: how work is spread; local processes by default.
        device: where the model computes: `cpu`, `cuda`, `cuda:N` or `auto`; a model that computes elsewhere
            (`own_device`) is told this and judges for itself.
        score_device: where the metrics' networks compute; as `device` where None.
        timeout_s: wall time a clip after which its worker is stopped and the clip fails.
        progress: where progress is shown.
        command: the command line, for the manifest.
        score: False for clips only.

    Raises:
        EvalkitError: wrong arguments. Clips and scores that fail are rows, not exceptions.
    """
    executor = executor or make_executor("local", workers)
    networks = resolve_device(score_device or device, executor) if score else "cpu"
    if device == "auto" or not getattr(model, "own_device", False):
        device = resolve_device(device, executor)
    plan = plan_generation(
        suite,
        model.info,
        samples=samples,
        seed=seed,
        overrides=overrides,
        kind="run" if score else "generate",
    )
    job = _score_job(metrics, suite, out, reference, networks, own_clips=True) if score else None
    count = getattr(executor, "workers", 0)
    progress = progress or Silent()
    environ = environment(device, count) | (
        {"score_device": networks} if score and networks != device else {}
    )
    with Session(out, plan, command, environ) as session, progress:
        _generate(session, plan, model, device, executor, timeout_s, progress)
        if job is None:
            session.finalise([], [], generated_only=True)
        else:
            score_clips(session, plan, job, executor, timeout_s, progress, reference)
    return open_run(out)


def score_found(
    scan: FolderScan,
    out: Path,
    *,
    model: ModelInfo | None = None,
    metrics: Sequence[str] = ("default",),
    reference: Path | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    device: str = "cpu",
    timeout_s: float | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Score clips that exist. They stay where they are.

    Args:
        scan: the clips and their prompts, from `evalkit.suites.layouts.scan_folder`; prompts without a clip
            and files without a prompt keep their rows.
        out: run folder.
        model: who made the clips, as far as known.
        metrics, reference, executor, workers, device, timeout_s, progress, command: as in `run_model`.
    """
    executor = executor or make_executor("local", workers)
    device = resolve_device(device, executor)
    clips = tuple(
        PlannedClip(
            prompt_id=clip.prompt.id,
            category=clip.prompt.category,
            group=clip.group,
            sample_index=clip.sample_index,
            path=str(clip.path.resolve()) if clip.path else None,
            problem=clip.problem,
        )
        for clip in scan.clips
    )
    suite = scan.suite
    info = model or ModelInfo(id="existing clips", revision="unknown", own_shape=True)
    plan = Plan("score", suite, info, FrozenMapping({"layout": scan.layout}), clips)
    job = _score_job(metrics, suite, out, reference, device, own_clips=False)
    progress = progress or Silent()
    with (
        Session(out, plan, command, environment(device, getattr(executor, "workers", 0))) as session,
        progress,
    ):
        for clip in plan.clips:
            session.forget_if_changed(clip)
        new = [clip for clip in plan.clips if clip.key not in session.clips]
        session.add_clips(*(clip_row(clip, status="missing" if clip.problem else "ok") for clip in new))
        session.notes.extend(scan.problems)
        score_clips(session, plan, job, executor, timeout_s, progress, reference)
    return open_run(out)


def rescore(
    folder: Path,
    *,
    metrics: Sequence[str] | None = None,
    reference: Path | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    device: str | None = None,
    timeout_s: float | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Score the clips of a run with further metrics, or again where a metric's version or weights changed.

    Args:
        folder: a run folder.
        metrics: added to the metrics the run has; None for those alone.
        reference: as in `run_model`; None keeps the run's own.
        device: where networks compute; None for where they did before, since features of another device have
            another key and would all be computed again.
        executor, workers, timeout_s, progress, command: as in `run_model`.

    Raises:
        RunError: not a run folder, or generation has not finished.
    """
    run = open_run(folder)
    if run.manifest.status == "running":
        raise RunError(
            f"{folder} is not finished; run the command that made it again: {' '.join(run.manifest.command)}"
        )
    plan = _plan_of(run)
    before = [_spec_string(record) for record in run.manifest.metrics]
    wanted = list(dict.fromkeys([*before, *(metrics or (() if before else ("default",)))]))
    if reference is None and run.manifest.reference is not None:
        reference = Path(run.manifest.reference["path"])
    executor = executor or make_executor("local", workers)
    device = resolve_device(device or scored_on(run), executor)
    own = run.manifest.kind != "score"
    job = _score_job(wanted, run.suite, folder, reference, device, own_clips=own)
    progress = progress or Silent()
    environ = environment(device, getattr(executor, "workers", 0))
    with Session(folder, plan, command or run.manifest.command, environ) as session, progress:
        score_clips(session, plan, job, executor, timeout_s, progress, reference)
    return open_run(folder)


def scored_on(run: Run) -> str:
    """The device on which a run's metrics computed."""
    recorded = run.manifest.environment
    return str(recorded.get("score_device", recorded.get("device", "cpu")))


def _score_job(
    metrics: Sequence[str], suite: Suite, out: Path, reference: Path | None, device: str, *, own_clips: bool
) -> ScoreJob:
    """The job, opened here first: wrong names, parameters and references are told before anything is made."""
    from evalkit.metrics.registry import load_metrics

    loaded = load_metrics(metrics)
    if reference is not None:
        refuse_url(reference)
        if reference.is_file():
            _check_reference(reference, loaded)
    together = _TOGETHER.get(kind_of(device), 1)
    return ScoreJob(tuple(metrics), suite, out.resolve(), own_clips, network_device(device), together)


def _check_reference(path: Path, metrics: Sequence[ClipMetric | SetMetric]) -> None:
    """A reference file that none of the set metrics can use is refused before hours of work.

    Raises:
        EvidenceError: every set metric reads other features than the file holds.
    """
    from evalkit.engine.sets import feature_protocol
    from evalkit.metrics.reference import load_reference

    held, read = load_reference(path).protocol, {}
    for metric in metrics:
        if hasattr(metric, "vector") and not hasattr(metric, "score_prompts"):
            try:
                read[metric.spec.id] = feature_protocol(cast("SetMetric", metric))
            except (MissingWeights, MissingExtra):
                continue
    if held not in read.values():
        own = "; ".join(f"{name} reads {protocol!r}" for name, protocol in read.items()) or "there is none"
        raise EvidenceError(
            f"{path} holds {held!r}, which none of the set metrics reads ({own}); distances between the two would "
            "mean nothing: ask for a metric with that network and preprocessing, or make the reference anew"
        )


def _generate(
    session: Session,
    plan: Plan,
    model: VideoModel,
    device: str,
    executor: Executor,
    timeout_s: float | None,
    progress: Progress,
) -> None:
    groups = batches(plan.clips, model.info.batch_size)
    todo = [group for group in groups if not all(session.generated(clip) for clip in group)]
    done = len(plan.clips) - sum(map(len, todo))
    if not todo:
        return
    progress.stage(f"Generating with {model.info.id}", len(plan.clips), done)
    limit = None if timeout_s is None else timeout_s * model.info.batch_size
    job = GenerateJob(model, device, session.folder.resolve())
    for group, outcome in outcomes(
        executor, job, todo, limit, lambda group: [(clip,) for clip in group], part_timeout_s=timeout_s
    ):
        rows = outcome.result or [
            clip_row(clip, status="failed", error=outcome.error, attempts=1) for clip in group
        ]
        session.add_clips(
            *(row for clip, row in zip(group, rows, strict=True) if not session.generated(clip))
        )
        progress.advance(len(group), group[0].prompt_id)


def _spec_string(record: MetricRecord) -> str:
    import json

    params = ",".join(f"{name}={json.dumps(value)}" for name, value in record.params.items())
    return f"{record.id}:{params}" if params else record.id


def _plan_of(run: Run) -> Plan:
    """The plan of a finished run, from its tables. Requests are not needed any more."""
    from evalkit.runs.plan import open_plan

    kept = open_plan(run.folder)
    model = run.manifest.model
    info = ModelInfo(
        id=model.id,
        revision=model.revision,
        weights=model.weights,
        config=model.config,
        licence=model.licence,
        description=model.description,
        ai_generated=model.ai_generated,
    )
    clips = tuple(
        PlannedClip(
            row["prompt_id"],
            row["category"],
            row["group"],
            row["sample_index"],
            row["seed"],
            path=row["path"],
            problem=row["error"] if row["status"] == "missing" else None,
        )
        for row in run.table("generations").to_pylist()
    )
    return Plan(
        run.manifest.kind, run.suite, info, FrozenMapping(run.manifest.settings), clips, kept["run_id"]
    )
