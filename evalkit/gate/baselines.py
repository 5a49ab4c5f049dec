"""Baselines: promoted runs, kept small enough to commit, with a lock file.

    benchmarks/baselines/release-1.2/
        lock.json  manifest.json  suite.json  scores.parquet  generations.parquet  set_scores.parquet
        features/sets/*.safetensors

A baseline holds tables and the feature rows of set metrics, no clips. `lock.json` has the digest of every file and
the margins of the policy, fixed when it was promoted; an edited file is noticed when it is opened. A baseline never
moves by itself: another run needs another name.
"""

from __future__ import annotations

import datetime
import difflib
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from evalkit.errors import EvalkitError, EvidenceError
from evalkit.gate.policy import NonInferiority, Policy
from evalkit.runs.files import write_json
from evalkit.runs.store import Run, open_run
from evalkit.runs.tables import TABLES

__all__ = ["LOCK", "Lock", "find_baseline", "list_baselines", "open_baseline", "promote"]

LOCK = "lock.json"
_TABLES = ("scores", "generations", "set_scores")


class Lock(BaseModel):
    """Content of `lock.json`.

    Attributes:
        name: of the baseline.
        promoted: day.
        reason: why this run became the baseline.
        run_id, suite, suite_digest, model, revision, commit: what was promoted.
        margins: check id to the margin that later policies may not widen.
        files: digest of every file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_id: Literal["evalkit.baseline/v1"] = "evalkit.baseline/v1"
    name: str
    promoted: datetime.date
    reason: str
    run_id: str
    suite: str
    suite_digest: str
    model: str
    revision: str
    commit: str
    margins: dict[str, float]
    files: dict[str, str]


def promote(
    run: Run,
    name: str,
    reason: str,
    folder: Path,
    policy: Policy | None = None,
    today: datetime.date | None = None,
) -> Path:
    """Make a finished run a baseline.

    Args:
        run: complete, and made from a clean checkout.
        name: of the baseline: letters, digits, dot, dash, underscore.
        reason: kept in the lock file.
        folder: of all baselines.
        policy: its margins are locked.
        today: day of the promotion; default: the current day in UTC.

    Returns:
        The baseline's folder.

    Raises:
        EvidenceError: the run is partial, unfinished or dirty.
        EvalkitError: a bad name, no reason, or the name is taken.
    """
    if (
        not name
        or name.strip(".-_") == ""
        or any(not (c.isascii() and (c.isalnum() or c in "._-")) for c in name)
    ):
        raise EvalkitError(f"baseline name {name!r} must be letters, digits, '.', '-' and '_'")
    if not reason.strip():
        raise EvalkitError("a promotion needs a reason: --reason 'why this run is the new baseline'")
    target = folder / name
    if target.exists():
        raise EvalkitError(f"{target} exists already; a baseline never moves, promote under a new name")
    _require_promotable(run)
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
    try:
        for file in ("manifest.json", "suite.json"):
            shutil.copyfile(run.folder / file, staging / file)
        for table in _TABLES:
            pq.write_table(
                _without_clips(run.table(table), table), staging / f"{table}.parquet", compression="zstd"
            )
        sets = run.folder / "features" / "sets"
        if sets.is_dir():
            shutil.copytree(sets, staging / "features" / "sets")
        manifest = run.manifest
        margins = {
            check.id: check.margin
            for check in (policy.checks if policy else ())
            if isinstance(check, NonInferiority) and check.margin is not None
        }
        lock = Lock(
            name=name,
            promoted=today or datetime.datetime.now(datetime.UTC).date(),
            reason=reason.strip(),
            run_id=manifest.run_id,
            suite=f"{manifest.suite.name} {manifest.suite.version}",
            suite_digest=manifest.suite.digest,
            model=manifest.model.id,
            revision=manifest.model.revision,
            commit=str(manifest.environment.get("commit", "")),
            margins=margins,
            files=_digests(staging),
        )
        write_json(staging / LOCK, lock.model_dump(mode="json"))
        staging.chmod(0o755)  # mkdtemp makes private folders; a baseline is committed and read by others
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return target


def _require_promotable(run: Run) -> None:
    manifest = run.manifest
    if manifest.status != "complete":
        counts = manifest.counts
        detail = (
            f"{counts.clips_failed} clips failed, {counts.clips_missing} are missing"
            if counts
            else "no counts"
        )
        raise EvidenceError(
            f"{run.folder} cannot be promoted: its status is {manifest.status} ({detail}); a baseline must be complete, "
            "run it again until nothing fails"
        )
    if manifest.environment.get("dirty"):
        raise EvidenceError(
            f"{run.folder} cannot be promoted: it was made from a checkout with uncommitted changes "
            f"(commit {manifest.environment.get('commit', 'unknown')}); commit, run again, promote that run"
        )


def _without_clips(table: pa.Table, name: str) -> pa.Table:
    """Paths of files that a baseline does not hold become null."""
    for column in ("path", "preview", "poster") if name == "generations" else ():
        index = table.schema.get_field_index(column)
        table = table.set_column(index, table.schema.field(index), pa.nulls(len(table), pa.string()))
    return table.replace_schema_metadata(TABLES[name].metadata)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def open_baseline(folder: Path) -> tuple[Run, Lock]:
    """Open a promoted baseline and check every file against its lock.

    Raises:
        EvidenceError: a file was edited, added or lost since the promotion.
        EvalkitError: the lock file is missing or damaged.
    """
    try:
        lock = Lock.model_validate_json((folder / LOCK).read_bytes())
    except (OSError, ValidationError) as error:
        raise EvalkitError(
            f"{folder / LOCK}:1:1: missing or damaged ({str(error).splitlines()[0]}); restore it from version control"
        ) from error
    found = _digests(folder)
    changed = sorted(name for name in {*found, *lock.files} if found.get(name) != lock.files.get(name))
    if changed:
        raise EvidenceError(
            f"baseline {lock.name} was changed after its promotion: {', '.join(changed)} do not match {folder / LOCK}; "
            "restore the files, or promote a new baseline"
        )
    return open_run(folder), lock


def list_baselines(folder: Path) -> list[str]:
    """Names of the promoted baselines."""
    return sorted(path.parent.name for path in folder.glob(f"*/{LOCK}"))


def find_baseline(name: str, folder: Path) -> tuple[Run, Lock | None]:
    """A promoted baseline by name, or a run by its folder.

    Raises:
        EvalkitError: neither exists; names the baselines that do.
    """
    if (folder / name / LOCK).is_file():
        return open_baseline(folder / name)
    path = Path(name)
    if (path / LOCK).is_file():
        return open_baseline(path)
    if (path / "manifest.json").is_file():
        return open_run(path), None
    known = list_baselines(folder)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known in {folder}: {', '.join(known) or 'none'}"
    raise EvalkitError(
        f"no baseline {name!r}, and no run folder of that name; {hint} "
        "(`evalkit baseline promote RUN --as NAME --reason ...` makes one)"
    )
