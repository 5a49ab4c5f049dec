"""Result files of EvalCrafter and T2V-CompBench: read, and written where evalkit has the peer's own formula.

Facts from the peers' code: EvalCrafter (commit 1275bda) logs a file `{metric}_record.txt` whose last line is
`Final average {metric}: {value}, Total videos: {n}`; T2V-CompBench (commit 47622f5) writes a CSV a category with the
clip's number first, the score last, and a last line `score: ,{mean}`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from evalkit.errors import EvalkitError

__all__ = ["PeerScores", "evalcrafter_record", "read_compbench", "read_evalcrafter"]

_CLIP = re.compile(r"Vid: (?P<clip>\S+),\s+Current (?P<metric>\w+): (?P<value>\S+),")
_FINAL = re.compile(r"Final average (?P<metric>\w+): (?P<value>[^,\s]+), Total videos: (?P<count>\d+)")


class PeerScores(NamedTuple):
    """One metric of a peer.

    Args:
        metric: the peer's name for it.
        overall: the mean as the file states it.
        clips: score by clip name.
    """

    metric: str
    overall: float
    clips: dict[str, float]


def evalcrafter_record(metric: str, clips: Iterable[tuple[str, float]]) -> str:
    """The text of `{metric}_record.txt`.

    Args:
        metric: EvalCrafter's name (`clip_temp_score`).
        clips: file name and score of every clip.

    Raises:
        EvalkitError: there is no clip.

    Example:
        >>> print(evalcrafter_record("clip_score", [("0000.mp4", 0.25), ("0001.mp4", 0.75)]), end="")
        Vid: 0000.mp4,  Current clip_score: 0.25, Current avg. clip_score: 0.25
        Vid: 0001.mp4,  Current clip_score: 0.75, Current avg. clip_score: 0.5
        Final average clip_score: 0.5, Total videos: 2
    """
    lines, total, count = [], 0.0, 0
    for count, (name, value) in enumerate(clips, start=1):
        total += value
        lines.append(f"Vid: {name},  Current {metric}: {value!r}, Current avg. {metric}: {total / count!r}")
    if not count:
        raise EvalkitError(f"EvalCrafter export of {metric!r}: there is no scored clip to write")
    lines.append(f"Final average {metric}: {total / count!r}, Total videos: {count}")
    return "\n".join(lines) + "\n"


def read_evalcrafter(path: Path) -> PeerScores:
    """Read a `{metric}_record.txt`.

    Raises:
        EvalkitError: the file is not of that layout, or its last line does not agree with its clips.
    """
    text = _text(path, "an EvalCrafter record")
    final = _FINAL.search(text)
    if final is None:
        raise EvalkitError(
            f"{path}: no line `Final average METRIC: VALUE, Total videos: N`; did EvalCrafter finish?"
        )
    clips = {found["clip"]: _number(path, found["value"]) for found in _CLIP.finditer(text)}
    overall = _number(path, final["value"])
    if len(clips) != int(final["count"]):
        raise EvalkitError(
            f"{path}: the last line counts {final['count']} clips, the file lists {len(clips)}; it was cut or mixed"
        )
    _agree(path, overall, clips)
    return PeerScores(final["metric"], overall, clips)


def read_compbench(path: Path) -> PeerScores:
    """Read a T2V-CompBench result CSV; the metric is the file's name.

    Raises:
        EvalkitError: the file is not of that layout, or its last line does not agree with its clips.
    """
    rows = [row for row in csv.reader(_text(path, "a T2V-CompBench CSV").splitlines()) if row]
    if len(rows) < 3 or not rows[-1][0].strip().lower().startswith("score"):
        raise EvalkitError(
            f"{path}: expected a header, a line a clip and a last line `score: ,MEAN`; is it a T2V-CompBench result?"
        )
    clips = {row[0]: _number(path, row[-1]) for row in rows[1:-1]}
    overall = _number(path, rows[-1][-1])
    _agree(path, overall, clips)
    return PeerScores(path.stem, overall, clips)


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvalkitError(f"{path}: not {what} ({error})") from error


def _number(path: Path, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise EvalkitError(f"{path}: {text!r} is no number") from error


def _agree(path: Path, overall: float, clips: dict[str, float]) -> None:
    mean = sum(clips.values()) / len(clips) if clips else float("nan")
    # Peers print few digits now and then; a missing or doubled clip shows far above this.
    if not abs(mean - overall) <= 1e-4 * max(1.0, abs(overall)):
        raise EvalkitError(f"{path}: states a mean of {overall}, its clips have {mean}; it was cut or edited")
