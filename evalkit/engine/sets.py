"""Set metrics: feature rows of all clips against feature rows of a reference; no pixels are read."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import EvalkitError
from evalkit.runs.files import atomic_path
from evalkit.runs.keys import digest
from evalkit.runs.tables import SET_SCORES

if TYPE_CHECKING:
    import torch

    from evalkit.features.compute import ClipVector
    from evalkit.metrics.spec import SetMetric

__all__ = ["score_sets"]

_SEED = 0


Vectors = Mapping[str, "ClipVector"]
"""Feature rows of one clip, by set metric."""


def score_sets(
    metrics: Sequence[SetMetric],
    clips: Sequence[tuple[Mapping[str, Any], Vectors]],
    reference: Sequence[tuple[Mapping[str, Any], Vectors]] | None,
    *,
    groups: Sequence[str],
    folder: Path,
    run_id: str,
) -> list[dict[str, Any]]:
    """Rows of the set_scores table: every set metric for all clips, and for each group where there are several.

    Args:
        metrics: the set metrics.
        clips: generations rows of every clip that could be read, with their feature rows.
        reference: the same of the reference's clips; None when no reference was given.
        groups: every group of the plan, in order.
        folder: the run's folder; feature rows are kept there for resampling.
        run_id: for the table.
    """
    if not metrics:
        return []
    reference_digest = digest(sorted(row["clip_id"] for row, _ in reference)) if reference else None
    names = ["", *groups] if list(groups) != [""] else [""]
    table = []
    for metric in metrics:
        name = metric.spec.id
        theirs, _ = _matrix([(None, vectors[name]) for _, vectors in reference or ()])
        ours, keys = _matrix([(row, vectors[name]) for row, vectors in clips])
        if ours is not None:
            _keep(folder, name, ours, keys, theirs)
        for group in names:
            members = [(row, vectors[name]) for row, vectors in clips if group in ("", row["group"])]
            table.append(
                _row(metric, members, theirs, reference is not None)
                | {"run_id": run_id, "group": group, "reference_digest": reference_digest}
            )
    return table


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


def _row(
    metric: SetMetric, members: Sequence[tuple[Any, Any]], theirs: torch.Tensor | None, has_reference: bool
) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SET_SCORES.names) | {
        "metric_id": metric.spec.id,
        "metric_version": metric.spec.version,
    }
    ours, _ = _matrix(members)
    row |= {
        "n_generated": 0 if ours is None else len(ours),
        "n_reference": 0 if theirs is None else len(theirs),
    }
    problems = Counter((vector.status, vector.reason) for _, vector in members if vector.rows is None)
    if ours is None:
        (status, reason), _ = (
            problems.most_common(1)[0] if problems else (("failed", "there is no clip to score"), 0)
        )
        return row | {"status": status, "reason": reason}
    if theirs is None:
        reason = (
            "none of the reference clips could be used"
            if has_reference
            else "no reference set; give one with --reference RUN or --reference FOLDER"
        )
        return row | {"status": "failed" if has_reference else "skipped", "reason": reason}
    try:
        score = metric.score(ours, theirs, seed=_SEED)
    except EvalkitError as error:
        return row | {"status": "not_applicable", "reason": str(error)}
    except Exception as error:  # a plugin's metric must not cost the run its other results
        return row | {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    low, high = score.interval or (None, None)
    numbers = [number for number in (score.value, low, high, score.noise_floor) if number is not None]
    if not all(map(math.isfinite, numbers)):
        reason = f"{metric.spec.id} gave a value that is not finite ({score.value})"
        return row | {"status": "failed", "reason": reason}
    return row | {
        "value": score.value,
        "interval_low": low,
        "interval_high": high,
        "noise_floor": score.noise_floor,
        "n_generated": score.n_generated,
        "n_reference": score.n_reference,
        "protocol": score.protocol,
        "status": "ok",
        "reason": f"{sum(problems.values())} clips without features were left out" if problems else None,
    }
