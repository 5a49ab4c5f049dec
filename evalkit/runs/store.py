"""Reading a finished run: the one door through which compare, gate, report, failures and the server look."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import RunError
from evalkit.runs.files import write_json
from evalkit.runs.manifest import Manifest, read_manifest
from evalkit.runs.tables import TABLES, read_table
from evalkit.suites.prompt import Prompt, Suite

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

__all__ = ["Run", "open_run", "read_suite", "write_suite"]

SUITE = "suite.json"


def write_suite(folder: Path, suite: Suite) -> None:
    """Keep the suite beside the run's tables, so that the folder explains itself wherever it is moved."""
    write_json(
        folder / SUITE,
        {
            "name": suite.name,
            "version": suite.version,
            "licence": suite.licence,
            "description": suite.description,
            # A name, not a path: a run that is shared must not tell where its author keeps files.
            "source": Path(suite.source).name,
            "digest": suite.digest,
            "prompts": [prompt.to_dict() for prompt in suite.prompts],
        },
    )


def read_suite(folder: Path) -> Suite:
    """Read the suite of a run.

    Raises:
        RunError: the file is missing or its digest is not the one it was written with.
    """
    path = folder / SUITE
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        recorded = content.pop("digest")
        prompts = tuple(Prompt.from_dict(prompt) for prompt in content.pop("prompts"))
        suite = Suite(prompts=prompts, **content)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"{path} is missing or damaged ({error}); run the command that made the run again"
        ) from error
    if suite.digest != recorded:
        raise RunError(
            f"{path} was edited: its digest is {suite.digest}, written as {recorded}; restore the file"
        )
    return suite


@dataclass(frozen=True)
class Run:
    """A run folder, read lazily. Tables are pandas frames with the columns of `evalkit.runs.tables`.

    A null is NaN in a column of numbers and None in a column of texts, and always has a `status` other than `ok` and a `reason` beside it.
    """

    folder: Path
    manifest: Manifest

    @cached_property
    def suite(self) -> Suite:
        """The prompts of this run, with text, tags and expectations."""
        return read_suite(self.folder)

    def table(self, name: str) -> pa.Table:
        """One of `scores`, `series`, `generations`, `set_scores` as an Arrow table."""
        return read_table(self.folder / f"{name}.parquet", TABLES[name])

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row for every planned (clip, metric)."""
        return _frame(self.table("scores"))

    @cached_property
    def series(self) -> pd.DataFrame:
        """One row for every clip and metric that has a course over time; `values` is an array."""
        return _frame(self.table("series"))

    @cached_property
    def generations(self) -> pd.DataFrame:
        """One row for every planned clip."""
        return _frame(self.table("generations"))

    @cached_property
    def set_scores(self) -> pd.DataFrame:
        """One row for every set metric and group."""
        return _frame(self.table("set_scores"))

    def vectors(self, metric_id: str) -> tuple[list[tuple[str, str, int]], np.ndarray[Any, Any]]:
        """Feature rows of a set metric, for resampling.

        Returns:
            (prompt_id, group, sample_index) of every row, and the `(n, D)` float matrix.

        Raises:
            RunError: the run did not keep them.
        """
        from safetensors.numpy import load_file

        path = self.folder / "features" / "sets" / f"{metric_id}.safetensors"
        if not path.is_file():
            raise RunError(
                f"{path} does not exist: the run has no feature rows for {metric_id}; `evalkit rescore` it"
            )
        tensors = load_file(path)
        rows = json.loads(bytes(tensors["rows"]).decode())
        return [(prompt, group, int(sample)) for prompt, group, sample in rows], tensors["vectors"]

    def reference_vectors(self, metric_id: str) -> np.ndarray[Any, Any]:
        """The reference side of a set metric, `(m, D)`."""
        from safetensors.numpy import load_file

        path = self.folder / "features" / "sets" / f"{metric_id}.safetensors"
        if not path.is_file() or "reference" not in (tensors := load_file(path)):
            raise RunError(f"{self.folder} has no reference for {metric_id}; score it again with --reference")
        return tensors["reference"]

    def path_of(self, relative: str) -> Path:
        """Resolve a path of the `generations` table (`path`, `preview`, `poster`)."""
        path = Path(relative)
        return path if path.is_absolute() else self.folder / path


def _frame(table: pa.Table) -> pd.DataFrame:
    """A pandas frame in which a missing text is None: pandas' own string type would make it a float NaN."""
    import pandas as pd
    import pyarrow as pa

    frame: pd.DataFrame = table.to_pandas()
    for field in table.schema:
        if pa.types.is_string(field.type):
            frame[field.name] = pd.Series(table[field.name].to_pylist(), dtype=object)
    return frame


def open_run(folder: Path | str) -> Run:
    """Open a run folder.

    Raises:
        RunError: not a run folder, or its manifest is damaged.
    """
    folder = Path(folder)
    return Run(folder, read_manifest(folder))
