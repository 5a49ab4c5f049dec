"""Scores of other benchmarks' own code, filed in the run whose clips they are of, under the peer's ids."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from evalkit.engine.score import metric_key
from evalkit.errors import EvalkitError
from evalkit.metrics.peer_results import read_compbench, read_evalcrafter
from evalkit.metrics.registry import METRICS, load_metric
from evalkit.metrics.spec import MetricSpec
from evalkit.metrics.vbench_scores import read_results
from evalkit.runs.exports import CLIPS
from evalkit.runs.manifest import Manifest, MetricRecord, write_manifest
from evalkit.runs.store import Run
from evalkit.runs.tables import SCORES, SERIES, write_table
from evalkit.weights import file_digest

__all__ = ["ImportedScores", "import_scores", "read_peer_file"]

Key = tuple[str, int]
# EvalCrafter's names of what evalkit computes itself under a shorter one.
_EVALCRAFTER = {"clip_temp_score": "clip_temp"}


class ImportedScores(NamedTuple):
    """What came in.

    Args:
        metrics: metric id to the number of clips with a value.
        unknown: clip names of the files that are no clip of the run.
    """

    metrics: dict[str, int]
    unknown: tuple[str, ...]


def read_peer_file(path: Path) -> dict[str, dict[str, float]]:
    """Metric id to value by clip name, from a result file of VBench (.json), EvalCrafter (.txt) or T2V-CompBench (.csv).

    Values are on the scale of evalkit's metric: VBench lists imaging quality of single clips in 0..100.

    Raises:
        EvalkitError: the file is none of these, or a metric of it is not known.
    """
    if path.suffix == ".json":
        found = {
            f"vbench.{name}": {
                clip: value / (100 if name == "imaging_quality" else 1) for clip, value in clips.items()
            }
            for name, (_, clips) in read_results(path).items()
        }
    elif path.suffix == ".txt":
        scores = read_evalcrafter(path)
        found = {f"evalcrafter.{_EVALCRAFTER.get(scores.metric, scores.metric)}": scores.clips}
    elif path.suffix == ".csv":
        scores = read_compbench(path)
        known = [name for name in METRICS.table if name.startswith("compbench.")]
        named = [name for name in known if name.partition(".")[2] in scores.metric]
        if len(named) != 1:
            raise EvalkitError(
                f"{path}: the file's name says none of T2V-CompBench's metrics; name it after one of "
                f"{', '.join(name.partition('.')[2] for name in known)}"
            )
        found = {named[0]: scores.clips}
    else:
        raise EvalkitError(
            f"{path}: give VBench's *_eval_results.json, EvalCrafter's *_record.txt or T2V-CompBench's *.csv"
        )
    for name in found:
        if name not in METRICS.table:
            raise EvalkitError(f"{path}: holds {name}, which is no metric of evalkit; `evalkit metrics list`")
    return found


def import_scores(
    run: Run, files: Iterable[Path], *, exported: Path | None = None, group: str = ""
) -> ImportedScores:
    """Put a peer's scores into the `scores` table of the run; earlier values of the same metrics are replaced.

    Every planned clip gets a row: a clip that the file does not name is `not_applicable`, a clip that was never made
    `generation_failed`. The manifest says which file each metric came from, by name and digest, and comparing them
    with values that evalkit computed itself is refused like any other change of encoder.

    Args:
        run: a finished run.
        files: the peer's result files.
        exported: the folder that `evalkit export` wrote and the peer scored; None where the peer scored the very files
            of the run.
        group: whose clips, where the run holds several models.

    Raises:
        EvalkitError: a file cannot be read, names no clip of the run, or two files disagree.
    """
    names = _names(run, exported, group)
    values: dict[str, dict[Key, float]] = {}
    origins: dict[str, str] = {}
    unknown: list[str] = []
    for path in files:
        for metric_id, clips in read_peer_file(path).items():
            matched = {}
            for name, value in clips.items():
                key = _match(names, name, metric_id)
                if key is None:
                    unknown.append(name)
                else:
                    matched[key] = value
            if not matched:
                raise EvalkitError(
                    f"{path}: none of its {len(clips)} clips is one of {run.folder} (such as {next(iter(clips), '')!r}); "
                    "give the folder that the peer scored with --exported"
                )
            held = values.setdefault(metric_id, {})
            if any(held.get(key, value) != value for key, value in matched.items()):
                raise EvalkitError(f"{path}: {metric_id} has other values in an earlier file; give one")
            held.update(matched)
            origins[metric_id] = f"{path.name} ({file_digest(path)[:23]})"
    rows = [row for row in run.table("scores").to_pylist() if row["metric_id"] not in values]
    for metric_id, scores in values.items():
        rows += _rows(run, metric_id, scores, group)
    write_table(run.folder / "scores.parquet", SCORES, rows)
    series = [row for row in run.table("series").to_pylist() if row["metric_id"] not in values]
    write_table(run.folder / "series.parquet", SERIES, series)  # a peer's files hold no course over time
    write_manifest(run.folder, _manifest(run, values, origins, rows))
    return ImportedScores({name: len(scores) for name, scores in values.items()}, tuple(unknown))


def _names(run: Run, exported: Path | None, group: str) -> dict[str, Key]:
    """Path of every clip as a peer may name it."""
    if exported is not None:
        path = exported / CLIPS
        if not path.is_file():
            raise EvalkitError(f"{path} does not exist; give the folder that `evalkit export` wrote")
        lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return {line["file"]: (line["prompt_id"], line["sample_index"]) for line in lines}
    return {
        PurePosixPath(row["path"]).as_posix(): (row["prompt_id"], row["sample_index"])
        for row in run.table("generations").to_pylist()
        if row["path"] and row["group"] == group
    }


def _match(names: Mapping[str, Key], name: str, metric_id: str) -> Key | None:
    """The clip of a name: the same path, else the one file of that name; T2V-CompBench numbers clips a category."""
    if name in names:
        return names[name]
    last = PurePosixPath(name.replace("\\", "/")).name
    found = [path for path in names if last in (PurePosixPath(path).name, PurePosixPath(path).stem)]
    if len(found) > 1:
        words = metric_id.partition(".")[2]
        found = [path for path in found if words in PurePosixPath(path).parent.name]
    return names[found[0]] if len(found) == 1 else None


def _rows(run: Run, metric_id: str, scores: Mapping[Key, float], group: str) -> Iterable[dict[str, Any]]:
    version = METRICS.load(metric_id).spec.version
    for clip in run.table("generations").to_pylist():
        value = scores.get((clip["prompt_id"], clip["sample_index"])) if clip["group"] == group else None
        status, reason = "ok", None
        if clip["status"] != "ok":
            value, status, reason = None, "generation_failed", clip["error"]
        elif value is None:
            status, reason = "not_applicable", "the peer's result file holds no score of this clip"
        yield dict.fromkeys(SCORES.names) | {
            "run_id": run.manifest.run_id,
            "suite": run.manifest.suite.name,
            "metric_id": metric_id,
            "metric_version": version,
            "value": value,
            "status": status,
            "reason": reason,
            "n_frames": clip["num_frames"],
            **{
                name: clip[name]
                for name in ("prompt_id", "category", "group", "sample_index", "seed", "clip_id")
            },
        }


def _manifest(
    run: Run, values: Mapping[str, Any], origins: Mapping[str, str], rows: list[dict[str, Any]]
) -> Manifest:
    manifest = run.manifest
    kept = [record for record in manifest.metrics if record.id not in values]
    notes = [
        note
        for note in manifest.notes
        if not note.startswith(tuple(f"{name} was imported" for name in values))
    ]
    counts = manifest.counts
    if counts is not None:
        statuses = Counter(row["status"] for row in rows)
        counts = counts.model_copy(
            update={"scores_planned": len(rows), "scores": dict(sorted(statuses.items()))}
        )
    return manifest.model_copy(
        update={
            "metrics": [*kept, *(_record(METRICS.load(name).spec) for name in values)],
            "notes": [*notes, *(f"{name} was imported from {origins[name]}" for name in values)],
            "counts": counts,
        }
    )


def _record(spec: MetricSpec) -> MetricRecord:
    metric = load_metric(spec.id)
    # The key that a metric without features has: `rescore` then finds nothing to do and keeps the imported values.
    key = metric_key(metric, {}) if not metric.requires() else ""
    return MetricRecord(
        **{name: getattr(spec, name) for name in _SHARED},
        kind="clip",
        key=key,
        features={"imported": "the peer's own result file"},
    )


_SHARED = (
    *("id", "version", "title", "description", "direction", "unit", "range", "series", "evidence", "formula"),
    *("limits", "citation", "leaf"),
)
