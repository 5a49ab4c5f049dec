"""The main jobs: make and score clips, score clips that exist, score a run again.

Every function is a resume: called again with the same arguments it does what is left, and nothing twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evalkit.engine.executor import Executor, InlineExecutor, LocalExecutor
from evalkit.engine.generate import GenerateJob, clip_row
from evalkit.engine.progress import Progress, Silent
from evalkit.engine.score import ClipToScore, ScoredRow, ScoreJob
from evalkit.engine.session import Session
from evalkit.engine.sets import score_sets
from evalkit.errors import EvalkitError, RunError
from evalkit.models.protocol import ModelInfo, VideoModel
from evalkit.runs.environment import environment
from evalkit.runs.keys import digest
from evalkit.runs.manifest import MANIFEST, MetricRecord
from evalkit.runs.plan import Plan, PlannedClip, batches, plan_generation
from evalkit.runs.store import Run, open_run
from evalkit.suites.prompt import FrozenMapping, Suite

if TYPE_CHECKING:
    from evalkit.metrics.spec import ClipMetric, SetMetric
    from evalkit.suites.layouts import FolderScan

__all__ = ["default_workers", "make_executor", "rescore", "run_model", "score_found"]


def default_workers() -> int:
    """One worker a core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_executor(engine: str, workers: int | None) -> Executor:
    """The executor of `--engine` and `--workers`.

    Raises:
        EvalkitError: an unknown engine or a negative number of workers.
    """
    count = default_workers() if workers is None else workers
    if count < 0:
        raise EvalkitError(f"--workers must be 0 (this process only) or more, got {count}")
    if engine == "local":
        return LocalExecutor(count) if count else InlineExecutor()
    raise EvalkitError(f"unknown engine {engine!r}; known: local")


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
        reference: run folder or folder of clips that set metrics compare with.
        executor, workers: how work is spread; local processes by default.
        device: where the model computes.
        timeout_s: wall time a clip after which its worker is stopped and the clip fails.
        progress: where progress is shown.
        command: the command line, for the manifest.
        score: False for clips only.

    Raises:
        EvalkitError: wrong arguments. Clips and scores that fail are rows, not exceptions.
    """
    plan = plan_generation(
        suite,
        model.info,
        samples=samples,
        seed=seed,
        overrides=overrides,
        kind="run" if score else "generate",
    )
    job = _score_job(metrics, suite, out, own_clips=True) if score else None
    executor = executor or make_executor("local", workers)
    count = getattr(executor, "workers", 0)
    progress = progress or Silent()
    with Session(out, plan, command, environment(device, count)) as session, progress:
        _generate(session, plan, model, device, executor, timeout_s, progress)
        if job is None:
            session.finalise([], [], model.ignored_params, generated_only=True)
        else:
            _score(session, plan, job, executor, timeout_s, progress, reference, model.ignored_params)
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
        metrics, reference, executor, workers, timeout_s, progress, command: as in `run_model`.
    """
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
    job = _score_job(metrics, suite, out, own_clips=False)
    executor = executor or make_executor("local", workers)
    progress = progress or Silent()
    with (
        Session(out, plan, command, environment("cpu", getattr(executor, "workers", 0))) as session,
        progress,
    ):
        for clip in plan.clips:
            session.forget_if_changed(clip)
            if clip.key not in session.clips:
                session.add_clip(clip_row(clip, status="missing" if clip.problem else "ok"))
        session.notes.extend(scan.problems)
        _score(session, plan, job, executor, timeout_s, progress, reference, ())
    return open_run(out)


