"""Set metrics: feature rows of all clips against feature rows of a reference; no pixels are read."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from evalkit.errors import EvalkitError
from evalkit.runs.files import atomic_path
from evalkit.runs.tables import SET_SCORES

if TYPE_CHECKING:
    import torch

    from evalkit.features.compute import ClipVector
    from evalkit.metrics.reference import Reference
    from evalkit.metrics.spec import SetMetric, SetScore

__all__ = ["feature_protocol", "score_sets"]

_SEED = 0


Vectors = Mapping[str, "ClipVector"]
"""Feature rows of one clip, by set metric."""


def score_sets(
    metrics: Sequence[SetMetric],
    clips: Sequence[tuple[Mapping[str, Any], Vectors]],
    reference: Sequence[tuple[Mapping[str, Any], Vectors]] | Reference | None,
    *,
    groups: Sequence[str],
    folder: Path,
    run_id: str,
    reference_digest: str | None = None,
) -> list[dict[str, Any]]:
    """Rows of the set_scores table: every set metric for all clips, and for each group where there are several.

    Args:
        metrics: the set metrics.
        clips: generations rows of every clip that could be read, with their feature rows.
        reference: the same of the reference's clips, or a reference file; None when no reference was given.
        groups: every group of the plan, in order.
        folder: the run's folder; feature rows are kept there for resampling.
        run_id: for the table.
        reference_digest: identity of the reference.
    """
    names = ["", *groups] if list(groups) != [""] else [""]
    table = []
    for metric in metrics:
        name = metric.spec.id
        ours, keys = _matrix([(row, vectors[name]) for row, vectors in clips])
        other = _other_side(metric, reference) if ours is not None else _OtherSide()
        if ours is not None:
            _keep(folder, name, ours, keys, other.rows)
        for group in names:
            members = [(row, vectors[name]) for row, vectors in clips if group in ("", row["group"])]
            alone = hasattr(metric, "score_prompts")
            table.append(
                _row(metric, members, other)
                | {"run_id": run_id, "group": group, "reference_digest": None if alone else reference_digest}
            )
    return table


class _OtherSide(NamedTuple):
    """What a set metric compares with: feature rows, or statistics alone, or the status and reason why neither."""

    rows: torch.Tensor | None = None
    statistics: Any = None
    status: str = "skipped"
    reason: str = "no reference set; give one with --reference RUN, FOLDER or FILE.safetensors"

    @property
    def size(self) -> int:
        """Clips behind it."""
        if self.rows is not None:
            return len(self.rows)
        return 0 if self.statistics is None else int(self.statistics.count)


def _other_side(metric: SetMetric, reference: Any) -> _OtherSide:
    from evalkit.metrics.reference import Reference

    if reference is None or hasattr(metric, "score_prompts"):
        return _OtherSide()
    if not isinstance(reference, Reference):
        rows, _ = _matrix([(None, vectors[metric.spec.id]) for _, vectors in reference])
        return _OtherSide(rows, status="failed", reason="none of the reference clips could be used")
    own = feature_protocol(metric)
    if own != reference.protocol:
        return _OtherSide(
            reason=f"the reference file holds {reference.protocol!r}, this metric reads {own!r}"
        )
    if reference.rows is None and not hasattr(metric, "score_statistics"):
        return _OtherSide(
            reason="the reference file holds statistics alone, and this metric needs feature rows; write the file "
            "without --statistics-only"
        )
    return _OtherSide(reference.rows, reference.statistics)


def feature_protocol(metric: SetMetric) -> str | None:
    """What a reference file must have been made with for this metric; None where the metric takes no such file.

    Raises:
        MissingWeights, MissingExtra: the metric's network is not at hand.
    """
    protocol = getattr(metric, "feature_protocol", None)
    return None if protocol is None else str(protocol())


def _matrix(clips: Sequence[tuple[Mapping[str, Any] | None, Any]]) -> tuple[torch.Tensor | None, list[Any]]:
    import torch

    parts = [(row, vector.rows) for row, vector in clips if vector.rows is not None]
    if not parts:
        return None, []
    keys = [
        [row["prompt_id"], row["group"], row["sample_index"]]
        for row, rows in parts
        if row is not None
        for _ in rows
    ]
    return torch.cat([rows for _, rows in parts]), keys


def _keep(folder: Path, name: str, ours: torch.Tensor, keys: list[Any], theirs: torch.Tensor | None) -> None:
    """Store the feature rows: `compare` resamples prompts and swaps labels without touching a clip."""
    import numpy as np
    from safetensors.numpy import save_file

    tensors = {
        "rows": np.frombuffer(json.dumps(keys).encode(), dtype=np.uint8).copy(),
        "vectors": ours.contiguous().numpy(),
    }
    if theirs is not None:
        tensors["reference"] = theirs.contiguous().numpy()
    with atomic_path(folder / "features" / "sets" / f"{name}.safetensors") as temporary:
        save_file(tensors, temporary)


def _score(metric: Any, ours: torch.Tensor, keys: Sequence[Any], other: _OtherSide) -> SetScore:
    if hasattr(metric, "score_prompts"):
        return cast("SetScore", metric.score_prompts(ours, [(group, prompt) for prompt, group, _ in keys]))
    if other.rows is None:
        return cast("SetScore", metric.score_statistics(ours, other.statistics, seed=_SEED))
    return cast("SetScore", metric.score(ours, other.rows, seed=_SEED))


def _row(metric: SetMetric, members: Sequence[tuple[Any, Any]], other: _OtherSide) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SET_SCORES.names) | {
        "metric_id": metric.spec.id,
        "metric_version": metric.spec.version,
    }
    ours, keys = _matrix(members)
    row |= {"n_generated": 0 if ours is None else len(ours), "n_reference": other.size}
    problems = Counter((vector.status, vector.reason) for _, vector in members if vector.rows is None)
    if ours is None:
        (status, reason), _ = (
            problems.most_common(1)[0] if problems else (("failed", "there is no clip to score"), 0)
        )
        return row | {"status": status, "reason": reason}
    if not other.size and not hasattr(metric, "score_prompts"):
        return row | {"status": other.status, "reason": other.reason}
    try:
        score = _score(metric, ours, keys, other)
    except EvalkitError as error:
        return row | {"status": "not_applicable", "reason": str(error)}
    except Exception as error:  # a plugin's metric must not cost the run its other results
        return row | {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    low, high = score.interval or (None, None)
    candidates = (score.value, low, high, score.noise_floor, score.p_value)
    numbers = [number for number in candidates if number is not None]
    if not all(map(math.isfinite, numbers)):
        reason = f"{metric.spec.id} gave a value that is not finite ({score.value})"
        return row | {"status": "failed", "reason": reason}
    return row | {
        "value": score.value,
        "interval_low": low,
        "interval_high": high,
        "noise_floor": score.noise_floor,
        "p_value": score.p_value,
        "n_generated": score.n_generated,
        "n_reference": score.n_reference,
        "protocol": score.protocol,
        "status": "ok",
        "reason": f"{sum(problems.values())} clips without features were left out" if problems else None,
    }
