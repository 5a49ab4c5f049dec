"""The clips that are spoilt: camera footage where it is at hand, else clips of a rendered world."""

from __future__ import annotations

from pathlib import Path

from benchmarks.validity.people import read_ratings
from benchmarks.validity.scoring import reduced
from evalkit.errors import EvalkitError
from evalkit.video import Video, decode

__all__ = ["study_clips"]


def study_clips(data: Path, count: int, short_side: int, frames: int) -> dict[str, Video]:
    """Camera clips of distinct prompts from the rated set, evenly spread over it.

    Raises:
        EvalkitError: the rated clips are not there.
    """
    rated = data / "rated"
    if not (rated / "ratings.csv").is_file():
        raise EvalkitError(
            f"no rated clips at {rated}: give the folder that holds rated/ with --data or EVALKIT_DATA"
        )
    rows = [row for row in read_ratings(rated, "static_quality") if row["model"] == "gt"]
    step = max(1, len(rows) // count)
    chosen = rows[::step][:count]
    return {row["file"]: reduced(decode(rated / row["file"]), short_side, frames) for row in chosen}
