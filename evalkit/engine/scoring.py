"""The scoring stage of a run: what is left is scored, the reference is read, set metrics are computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evalkit.engine.executor import Executor, Outcome, outcomes
from evalkit.engine.generate import clip_row
from evalkit.engine.progress import Progress
from evalkit.engine.score import ClipToScore, ScoredRow, ScoreJob
from evalkit.engine.session import digest_now
from evalkit.engine.sets import Vectors, score_sets
from evalkit.errors import EvalkitError
from evalkit.features.compute import ClipVector
from evalkit.metrics.reference import Reference, load_reference
from evalkit.runs.files import writing
from evalkit.runs.keys import digest
from evalkit.runs.manifest import MANIFEST, MetricRecord
from evalkit.runs.plan import Plan, PlannedClip
from evalkit.runs.store import open_run

if TYPE_CHECKING:
    from evalkit.engine.session import Key, Session
    from evalkit.metrics.spec import ClipMetric, SetMetric

__all__ = ["score_clips"]


def score_clips(
    session: Session,
    plan: Plan,
    job: ScoreJob,
    executor: Executor,
    timeout_s: float | None,
    progress: Progress,
    reference: Path | None,
) -> None:
    """Score what a run's clips lack, then the set metrics, and finalise the run."""
    job.prepare()
    keys = job.keys()
    clip_keys = {metric.spec.id: keys[metric.spec.id] for metric in job.plan.clip_metrics}
    vectors: dict[Key, dict[str, ClipVector]] = {}
    items = []
    for clip in plan.clips:
        row = session.clips[clip.key]
        if clip.problem is not None or row["path"] is None:
            continue
        absolute = session.absolute(row)
        vectors[clip.key] = job.stored_vectors(absolute)
        item = ClipToScore(absolute, session.lacking(clip, clip_keys), not job.has_all(vectors[clip.key]))
        if item.metrics or item.set_features:
            items.append(item)
    if items:
        progress.stage("Scoring", len(plan.clips), len(plan.clips) - len(items))
        job.embed()
        for item, scored in _scored(session, job, executor, items, timeout_s, progress):
            session.add_scores(scored, clip_keys)
            vectors[item.key] = {
                **vectors[item.key],
                **scored.vectors,
                **job.stored_vectors(session.absolute(session.clips[item.key])),
            }
    record: dict[str, Any] | None = None
    against: Reference | list[tuple[Mapping[str, Any], Vectors]] | None = None
    if reference is not None and reference.is_file():
        against = load_reference(reference)
        record = _file_record(reference, against)
        session.reference_rows = {}
    elif reference is not None and job.plan.set_metrics:
        record, against = _score_reference(session, job, executor, timeout_s, progress, reference)
    unkept = ClipVector("failed", None, "its extractor keeps no features, which a set metric needs")
    readable: list[tuple[Mapping[str, Any], Vectors]] = [
        (session.clips[key], {metric.spec.id: unkept for metric in job.plan.set_metrics} | found)
        for key, found in vectors.items()
        if session.clips[key]["status"] == "ok"
    ]
    with writing(session.folder):
        set_rows = score_sets(
            job.plan.set_metrics,
            readable,
            against,
            groups=sorted({clip.group for clip in plan.clips}),
            folder=session.folder,
            run_id=session.run_id,
            reference_digest=None if record is None else record["digest"],
        )
    session.finalise([_record(metric, job, keys) for metric in job.plan.metrics], set_rows, record)


def _scored(
    session: Session,
    job: ScoreJob,
    executor: Executor,
    items: Sequence[ClipToScore],
    timeout_s: float | None,
    progress: Progress,
) -> Iterator[tuple[ClipToScore, ScoredRow]]:
    """What scoring gave, whole or in parts; an item that crashed gives failed scores with the reason."""
    worker_job = job.for_workers(own_clips=job.own_clips)
    seen = set()
    for item, outcome in outcomes(executor, worker_job, items, timeout_s, ClipToScore.parts):
        yield item, outcome.result or _failed(item, outcome, session.clips.get(item.key), job)
        if item.key not in seen:
            seen.add(item.key)
            progress.advance(1, item.key[0])


