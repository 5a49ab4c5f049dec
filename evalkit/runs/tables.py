"""The tables of a run: long Arrow tables, one row a fact.

A missing value is a status with a reason: `value` is null exactly where `status` is not `ok`, and then
`reason` says why. Rows are never dropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evalkit.errors import RunError
from evalkit.runs.files import atomic_path

__all__ = [
    "GENERATIONS",
    "SCHEMA_VERSION",
    "SCORES",
    "SERIES",
    "SET_SCORES",
    "STATUSES",
    "TABLES",
    "read_table",
    "write_table",
]

SCHEMA_VERSION = 1
_AT_ONCE, _ROW_GROUP = 4096, 65_536  # rows as Python objects, rows as Arrow columns

_LATER = frozenset({"p_value"})  # columns that runs of before do not have; they read as null

STATUSES = ("ok", "failed", "skipped", "not_applicable", "generation_failed")


def _schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema(
        [pa.field(name, kind) for name, kind in fields], metadata={"schema_version": str(SCHEMA_VERSION)}
    )


SCORES = _schema(
    ("run_id", pa.string()),
    ("suite", pa.string()),
    ("prompt_id", pa.string()),
    ("category", pa.string()),
    ("group", pa.string()),  # "" or whom a clip belongs to when one folder holds several models
    ("sample_index", pa.int32()),
    ("seed", pa.int64()),
    ("clip_id", pa.string()),  # null when there is no clip
    ("metric_id", pa.string()),
    ("metric_version", pa.string()),
    ("value", pa.float64()),
    ("status", pa.string()),
    ("reason", pa.string()),
    ("n_frames", pa.int32()),
    ("elapsed_ms", pa.float64()),
)

SERIES = _schema(
    ("clip_id", pa.string()),
    ("prompt_id", pa.string()),
    ("group", pa.string()),
    ("sample_index", pa.int32()),
    ("metric_id", pa.string()),
    ("kind", pa.string()),  # frame | transition
    ("values", pa.list_(pa.float64())),
)

GENERATIONS = _schema(
    ("prompt_id", pa.string()),
    ("category", pa.string()),
    ("group", pa.string()),
    ("sample_index", pa.int32()),
    ("seed", pa.int64()),
    ("clip_id", pa.string()),
    ("path", pa.string()),  # relative to the run for stored clips, else where the original lies
    ("file_digest", pa.string()),
    ("preview", pa.string()),  # relative to the run; null when none could be made
    ("poster", pa.string()),
    ("status", pa.string()),  # ok | failed | missing
    ("error", pa.string()),
    ("num_frames", pa.int32()),
    ("height", pa.int32()),
    ("width", pa.int32()),
    ("fps", pa.string()),  # a fraction, "24000/1001"
    ("seconds", pa.float64()),
    ("peak_memory_bytes", pa.int64()),
    ("attempts", pa.int32()),
    ("params", pa.string()),  # JSON: what was asked of the model
)

SET_SCORES = _schema(
    ("run_id", pa.string()),
    ("metric_id", pa.string()),
    ("metric_version", pa.string()),
    ("group", pa.string()),
    ("value", pa.float64()),
    ("interval_low", pa.float64()),
    ("interval_high", pa.float64()),
    ("noise_floor", pa.float64()),
    ("p_value", pa.float64()),  # permutation test against the reference; null where the metric has none
    ("n_generated", pa.int32()),
    ("n_reference", pa.int32()),
    ("reference_digest", pa.string()),
    ("protocol", pa.string()),
    ("status", pa.string()),
    ("reason", pa.string()),
)

TABLES: Mapping[str, pa.Schema] = {
    "scores": SCORES,
    "series": SERIES,
    "generations": GENERATIONS,
    "set_scores": SET_SCORES,
}


def write_table(path: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as zstd Parquet, atomically and in groups: memory does not grow with the number of rows.

    Unknown or missing columns are an error, not a guess.
    """
    names = set(schema.names)
    rows = iter(rows)
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        group: list[pa.Table] = []
        while some := list(itertools.islice(rows, _AT_ONCE)):
            for row in some:
                if row.keys() != names:
                    wrong = sorted(names ^ row.keys())
                    raise ValueError(
                        f"row for {path.name} has other columns than its schema: {', '.join(wrong)}"
                    )
            group.append(pa.Table.from_pylist(some, schema=schema))
            if len(group) * _AT_ONCE >= _ROW_GROUP:
                writer.write_table(pa.concat_tables(group))
                group.clear()
        if group:
            writer.write_table(pa.concat_tables(group))


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a table and check that it has the columns of `schema`.

    Raises:
        RunError: the file is missing, damaged, or of another schema version.
    """
    if not path.is_file():
        raise RunError(
            f"{path} does not exist: the run is not finished; run the command that made it again to continue it"
        )
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise RunError(
            f"{path} cannot be read as Parquet ({error}); restore it or `evalkit rescore` the run"
        ) from error
    version = (table.schema.metadata or {}).get(b"schema_version", b"none").decode()
    lacking = set(schema.names) - set(table.schema.names)
    for name in sorted(lacking) if lacking <= _LATER else ():
        place = schema.names.index(name)
        table = table.add_column(place, schema.field(name), pa.nulls(len(table), schema.field(name).type))
    if version != str(SCHEMA_VERSION) or table.schema.names != schema.names:
        raise RunError(
            f"{path} has table schema {version} with columns {', '.join(table.schema.names)}; this evalkit reads "
            f"schema {SCHEMA_VERSION}; score the run again with `evalkit rescore`"
        )
    return table
