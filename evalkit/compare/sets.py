"""Set metrics of two runs: distances to one reference, compared by swapping labels prompt by prompt."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import EvalkitError, RunError
from evalkit.metrics.registry import load_metric
from evalkit.runs.manifest import MetricRecord
from evalkit.runs.store import Run
from evalkit.stats.sets import Distance, SetDifference, compare_distances, compare_kernel_distances

__all__ = ["SetEvidence", "compare_set_metric", "shared_vectors"]

_KERNEL_RESAMPLES = 999
_DISTANCE_RESAMPLES = 199

Array = NDArray[np.float64]


class SetEvidence(NamedTuple):
    """Result of `compare_set_metric`; `difference` is None where the feature rows were not kept."""

    baseline_value: float | None
    candidate_value: float | None
    difference: SetDifference | None
    prompts: int
    n_generated: int
    n_reference: int
    noise_floor: float | None
    protocol: str
    reason: str
    baseline_p: float | None = None
    candidate_p: float | None = None


class SharedVectors(NamedTuple):
    """Feature rows of the clips that both runs have, in one order."""

    a: Array
    b: Array
    prompt_ids: list[str]
    left_out: int


def shared_vectors(a: Run, b: Run, metric_id: str) -> SharedVectors:
    """Align the feature rows of two runs clip by clip; clips that only one run has are counted.

    Raises:
        RunError: a run did not keep feature rows of this metric.
    """
    sides = []
    for run in (a, b):
        keys, vectors = run.vectors(metric_id)
        rows: dict[tuple[str, str, int], list[int]] = defaultdict(list)
        for row, key in enumerate(keys):
            rows[key].append(row)
        sides.append((rows, np.asarray(vectors, dtype=np.float64)))
    (rows_a, all_a), (rows_b, all_b) = sides
    shared = sorted(key for key in rows_a.keys() & rows_b.keys() if len(rows_a[key]) == len(rows_b[key]))
    left_out = len(rows_a.keys() | rows_b.keys()) - len(shared)
    take_a = [row for key in shared for row in rows_a[key]]
    take_b = [row for key in shared for row in rows_b[key]]
    prompt_ids = [key[0] for key in shared for _ in rows_a[key]]
    return SharedVectors(all_a[take_a], all_b[take_b], prompt_ids, left_out)


def _row(run: Run, metric_id: str) -> dict[str, Any]:
    table = run.set_scores[(run.set_scores["metric_id"] == metric_id) & (run.set_scores["group"] == "")]
    return {str(key): value for key, value in table.iloc[0].items()} if len(table) else {}


def _number(value: Any) -> float | None:
    """A cell of the table; a null is NaN there."""
    return None if value is None or np.isnan(value) else float(value)


def _distance(record: MetricRecord, reference: Array) -> Distance:
    """The metric's own value as a function of the generated features."""
    import torch

    metric: Any = load_metric(record.id, **record.params)
    fixed = torch.from_numpy(reference)
    if hasattr(metric, "distance"):  # the bare value, without the intervals that `score` adds
        return lambda features: float(metric.distance(torch.from_numpy(features), fixed))
    return lambda features: float(metric.score(torch.from_numpy(features), fixed, seed=0).value)


def _compare_prompts(
    evidence: SetEvidence, shared: SharedVectors, metric: Any, seed: int, alpha: float
) -> SetEvidence:
    """A metric that is the mean of a value a prompt: prompts are swapped and resampled with their values."""
    import torch

    sides = [metric.per_prompt(torch.from_numpy(rows), shared.prompt_ids) for rows in (shared.a, shared.b)]
    prompts = sides[0][0]
    if shared.left_out or len(prompts) < 2:
        reason = (
            f"{shared.left_out} clips have features in only one run" if shared.left_out else "a single prompt"
        )
        return evidence._replace(prompts=len(prompts), reason=f"no interval: {reason}")
    first, second = (np.asarray(values, dtype=np.float64)[:, None] for _, values in sides)
    rng = np.random.default_rng([seed, 3])
    difference = compare_distances(
        first, second, lambda rows: float(rows.mean()), prompts, rng, 1 - alpha, _KERNEL_RESAMPLES
    )
    return evidence._replace(difference=difference, prompts=len(prompts))


def compare_set_metric(a: Run, b: Run, record: MetricRecord, seed: int, alpha: float) -> SetEvidence:
    """Compare one set metric between two runs whose protocols are known to agree.

    Args:
        a: baseline.
        b: candidate.
        record: the metric's record in either run.
        seed: of the resampling.
        alpha: two-sided error of the interval.
    """
    first, second = _row(a, record.id), _row(b, record.id)
    bad = [
        f"{run.folder.name}: {row.get('reason') or 'no such row'}"
        for run, row in ((a, first), (b, second))
        if row.get("status") != "ok"
    ]
    if bad:
        return SetEvidence(None, None, None, 0, 0, 0, None, "", "; ".join(bad))
    evidence = SetEvidence(
        float(first["value"]),
        float(second["value"]),
        None,
        0,
        int(second["n_generated"]),
        int(second["n_reference"]),
        _number(first["noise_floor"]),
        str(second["protocol"] or ""),
        "",
        _number(first["p_value"]),
        _number(second["p_value"]),
    )
    try:
        shared = shared_vectors(a, b, record.id)
        metric: Any = load_metric(record.id, **record.params)
        if hasattr(metric, "per_prompt"):
            return _compare_prompts(evidence, shared, metric, seed, alpha)
        reference = np.asarray(b.reference_vectors(record.id), dtype=np.float64)
    except RunError as error:
        return evidence._replace(reason=f"no interval: {error}")
    prompts = len(set(shared.prompt_ids))
    if shared.left_out or prompts < 2:
        reason = (
            f"{shared.left_out} clips have features in only one run" if shared.left_out else "a single prompt"
        )
        return evidence._replace(prompts=prompts, reason=f"no interval: {reason}")
    rng = np.random.default_rng([seed, 3])
    kernel_metric = record.id == "set.kvd"
    try:
        if kernel_metric:
            difference = compare_kernel_distances(
                shared.a, shared.b, reference, shared.prompt_ids, rng, 1 - alpha, _KERNEL_RESAMPLES
            )
        else:
            distance = _distance(record, reference)
            difference = compare_distances(
                shared.a, shared.b, distance, shared.prompt_ids, rng, 1 - alpha, _DISTANCE_RESAMPLES
            )
    except EvalkitError as error:
        return evidence._replace(prompts=prompts, reason=f"no interval: {error}")
    return evidence._replace(difference=difference, prompts=prompts)