def _failed(item: ClipToScore, outcome: Outcome, known: Mapping[str, Any] | None, job: ScoreJob) -> ScoredRow:
    reason = outcome.error or "the worker gave no result"
    # Another part of the same item may have decoded the clip meanwhile; a crash does not take that back.
    row = dict(known) if known is not None and known["clip_id"] is not None else dict(item.row)
    if row["clip_id"] is None:
        row |= {"status": "failed", "error": reason}
    scores = dict.fromkeys(item.metrics, ("failed", None, None, reason, None))
    metrics = job.plan.set_metrics if item.set_features else ()
    return ScoredRow(row, scores, {metric.spec.id: ClipVector("failed", None, reason) for metric in metrics})


def _score_reference(
    session: Session,
    job: ScoreJob,
    executor: Executor,
    timeout_s: float | None,
    progress: Progress,
    reference: Path,
) -> tuple[dict[str, Any], list[tuple[Mapping[str, Any], Vectors]]]:
    """Feature rows of the reference's clips, and what the manifest says of it."""
    rows = {row["path"]: row for row in _reference_rows(reference)}
    for path, row in rows.items():
        before = session.reference_rows.get(path)
        if before is not None and before["status"] == "ok" and _unchanged(before):
            row.update(before)
    session.reference_rows = rows
    vectors = {path: job.stored_vectors(row) for path, row in rows.items()}
    items = [
        ClipToScore(row, (), preview=False) for path, row in rows.items() if not job.has_all(vectors[path])
    ]
    if items:
        progress.stage("Reading the reference", len(rows), len(rows) - len(items))
        job.embed()
        worker_job = job.for_workers(own_clips=False)
        for item, outcome in outcomes(executor, worker_job, items, timeout_s, lambda item: [item]):
            scored = outcome.result or ScoredRow(item.row | {"status": "failed", "error": outcome.error})
            session.add_reference(scored.row)
            path = scored.row["path"]
            vectors[path] = {**vectors[path], **scored.vectors, **job.stored_vectors(scored.row)}
            progress.advance(1)
    good: list[tuple[Mapping[str, Any], Vectors]] = [
        (row, vectors[path]) for path, row in session.reference_rows.items() if row["status"] == "ok"
    ]
    session.notes.extend(
        f"reference clip left out: {row['error']}"
        for row in session.reference_rows.values()
        if row["status"] != "ok"
    )
    return {
        "path": reference.as_posix(),
        "num_clips": len(good),
        "digest": digest(sorted(row["clip_id"] for row, _ in good)),
    }, good


def _file_record(path: Path, reference: Reference) -> dict[str, Any]:
    from evalkit.video import file_digest

    return {
        "path": path.as_posix(),
        "num_clips": reference.statistics.count,
        "digest": file_digest(path),
        "protocol": reference.protocol,
        "source": reference.source,
    }


def _unchanged(row: Mapping[str, Any]) -> bool:
    return bool(digest_now(row["path"]) == row["file_digest"])


def _reference_rows(reference: Path) -> Iterator[dict[str, Any]]:
    """Generations rows of a reference: of a run's clips, or empty ones of the clips in a folder."""
    if (reference / MANIFEST).exists():
        run = open_run(reference)
        for row in run.table("generations").to_pylist():
            if row["status"] == "ok":
                yield row | {"path": str(run.path_of(row["path"]).resolve())}
    else:
        empty = clip_row(PlannedClip("", "", "", 0))
        yield from (empty | {"path": path} for path in _reference_paths(reference))


def _reference_paths(reference: Path) -> list[str]:
    from evalkit.suites.layouts import CLIP_SUFFIXES

    if not reference.is_dir():
        raise EvalkitError(
            f"reference {reference} does not exist; give a run folder, a folder of clips or a reference file"
        )
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
    device = f", on {spec.device}" if spec.device != "cpu" else ""
    return f"{spec.title} (version {spec.version}{weights}{device})"
