"""The frame rate of a clip from the timestamps of its frames."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from evalkit.errors import UnsupportedVideo

__all__ = ["MAX_FPS", "MAX_RATE_TERM", "FrameRate", "check_rate", "frame_rate"]

# Containers store a frame rate as two 32-bit integers, and encoders refuse far smaller ones.
MAX_RATE_TERM = 1_000_000
MAX_FPS = 1000

_SIMPLE_DENOMINATOR = 1001


class FrameRate(NamedTuple):
    """fps: frames per second, the mean where they are not even. variable: they are not even."""

    fps: Fraction
    variable: bool


def check_rate(path: Path, fps: Fraction) -> None:
    """Refuse a rate that no camera or model has.

    Raises:
        UnsupportedVideo: outside (0, 1000] frames per second.
    """
    if not 0 < fps <= MAX_FPS or max(fps.numerator, fps.denominator) > MAX_RATE_TERM:
        raise UnsupportedVideo(
            f"{path}: {float(fps):g} frames per second, but 0 to {MAX_FPS} can be scored; the times in the file "
            "are wrong, write them anew, e.g. ffmpeg -r 24 -i IN OUT.mp4"
        )


def frame_rate(
    times: Sequence[int],
    last_duration: int | None,
    time_base: Fraction,
    announced: Sequence[Fraction | None],
) -> FrameRate | None:
    """Frames per second of frames shown at `times`.

    Containers round times to ticks (Matroska: 1 ms), so a rate fits when every frame is within one tick of
    its place. Equal steps on a fine clock are exact by themselves; otherwise the header's rates are tried,
    then the mean rate. A clip that fits none has a variable rate and is given its mean.

    Args:
        times: presentation times in ticks, in the order of presentation.
        last_duration: ticks for which the last frame is shown, where known.
        time_base: seconds in a tick.
        announced: rates from the header, best first.

    Returns:
        None if nothing tells the rate: a single frame without duration.
    """
    candidates = [rate for rate in announced if rate is not None and rate > 0]
    if len(times) == 1:
        if last_duration:
            shown = last_duration * time_base
            # One tick of a coarse clock hides the exact rate, so believe a header that agrees with it.
            for rate in candidates:
                if abs(1 / rate - shown) <= time_base:
                    return FrameRate(_storable(rate), variable=False)
            return FrameRate(_storable(1 / shown), variable=False)
        return FrameRate(_storable(candidates[0]), variable=False) if candidates else None

    steps = [after - before for before, after in itertools.pairwise(times)]
    span = times[-1] - times[0]
    if span <= 0:
        return FrameRate(_storable(candidates[0]), variable=True) if candidates else None
    even = min(steps) == max(steps)
    mean = (len(times) - 1) / (span * time_base)
    # 1 ms is Matroska's clock, which rounds 1/24 s to 42 or 41 ms.
    if even and time_base != Fraction(1, 1000):
        return FrameRate(_storable(mean), variable=False)
    for rate in [*candidates, _simple(mean)]:
        if all(
            abs((time - times[0]) * time_base - index / rate) <= time_base for index, time in enumerate(times)
        ):
            return FrameRate(_storable(rate), variable=False)
    if even:
        return FrameRate(_storable(mean), variable=False)
    if last_duration:
        mean = len(times) / ((span + last_duration) * time_base)
    return FrameRate(_simple(mean), variable=True)


def _simple(fps: Fraction) -> Fraction:
    """The nearest rate with a denominator as small as those of cameras (24000/1001)."""
    return fps.limit_denominator(_SIMPLE_DENOMINATOR)


def _storable(fps: Fraction) -> Fraction:
    """The rate itself, unless its clock is so fine (10 MHz) that its terms fit in no other file."""
    return fps if max(fps.numerator, fps.denominator) <= MAX_RATE_TERM else _simple(fps)
