"""The frame rate of a clip from the timestamps of its frames."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

__all__ = ["FrameRate", "frame_rate"]

_MEAN_RATE_DENOMINATOR = 1001


class FrameRate(NamedTuple):
    """fps: frames per second, the mean where they are not even. variable: they are not even."""

    fps: Fraction
    variable: bool


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
                    return FrameRate(rate, variable=False)
            return FrameRate(1 / shown, variable=False)
        return FrameRate(candidates[0], variable=False) if candidates else None

    steps = [after - before for before, after in itertools.pairwise(times)]
    span = times[-1] - times[0]
    if span <= 0:
        return FrameRate(candidates[0], variable=True) if candidates else None
    even = min(steps) == max(steps)
    mean = (len(times) - 1) / (span * time_base)
    # 1 ms is Matroska's clock, which rounds 1/24 s to 42 or 41 ms.
    if even and time_base != Fraction(1, 1000):
        return FrameRate(mean, variable=False)
    for rate in [*candidates, mean.limit_denominator(_MEAN_RATE_DENOMINATOR)]:
        if all(
            abs((time - times[0]) * time_base - index / rate) <= time_base for index, time in enumerate(times)
        ):
            return FrameRate(rate, variable=False)
    if even:
        return FrameRate(mean, variable=False)
    if last_duration:
        mean = len(times) / ((span + last_duration) * time_base)
    return FrameRate(mean.limit_denominator(_MEAN_RATE_DENOMINATOR), variable=True)
