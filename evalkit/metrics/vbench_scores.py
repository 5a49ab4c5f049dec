"""VBench's totals and result files: normalisation, import and export.

Facts from Vchitect/VBench (commit 45e79ec) and its leaderboard: every dimension is scaled from its (min, max) to
0..1; dynamic degree weighs a half; `total = (4 quality + semantic) / 5`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import EvalkitError

__all__ = [
    "NORMALISATION",
    "QUALITY",
    "SEMANTIC",
    "Totals",
    "export_results",
    "read_results",
    "totals",
]

# Smallest and largest value of a dimension on the leaderboard; 0 and 1 where not listed.
NORMALISATION: Mapping[str, tuple[float, float]] = {
    "subject_consistency": (0.1462, 1.0),
    "background_consistency": (0.2615, 1.0),
    "temporal_flickering": (0.6293, 1.0),
    "motion_smoothness": (0.706, 0.9975),
    "scene": (0.0, 0.8222),
    "appearance_style": (0.0009, 0.2855),
    "temporal_style": (0.0, 0.364),
    "overall_consistency": (0.0, 0.364),
}
QUALITY: Mapping[str, float] = {
    "subject_consistency": 1.0,
    "background_consistency": 1.0,
    "temporal_flickering": 1.0,
    "motion_smoothness": 1.0,
    "aesthetic_quality": 1.0,
    "imaging_quality": 1.0,
    "dynamic_degree": 0.5,
}
SEMANTIC: tuple[str, ...] = (
    "object_class",
    "multiple_objects",
    "human_action",
    "color",
    "spatial_relationship",
    "scene",
    "appearance_style",
    "temporal_style",
    "overall_consistency",
)


class Totals(NamedTuple):
    """Scores as the leaderboard shows them, in 0..1."""

    quality: float
    semantic: float
    total: float


def totals(scores: Mapping[str, float]) -> Totals:
    """Quality, semantic and total score of all sixteen raw dimension scores, each in 0..1.

    Raises:
        EvalkitError: a dimension is missing. A total of fewer dimensions is another number; it is not made up.
    """
    missing = [name for name in (*QUALITY, *SEMANTIC) if name not in scores]
    if missing:
        raise EvalkitError(
            f"VBench totals need all sixteen dimensions; missing: {', '.join(missing)}. "
            "Score them (`evalkit metrics show vbench.NAME` says what each needs), or report the single dimensions"
        )

    def scaled(name: str) -> float:
        low, high = NORMALISATION.get(name, (0.0, 1.0))
        return (scores[name] - low) / (high - low)

    quality = sum(weight * scaled(name) for name, weight in QUALITY.items()) / sum(QUALITY.values())
    semantic = sum(scaled(name) for name in SEMANTIC) / len(SEMANTIC)
    return Totals(quality, semantic, (4 * quality + semantic) / 5)


def export_results(dimension: str, clips: Iterable[tuple[str, float]]) -> dict[str, Any]:
    """One dimension as VBench writes it: `{dimension: [overall, [{video_path, video_results}, ...]]}`.

    Args:
        dimension: VBench's name (`temporal_flickering`).
        clips: path and score of every clip.

    Raises:
        EvalkitError: there is no clip.
    """
    scores = list(clips)
    if not scores:
        raise EvalkitError(f"VBench export of {dimension!r}: there is no scored clip to write")
    overall = sum(value for _, value in scores) / len(scores)
    return {dimension: [overall, [{"video_path": path, "video_results": value} for path, value in scores]]}


def read_results(path: Path) -> dict[str, tuple[float, dict[str, float]]]:
    """Read a `{name}_eval_results.json`: dimension to overall score and score by clip.

    Raises:
        EvalkitError: the file is not of that layout; the message says where.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise EvalkitError(f"{path}: not a VBench result file ({error})") from error
    if not isinstance(content, dict):
        raise EvalkitError(f"{path}: expected an object of dimensions, found a {type(content).__name__}")
    result = {}
    for dimension, entry in content.items():
        try:
            overall, rows = entry
            result[dimension] = (
                float(overall),
                {str(row["video_path"]): float(row["video_results"]) for row in rows},
            )
        except (TypeError, ValueError, KeyError) as error:
            raise EvalkitError(
                f"{path}: dimension {dimension!r} is not [overall, [{{video_path, video_results}}]] ({error!r})"
            ) from error
    return result
