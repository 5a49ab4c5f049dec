"""A run's feature rows as a reference file that others can compare with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.engine.run import scored_on
from evalkit.engine.score import metric_key
from evalkit.engine.sets import feature_protocol
from evalkit.errors import EvalkitError, RunError
from evalkit.features.compute import FeaturePlan
from evalkit.features.device import network_device
from evalkit.metrics.reference import Reference, save_reference
from evalkit.metrics.registry import is_set_metric, load_metric
from evalkit.runs.feature_store import request_keys

if TYPE_CHECKING:
    from evalkit.runs.store import Run

__all__ = ["write_reference"]


def write_reference(
    run: Run, metric_id: str, path: Path, *, source: str = "", statistics_only: bool = False
) -> Reference:
    """Write the features that a run kept for a set metric as a reference file.

    Args:
        run: a finished run over the reference clips (`evalkit score FOLDER --metrics set.fvd --out RUN`).
        metric_id: the set metric whose features are written; metrics that read the same features share the file.
        path: a new `.safetensors` file.
        source: where the clips come from, in words; the suite's name and the number of clips where empty.
        statistics_only: leave the rows out, to share a reference without its clips' features.

    Raises:
        EvalkitError: the metric takes no reference file, or its network is not at hand.
        RunError: the run did not score this metric, or did so with other weights or another version.
    """
    import torch

    record = next((record for record in run.manifest.metrics if record.id == metric_id), None)
    if record is None:
        raise RunError(
            f"{run.folder} was not scored with {metric_id}; run: evalkit rescore {run.folder} --metrics {metric_id}"
        )
    metric = load_metric(metric_id, **record.params)
    protocol = feature_protocol(metric) if is_set_metric(metric) else None  # type: ignore[arg-type]
    if protocol is None:
        raise EvalkitError(
            f"{metric_id} compares with no reference, so that no reference file can be made for it"
        )
    if metric_key(metric, request_keys(FeaturePlan([metric], network_device(scored_on(run))))) != record.key:
        raise RunError(
            f"{run.folder} computed the features of {metric_id} with other weights or another version than are "
            f"installed here; run: evalkit rescore {run.folder} --metrics {metric_id}"
        )
    _, vectors = run.vectors(metric_id)
    words = source or f"{len(vectors)} clips of {run.manifest.model.id}, suite {run.manifest.suite.name}"
    return save_reference(
        path, torch.from_numpy(vectors), protocol, source=words, statistics_only=statistics_only
    )
