"""What was set differently: model, settings, environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.compare.types import Difference
from evalkit.runs.store import Run

__all__ = ["differences"]


def differences(runs: Sequence[Run], labels: Sequence[str]) -> tuple[Difference, ...]:
    """Every setting that is not equal in all runs, nested settings by dotted key."""
    areas: dict[str, list[dict[str, str]]] = {
        "model": [
            _flat(run.manifest.model.model_dump(mode="json", exclude={"description", "licence"}))
            for run in runs
        ],
        "settings": [_flat(run.manifest.settings) for run in runs],
        "environment": [_flat(run.manifest.environment) for run in runs],
        "evalkit": [{"version": run.manifest.evalkit_version} for run in runs],
    }
    found = []
    for area, sides in areas.items():
        for key in dict.fromkeys(key for side in sides for key in side):
            values = [side.get(key, "") for side in sides]
            if len(set(values)) > 1:
                found.append(Difference(area, key, dict(zip(labels, values, strict=True))))
    return tuple(found)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= _flat(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item if isinstance(item, str) else json.dumps(item, sort_keys=True)
    return flat
