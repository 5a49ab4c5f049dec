"""The manifest of a run: what was planned, what ran, on what, and how completely."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evalkit.errors import RunError
from evalkit.runs.files import refuse_url, write_json

__all__ = [
    "MANIFEST",
    "Counts",
    "Manifest",
    "MetricRecord",
    "ModelRecord",
    "SuiteRecord",
    "read_manifest",
    "write_manifest",
]

MANIFEST = "manifest.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class SuiteRecord(_Record):
    """The suite as it was when the run was planned; its prompts lie beside, in `suite.json`."""

    name: str
    version: str
    digest: str
    num_prompts: int


class ModelRecord(_Record):
    """`evalkit.models.ModelInfo`, and which asked parameters the model did not use."""

    id: str
    revision: str
    weights: dict[str, str] = {}
    config: dict[str, Any] = {}
    licence: str = "unknown"
    description: str = ""
    ai_generated: bool = True
    ignored_params: list[str] = []


class MetricRecord(_Record):
    """A metric as it was run, with what a report needs to show it without loading it."""

    id: str
    version: str
    title: str
    description: str
    direction: Literal["higher", "lower"]
    unit: str
    range: tuple[float | None, float | None]
    kind: Literal["clip", "set"]
    series: Literal["frame", "transition", "none"]
    evidence: Literal["measured", "proxy"]
    formula: str = ""
    limits: str = ""
    citation: str = ""
    leaf: str = ""
    key: str = ""  # content key of version, parameters and features: equal keys, comparable numbers
    params: dict[str, str | int | float | bool | None] = {}
    features: dict[str, str] = {}  # request -> "title, version, weights digest" of the extractor that spoke


class Counts(_Record):
    """Completeness: planned = ok + failed + missing for clips, and the sum of all statuses for scores."""

    clips_planned: int
    clips_ok: int
    clips_failed: int
    clips_missing: int
    scores_planned: int
    scores: dict[str, int]  # status -> rows


class Manifest(_Record):
    """`manifest.json`. `status` is `running` until the tables are written and counted.

    `complete`: every planned clip exists and every score has a row; `partial`: finished, but clips failed or
    are missing.
    """

    schema_version: Literal[1] = 1
    run_id: str
    kind: Literal["run", "generate", "score"]
    status: Literal["running", "generated", "complete", "partial"]
    created: str
    finished: str | None = None
    evalkit_version: str
    command: list[str] = []
    suite: SuiteRecord
    model: ModelRecord
    settings: dict[str, Any] = {}
    metrics: list[MetricRecord] = []
    environment: dict[str, Any] = {}
    reference: dict[str, Any] | None = None
    counts: Counts | None = None
    notes: list[str] = Field(default=[], description="sentences for people: what was skipped and why")

    def metric(self, metric_id: str) -> MetricRecord:
        """The record of one metric.

        Raises:
            KeyError: the run did not use it.
        """
        return next((record for record in self.metrics if record.id == metric_id), None) or _missing(
            metric_id
        )


def _missing(metric_id: str) -> MetricRecord:
    raise KeyError(metric_id)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` atomically."""
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json`.

    Raises:
        RunError: there is none, or it is damaged or of another version.
    """
    refuse_url(folder)
    path = folder / MANIFEST
    if not path.is_file():
        what = "is not a run folder: it has no manifest.json" if folder.is_dir() else "does not exist"
        raise RunError(
            f"{folder} {what}; give a folder that `evalkit run` or `evalkit score` wrote with --out"
        )
    try:
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise RunError(f"{path} is damaged or was written by another version of evalkit: {first}") from error
