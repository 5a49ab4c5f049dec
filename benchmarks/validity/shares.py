"""Metrics that are shares: of a mark's bits that are read, and of clips that count as moving."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.validity.scoring import Scorer
from evalkit.errors import NotApplicable
from evalkit.testing.defects import STRENGTHS
from evalkit.video import Video, decode, recompress

__all__ = [
    "CRFS",
    "ShareResponse",
    "faded",
    "generated_clips",
    "marked_by_library",
    "respond",
    "share_responses",
    "slowed",
]

# One for every strength: from hardly visible to what is left of a clip that was passed on too often.
CRFS = (18, 25, 32, 38, 45)
_PAYLOAD = "c0ffee42"
# A mark is read frame by frame, and frames of a clip are alike.
_MARKED_FRAMES = 4
_RESAMPLES = 1000


@dataclass(frozen=True)
class ShareResponse:
    """What the mean of a share over clips does as something gets worse.

    Args:
        values: mean at strength 0 and at every one of `STRENGTHS`.
        without: mean of the same clips without what the metric looks for, or None.
        monotone: Spearman of strength and mean, positive when the share falls.
        interval: 95% of `monotone`, clips resampled.
        clips: how many.
    """

    metric: str
    defect: str
    values: tuple[float, ...]
    without: float | None
    monotone: float
    interval: tuple[float, float]
    clips: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return self.__dict__ | {"values": list(self.values), "interval": list(self.interval)}


def generated_clips(data: Path) -> dict[str, Video]:
    """Beginnings of clips that a model made, large enough to carry a mark; empty where they or the package that marks
    them are not at hand.
    """
    if importlib.util.find_spec("imwatermark") is None:
        return {}
    clips = {path.name: decode(path) for path in sorted((data / "lavie").glob("*.mp4"))}
    return {name: Video(clip.frames[:_MARKED_FRAMES].contiguous(), clip.fps) for name, clip in clips.items()}


def marked_by_library(video: Video) -> Video:
    """The clip with a mark that `invisible-watermark` embeds in every frame."""
    from imwatermark import WatermarkEncoder

    encoder = WatermarkEncoder()
    encoder.set_watermark("bytes", bytes.fromhex(_PAYLOAD))
    # The library's pictures are blue first.
    frames = [
        encoder.encode(np.ascontiguousarray(frame), "dwtDctSvd")
        for frame in video.frames.permute(0, 2, 3, 1).flip(3).numpy()
    ]
    return Video(torch.from_numpy(np.stack(frames)).flip(3).permute(0, 3, 1, 2).contiguous(), video.fps)


def faded(plain: Video, marked: Video, strength: float) -> Video:
    """The marked clip with that share of its mark taken away.

    Args:
        plain: the clip before it was marked.
        marked: the clip with its mark.
        strength: 0 leaves the mark, 1 leaves none of it.
    """
    before, after = plain.frames.float(), marked.frames.float()
    frames = before + (1 - strength) * (after - before)
    return Video(frames.round().clamp(0, 255).to(torch.uint8), plain.fps)


def slowed(video: Video, strength: float) -> Video:
    """The clip's opening, so much slower that the same number of frames shows `1 - strength` of its time.

    Example:
        >>> import torch
        >>> from fractions import Fraction
        >>> clip = Video(torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 3, 2, 2) * 10, Fraction(8))
        >>> slowed(clip, 0.5).frames[:, 0, 0, 0].tolist()
        [0, 5, 10]
    """
    pixels = video.frames.float()
    times = torch.arange(len(pixels)) * (1 - strength)
    first = times.floor().long()
    share = (times - first)[:, None, None, None]
    after = pixels[(first + 1).clamp(max=len(pixels) - 1)]
    frames = pixels[first] + share * (after - pixels[first])
    return Video(frames.round().clamp(0, 255).to(torch.uint8), video.fps)


def share_responses(
    generated: Mapping[str, Video], shots: Mapping[str, Video], scorer: Scorer
) -> Iterator[ShareResponse]:
    """Marks under re-encoding, marks that fade, and motion that slows down.

    Args:
        generated: clips to be marked, at least 256 x 256; none for no marks.
        shots: clips in which something moves.
        scorer: scores clips.
    """
    if generated:
        plain = list(generated.values())
        marked = [marked_by_library(clip) for clip in plain]
        recoded = [[clip, *(recompress(clip, crf=crf) for crf in CRFS)] for clip in marked]
        fading = [
            [after, *(faded(before, after, strength) for strength in STRENGTHS)]
            for before, after in zip(plain, marked, strict=True)
        ]
        read = _reader("provenance.watermark", scorer)
        survived = _reader("provenance.watermark_robustness", scorer)
        # Without any mark is what the fading ends in.
        without = float(np.mean([read(clip) for clip in plain]))
        yield _respond("provenance.watermark", "re-encoded", recoded, read, without)
        yield _respond("provenance.watermark", "faded", fading, read, without)
        left = float(np.mean([survived(clip) for clip in plain]))
        yield _respond("provenance.watermark_robustness", "faded", fading, survived, left)
    if shots:
        slower = [[clip, *(slowed(clip, strength) for strength in STRENGTHS)] for clip in shots.values()]
        moves = _reader("motion.dynamic_degree", scorer, payload=False)
        yield _respond("motion.dynamic_degree", "slowed", slower, moves, None)


def _reader(metric: str, scorer: Scorer, *, payload: bool = True) -> Callable[[Video], float]:
    asked = f"{metric}:payload={_PAYLOAD}" if payload else metric

    def value(clip: Video) -> float:
        found = scorer(clip, [asked])[metric].value
        if found is None:
            raise NotApplicable(f"{metric} gave no value")
        return found

    return value


def _respond(
    metric: str,
    defect: str,
    levels: Sequence[Sequence[Video]],
    score: Callable[[Video], float],
    without: float | None,
) -> ShareResponse:
    table = np.array([[score(clip) for clip in clips] for clips in levels])
    return respond(metric, defect, table, without)


def respond(metric: str, defect: str, table: NDArray[np.float64], without: float | None) -> ShareResponse:
    """A response from the shares of every clip at every strength, `(clips, 1 + strengths)`."""

    def monotone(rows: NDArray[np.float64]) -> float:
        means = rows.mean(0)
        return 0.0 if np.ptp(means) == 0 else float(-spearmanr([0, *STRENGTHS], means).statistic)

    rng = np.random.default_rng(0)
    drawn = [monotone(table[rng.integers(0, len(table), len(table))]) for _ in range(_RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return ShareResponse(
        metric,
        defect,
        tuple(float(mean) for mean in table.mean(0)),
        without,
        monotone(table),
        (float(low), float(high)),
        len(table),
    )