def rescore(
    folder: Path,
    *,
    metrics: Sequence[str] | None = None,
    reference: Path | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Score the clips of a run with further metrics, or again where a metric's version or weights changed.

    Args:
        folder: a run folder.
        metrics: added to the metrics the run has; None for those alone.
        reference: as in `run_model`; None keeps the run's own.
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
    own = run.manifest.kind != "score"
    job = _score_job(wanted, run.suite, folder, own_clips=own)
    executor = executor or make_executor("local", workers)
    progress = progress or Silent()
    environ = environment(run.manifest.environment.get("device", "cpu"), getattr(executor, "workers", 0))
    with Session(folder, plan, command or run.manifest.command, environ) as session, progress:
        ignored = run.manifest.model.ignored_params
        _score(session, plan, job, executor, timeout_s, progress, reference, ignored)
    return open_run(folder)


def _score_job(metrics: Sequence[str], suite: Suite, out: Path, *, own_clips: bool) -> ScoreJob:
    """The job, opened here first: wrong names and parameters are told before anything is made."""
    from evalkit.metrics.registry import load_metrics

    load_metrics(metrics)
    return ScoreJob(tuple(metrics), suite, out.resolve(), own_clips)


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
    for outcome in executor.map(job, todo, timeout_s=limit):
        group = todo[outcome.index]
        rows = outcome.result or [
            clip_row(clip, status="failed", error=outcome.error, attempts=1) for clip in group
        ]
        for clip, row in zip(group, rows, strict=True):
            if not session.generated(clip):
                session.add_clip(row)
        progress.advance(len(group), group[0].prompt_id)


def _score(
    session: Session,
    plan: Plan,
    job: ScoreJob,
    executor: Executor,
    timeout_s: float | None,
    progress: Progress,
    reference: Path | None,
    ignored_params: Iterable[str],
) -> None:
    job.open()
    keys = job.keys()
    clip_keys = {metric.spec.id: keys[metric.spec.id] for metric in job.plan.clip_metrics}
    items, clips = [], []
    for clip in plan.clips:
        row = session.clips[clip.key]
        lacking = session.lacking(clip, clip_keys)
        if (
            clip.problem is None
            and row["path"] is not None
            and (lacking or not job.has_set_features(row["clip_id"]))
        ):
            items.append(ClipToScore(session.absolute(row), lacking))
            clips.append(clip)
    worker_job = ScoreJob(job.metrics, job.suite, job.folder, job.own_clips)
    if items:
        progress.stage("Scoring", len(plan.clips), len(plan.clips) - len(items))
        for outcome in executor.map(worker_job, items, timeout_s=timeout_s):
            clip, item = clips[outcome.index], items[outcome.index]
            if outcome.error is None:
                session.add_scores(clip, outcome.result, clip_keys)
            else:
                failed = dict.fromkeys(item.metrics, ("failed", None, None, outcome.error, None))
                session.add_scores(clip, ScoredRow(item.row, failed), clip_keys)
            progress.advance(1, clip.prompt_id)
    record, reference_rows = None, None
    if reference is not None and job.plan.set_metrics:
        record, reference_rows = _score_reference(session, job, executor, timeout_s, progress, reference)
    rows = [session.absolute(session.clips[clip.key]) for clip in plan.clips]
    set_rows = score_sets(job, rows, reference_rows, folder=session.folder, run_id=plan.run_id)
    session.finalise(
        [_record(metric, job, keys) for metric in job.plan.metrics], set_rows, ignored_params, record
    )


def _score_reference(
    session: Session,
    job: ScoreJob,
    executor: Executor,
    timeout_s: float | None,
    progress: Progress,
    reference: Path,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Features of the reference's clips, and what the manifest says of it."""
    paths = _reference_paths(reference)
    known = session.reference_rows
    todo = [path for path in paths if path not in known or known[path]["status"] != "ok"]
    empty = clip_row(PlannedClip("", "", "", 0))
    items = [ClipToScore(empty | {"path": path}, ()) for path in todo]
    worker_job = ScoreJob(job.metrics, job.suite, job.folder, own_clips=False)
    if items:
        progress.stage("Reading the reference", len(paths), len(paths) - len(todo))
        for outcome in executor.map(worker_job, items, timeout_s=timeout_s):
            item = items[outcome.index]
            row = (
                outcome.result.row
                if outcome.result
                else item.row | {"status": "failed", "error": outcome.error}
            )
            session.add_reference(row)
            progress.advance(1)
    rows = [known[path] for path in paths]
    good = [row for row in rows if row["status"] == "ok"]
    session.notes.extend(f"reference clip left out: {row['error']}" for row in rows if row["status"] != "ok")
    return {
        "path": str(reference.resolve()),
        "num_clips": len(good),
        "digest": digest(sorted(row["clip_id"] for row in good)),
    }, good


def _reference_paths(reference: Path) -> list[str]:
    if (reference / MANIFEST).exists():
        run = open_run(reference)
        rows = run.generations
        return [str(run.path_of(path).resolve()) for path in rows[rows["status"] == "ok"]["path"]]
    from evalkit.suites.layouts import CLIP_SUFFIXES

    if not reference.is_dir():
        raise EvalkitError(f"reference {reference} does not exist; give a run folder or a folder of clips")
    paths = sorted(
        path for path in reference.rglob("*") if path.suffix.lower() in CLIP_SUFFIXES and path.is_file()
    )
    if not paths:
        raise EvalkitError(f"reference {reference} holds no clips; give a run folder or a folder of clips")
    return [str(path.resolve()) for path in paths]


def _record(metric: ClipMetric | SetMetric, job: ScoreJob, keys: Mapping[str, str]) -> MetricRecord:
    spec = metric.spec
    kind: Literal["clip", "set"] = "set" if hasattr(metric, "vector") else "clip"
    return MetricRecord(
        id=spec.id,
        version=spec.version,
        title=spec.title,
        description=spec.description,
        direction=spec.direction,
        unit=spec.unit,
        range=spec.range,
        kind=kind,
        series=spec.series,
        evidence=spec.evidence,
        formula=spec.formula,
        limits=spec.limits,
        citation=spec.citation,
        leaf=spec.leaf,
        key=keys[spec.id],
        params=dict(metric.params),
        features={_name(request): _speaker(job, request) for request in metric.requires()},
    )


def _name(request: Any) -> str:
    params = ",".join(f"{name}={value}" for name, value in request.params)
    return f"{request.extractor}:{params}" if params else str(request.extractor)


def _speaker(job: ScoreJob, request: Any) -> str:
    if request in job.plan.problems:
        return f"missing: {job.plan.problems[request].reason}"
    spec = job.plan.specs[request]
    weights = f", weights {spec.weights_digest[:16]}" if spec.weights_digest else ""
    return f"{spec.title} (version {spec.version}{weights})"


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
