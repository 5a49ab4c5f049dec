"""Which clips flash more than three times a second: they can trigger seizures, so pages keep them covered."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.errors import VideoError
from evalkit.report.facts import MAX_FLASHES, measure
from evalkit.report.media import FACTS, read_facts
from evalkit.video import decode

if TYPE_CHECKING:
    from evalkit.runs.store import Run

__all__ = ["hazard", "known_hazards"]


def hazard(path: Path | None) -> int:
    """Most flashes within any one second of a clip that must stay covered; 0 where it may be shown.

    Args:
        path: a preview; None, or a file that cannot be decoded, has nothing that could flash.
    """
    return 0 if path is None else _measured(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4096)
def _measured(path: Path, _stamp: int) -> int:
    try:
        flashes = measure(decode(path)).flashes
    except VideoError:
        return 0
    return flashes if flashes > MAX_FLASHES else 0


def known_hazards(run: Run) -> dict[str, int]:
    """The same for every clip of a run, by clip id, as far as its report or gallery has measured them."""
    path = run.folder / FACTS
    return _known(run.folder, path.stat().st_mtime_ns) if path.is_file() else {}


@lru_cache(maxsize=64)
def _known(folder: Path, _stamp: int) -> dict[str, int]:
    return {clip_id: facts.flashes if facts.flashing else 0 for clip_id, facts in read_facts(folder).items()}
