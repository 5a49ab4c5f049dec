"""One run folder being written: what is finished, what is left, and how it becomes tables."""

from __future__ import annotations

import contextlib
import datetime
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evalkit import __version__
from evalkit.engine.generate import clip_row
from evalkit.errors import RunError, VideoError
from evalkit.remote import is_url, local_copy
from evalkit.runs.files import refuse_url, writing
from evalkit.runs.journal import JOURNAL, Journal, read_journal
from evalkit.runs.manifest import (
    MANIFEST,
    Counts,
    Manifest,
    MetricRecord,
    ModelRecord,
    SuiteRecord,
    read_manifest,
    write_manifest,
)
from evalkit.runs.plan import Plan, PlannedClip, write_plan
from evalkit.runs.store import open_run, write_suite
from evalkit.runs.tables import GENERATIONS, TABLES, read_table, write_table
from evalkit.suites.prompt import thaw
from evalkit.video import file_digest

if TYPE_CHECKING:
    from evalkit.engine.score import Score, ScoredRow

__all__ = ["Session", "digest_now"]

Key = tuple[str, str, int]

_REFERENCE = Path("features", "reference.parquet")


class Session:
    """Exclusive hold of a run folder.

    Use as a context manager. What was finished before, by the same command, is loaded; every new row goes to
    the journal before the next one starts; `finalise` turns all of it into tables.

    Raises:
        RunError: the folder holds another run, or another process is writing it.
    """

    def __init__(
        self, folder: Path, plan: Plan, command: Sequence[str], environment: Mapping[str, Any]
    ) -> None:
        self.folder, self.plan, self.command, self.environment = (
            folder,
            plan,
            list(command),
            dict(environment),
        )
        self._resolved = folder.resolve()
        self.run_id = plan.run_id  # a digest over the whole plan: computed once, not once a row
        self.clips: dict[Key, dict[str, Any]] = {}
        self.scores: dict[Key, dict[str, tuple[str, Score]]] = {}  # clip -> metric id -> (metric key, score)
        self.reference_rows: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []
        self.created = _now()
        self._stack = contextlib.ExitStack()
        self._journal: Journal | None = None

    def __enter__(self) -> Session:
        from filelock import FileLock, Timeout

        refuse_url(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(FileLock(self.folder / ".lock", timeout=0))
        except Timeout as error:
            raise RunError(
                f"{self.folder} is being written by another evalkit process; wait for it to end"
            ) from error
        except OSError as error:
            raise RunError(
                f"{self.folder} cannot be written ({error.strerror}); choose another --out"
            ) from error
        try:
            with writing(self.folder):
                self._begin()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _begin(self) -> None:
        write_plan(self.folder, self.plan)
        if not (self.folder / "suite.json").exists():
            write_suite(self.folder, self.plan.suite)
        self._load()
        self._journal = self._stack.enter_context(Journal(self.folder / JOURNAL))
        if not (self.folder / MANIFEST).exists():
            write_manifest(self.folder, self._manifest("running", [], None, None))

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _load(self) -> None:
        if (self.folder / MANIFEST).exists():
            manifest = read_manifest(self.folder)
            self.created = manifest.created
            if manifest.status != "running":
                self._load_tables({record.id: record.key for record in manifest.metrics})
        for entry in read_journal(self.folder / JOURNAL):
            if "clip" in entry:
                self._put_clip(entry["clip"])
            elif "scores" in entry:
                key = _key(entry["key"])
                for metric_id, (metric_key, *score) in entry["scores"].items():
                    self._put_score(key, metric_id, metric_key, _score(score))
            elif "reference" in entry:
                self.reference_rows[entry["reference"]["path"]] = entry["reference"]

    def _load_tables(self, metric_keys: Mapping[str, str]) -> None:
        run = open_run(self.folder)
        for row in _rows(run.table("generations")):
            self._put_clip(row)
        if (self.folder / _REFERENCE).exists():
            reference = read_table(self.folder / _REFERENCE, GENERATIONS)
            self.reference_rows = {row["path"]: row for row in _rows(reference)}
        series = {
            (_key_of(row), row["metric_id"]): array("d", row["values"]) for row in _rows(run.table("series"))
        }
        for row in _rows(run.table("scores")):
            metric_id = row["metric_id"]
            if row["status"] != "generation_failed" and metric_id in metric_keys:
                key = _key_of(row)
                values = series.get((key, metric_id))
                score = (row["status"], row["value"], values, row["reason"], row["elapsed_ms"])
                self._put_score(key, metric_id, metric_keys[metric_id], score)

    def _put_clip(self, row: dict[str, Any]) -> None:
        self.clips[_key_of(row)] = row

    def _put_score(self, key: Key, metric_id: str, metric_key: str, score: Score) -> None:
        status, value, series, reason, elapsed_ms = score
        # 8 bytes a number instead of 32: a session holds every series of its run.
        packed = None if series is None else array("d", series)
        score = (status, value, packed, reason, elapsed_ms)
        self.scores.setdefault(key, {})[metric_id] = (metric_key, score)

    def forget_if_changed(self, clip: PlannedClip) -> None:
        """Drop what is known of an existing clip whose file has other bytes than when it was scored."""
        row = self.clips.get(clip.key)
        if row is None or clip.path is None or row["file_digest"] is None:
            return
        if digest_now(clip.path) not in (None, row["file_digest"]):
            del self.clips[clip.key]
            self.scores.pop(clip.key, None)

    def add_clips(self, *rows: dict[str, Any]) -> None:
        """Journal generations rows."""
        self._append(*({"clip": row} for row in rows))
        for row in rows:
            self._put_clip(row)

    def add_scores(self, scored: ScoredRow, metric_keys: Mapping[str, str]) -> None:
        """Journal what scoring a clip gave."""
        row = self.relative(scored.row)
        key = _key_of(row)
        changed = row != self.clips.get(key)
        entry = {
            metric: [metric_keys[metric], status, value, None if series is None else list(series), *rest]
            for metric, (status, value, series, *rest) in scored.scores.items()
        }
        self._append(
            *([{"clip": row}] if changed else []),
            *([{"key": list(key), "scores": entry}] if entry else []),
        )
        if changed:
            self._put_clip(row)
        for metric, score in scored.scores.items():
            self._put_score(key, metric, metric_keys[metric], score)
        self.notes.extend(scored.notes)

    def add_reference(self, row: dict[str, Any]) -> None:
        """Journal a clip of the reference side."""
        self._append({"reference": row})
        self.reference_rows[row["path"]] = row

    def _append(self, *entries: dict[str, Any]) -> None:
        if self._journal is None:
            raise RunError(f"{self.folder} is not open")
        if entries:
            with writing(self.folder):
                self._journal.append(*entries)

    def relative(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its path relative to the run where the file lies inside it: a run can be moved."""
        path = row["path"]
        if path is not None and Path(path).is_relative_to(self._resolved):
            return row | {"path": Path(path).relative_to(self._resolved).as_posix()}
        return row

    def absolute(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with an absolute path."""
        if row["path"] is None or is_url(row["path"]):
            return dict(row)
        return row | {"path": str(self._resolved / row["path"])}

    def generated(self, clip: PlannedClip) -> bool:
        """Whether this clip was made and its file is still there."""
        row = self.clips.get(clip.key)
        return row is not None and row["status"] == "ok" and (self.folder / row["path"]).exists()

    def lacking(self, clip: PlannedClip, metric_keys: Mapping[str, str]) -> tuple[str, ...]:
        """Metrics that this clip has no valid score of; failed ones are tried again."""
        scores = self.scores.get(clip.key, {})
        return tuple(
            metric_id
            for metric_id, metric_key in metric_keys.items()
            if (found := scores.get(metric_id)) is None or found[0] != metric_key or found[1][0] == "failed"
        )

    def finalise(
        self,
        records: Sequence[MetricRecord],
        set_rows: Sequence[dict[str, Any]],
        reference: dict[str, Any] | None = None,
        generated_only: bool = False,
    ) -> Manifest:
        """Write the tables in the plan's order, check that nothing is missing, and close the journal."""
        clip_records = [record for record in records if record.kind == "clip"]
        statuses: Counter[str] = Counter()
        scores: Counter[str] = Counter()
        tables: dict[str, Iterable[dict[str, Any]]] = {
            "generations": _counted(map(self._clip_row, self.plan.clips), statuses),
            "scores": _counted(self._score_rows(clip_records), scores),
            "series": self._series_rows(clip_records),
            "set_scores": set_rows,
        }
        with writing(self.folder):
            for name, schema in TABLES.items():
                write_table(self.folder / f"{name}.parquet", schema, tables[name])
            if reference is not None:
                write_table(self.folder / _REFERENCE, GENERATIONS, self.reference_rows.values())
            counts = Counts(
                clips_planned=len(self.plan.clips),
                clips_ok=statuses["ok"],
                clips_failed=statuses["failed"],
                clips_missing=statuses["missing"],
                scores_planned=len(self.plan.clips) * len(clip_records),
                scores=dict(sorted(scores.items())),
            )
            if scores.total() != counts.scores_planned or statuses.total() != counts.clips_planned:
                raise RunError(
                    f"{self.folder}: {counts} does not add up; this is a bug in evalkit, please report it"
                )
            whole = counts.clips_ok == counts.clips_planned and not counts.scores.get("failed")
            status: Literal["generated", "complete", "partial"] = (
                "generated" if generated_only else "complete" if whole else "partial"
            )
            manifest = self._manifest(status, records, counts, reference)
            write_manifest(self.folder, manifest)
        if self._journal is not None:
            self._journal.close()
            (self.folder / JOURNAL).unlink(missing_ok=True)
        return manifest

    def _clip_row(self, clip: PlannedClip) -> dict[str, Any]:
        return self.clips.get(clip.key) or clip_row(clip)

    def _series_rows(self, records: Sequence[MetricRecord]) -> Iterator[dict[str, Any]]:
        for clip in self.plan.clips:
            row = self._clip_row(clip)
            for record in records:
                series = self._score(clip, row, record)[2]
                if series is not None:
                    yield _belongs(clip, row, record) | {"kind": record.series, "values": list(series)}

    def _score_rows(self, records: Sequence[MetricRecord]) -> Iterator[dict[str, Any]]:
        for clip in self.plan.clips:
            row = self._clip_row(clip)
            for record in records:
                status, value, _, reason, elapsed_ms = self._score(clip, row, record)
                yield _belongs(clip, row, record) | {
                    "run_id": self.run_id,
                    "suite": self.plan.suite.name,
                    "category": clip.category,
                    "seed": clip.seed,
                    "metric_version": record.version,
                    "value": value,
                    "status": status,
                    "reason": reason,
                    "n_frames": row["num_frames"],
                    "elapsed_ms": elapsed_ms,
                }

    def _score(self, clip: PlannedClip, row: dict[str, Any], record: MetricRecord) -> Score:
        if row["status"] != "ok":
            status = "generation_failed" if row["path"] is None else "failed"
            reason = (
                row["error"] or "the clip was not made: the run was stopped; run the same command to continue"
            )
            return status, None, None, reason, None
        found = self.scores.get(clip.key, {}).get(record.id)
        if found is None or found[0] != record.key:
            reason = "not scored: the run was stopped; run the same command to continue"
            return "failed", None, None, reason, None
        return found[1]

    def _ignored_params(self) -> list[str]:
        """Asked parameters that the model did not use for some clip; the workers wrote them into the rows."""
        ignored: set[str] = set()
        for row in self.clips.values():
            ignored.update(json.loads(row["params"]).get("ignored_params", ()))
        return sorted(ignored)

    def _manifest(
        self,
        status: Literal["running", "generated", "complete", "partial"],
        records: Sequence[MetricRecord],
        counts: Counts | None,
        reference: dict[str, Any] | None,
    ) -> Manifest:
        suite, model = self.plan.suite, self.plan.model
        return Manifest.model_validate(
            {
                "run_id": self.run_id,
                "kind": self.plan.kind,
                "status": status,
                "created": self.created,
                "finished": None if status == "running" else _now(),
                "evalkit_version": __version__,
                "command": self.command,
                "suite": SuiteRecord(
                    name=suite.name, version=suite.version, digest=suite.digest, num_prompts=len(suite)
                ),
                "model": ModelRecord(
                    id=model.id,
                    revision=model.revision,
                    weights=dict(model.weights),
                    config=thaw(model.config),
                    licence=model.licence,
                    description=model.description,
                    ai_generated=model.ai_generated,
                    ignored_params=self._ignored_params(),
                ),
                "settings": thaw(self.plan.settings),
                "metrics": list(records),
                "environment": self.environment,
                "reference": reference,
                "counts": counts,
                "notes": list(dict.fromkeys(self.notes)),
            }
        )


def _key(values: Sequence[Any]) -> Key:
    prompt_id, group, sample_index = values
    return str(prompt_id), str(group), int(sample_index)


def _key_of(row: Mapping[str, Any]) -> Key:
    return row["prompt_id"], row["group"], row["sample_index"]


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    """Rows of an Arrow table, without holding all of them as Python objects."""
    for batch in table.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()


def _counted(rows: Iterable[dict[str, Any]], statuses: Counter[str]) -> Iterator[dict[str, Any]]:
    for row in rows:
        statuses[row["status"]] += 1
        yield row


def _belongs(clip: PlannedClip, row: Mapping[str, Any], record: MetricRecord) -> dict[str, Any]:
    return {
        "prompt_id": clip.prompt_id,
        "group": clip.group,
        "sample_index": clip.sample_index,
        "clip_id": row["clip_id"],
        "metric_id": record.id,
    }


def _score(values: Sequence[Any]) -> Score:
    status, value, series, reason, elapsed_ms = values
    return status, value, series, reason, elapsed_ms


def digest_now(path: str) -> str | None:
    """The digest of a clip's bytes as they are at present, wherever it lies; None when it cannot be read."""
    try:
        with local_copy(path) as local:
            return file_digest(local)
    except VideoError:
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
