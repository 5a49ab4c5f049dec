"""What is plainly visible in a clip: brightness, change, detail, and whether it flashes.

Measured once on the scored pixels and cached, so that a sentence about a clip never has to guess.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["MAX_FLASHES", "ClipFacts", "count_flashes", "measure"]

MAX_FLASHES = 3
"""Flashes within any one second above which a clip is covered (WCAG 2.2, success criterion 2.3.1)."""

# WCAG 2.2: a general flash is a pair of opposing changes of 10% of the maximum relative luminance where the
# darker image is below 0.80; a red flash is a pair of opposing changes of (R - G - B) * 320 by more than 20.
_LUMINANCE_STEP = 0.10
_BRIGHT = 0.80
_RED_STEP = 20 / 320
# The criterion allows flashing below a quarter of 10 degrees of the visual field; a clip may be shown at any
# size, so a quarter of the picture counts.
_AREA = 0.25
_GRID = 16
_DETAIL_SIDE = 256


@dataclass(frozen=True)
class ClipFacts:
    """Plain measurements of one clip.

    Attributes:
        brightness: `(T,)` mean luma of each frame, 0..1.
        change: `(T-1,)` mean absolute difference of neighbouring frames, 0..1.
        detail: `(T,)` root mean square of the luma's Laplacian, 0..255 scale, longer side at most 256 px.
        flashes: most flashes within any second, over a quarter of the picture.
    """

    brightness: tuple[float, ...]
    change: tuple[float, ...]
    detail: tuple[float, ...]
    flashes: int

    @property
    def flashing(self) -> bool:
        return self.flashes > MAX_FLASHES

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ClipFacts:
        """Rebuild from `to_dict`."""
        series = {name: tuple(data[name]) for name in ("brightness", "change", "detail")}
        return cls(**series, flashes=data["flashes"])


def measure(video: Video) -> ClipFacts:
    """Measure a decoded clip."""
    import cv2

    frames = video.frames.permute(0, 2, 3, 1).contiguous().numpy()
    height, width = frames.shape[1:3]
    scale = min(1.0, _DETAIL_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    brightness, change, detail, cells = [], [], [], []
    for index, frame in enumerate(frames):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        brightness.append(float(grey.mean()) / 255)
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        detail.append(float(np.sqrt(np.square(cv2.Laplacian(small, cv2.CV_32F)).mean())))
        cells.append(cv2.resize(frame, (_GRID, _GRID), interpolation=cv2.INTER_AREA))
        if index:
            change.append(cv2.norm(frame, frames[index - 1], cv2.NORM_L1) / frame.size / 255)
    return ClipFacts(
        brightness=tuple(round(value, 5) for value in brightness),
        change=tuple(round(value, 6) for value in change),
        detail=tuple(round(value, 3) for value in detail),
        flashes=count_flashes(np.stack(cells), video.fps),
    )


def count_flashes(frames: NDArray[np.uint8], fps: Fraction) -> int:
    """Most flashes (general or red, whichever are more) within any one second.

    Args:
        frames: uint8 sRGB `(T, rows, columns, 3)`; every cell stands for an equal part of the picture.
        fps: frame rate.
    """
    linear = frames.astype(np.float64) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    flat = linear.reshape(len(frames), -1, 3)
    luminance = flat @ np.array([0.2126, 0.7152, 0.0722])
    red = np.maximum(flat[..., 0] - flat[..., 1] - flat[..., 2], 0.0)
    window = max(1, math.floor(fps))  # frames whose transitions fall within one second
    general = _opposing_changes(luminance, _LUMINANCE_STEP, _BRIGHT)
    saturated = _opposing_changes(red, _RED_STEP, math.inf)
    return max(_busiest_second(general, window), _busiest_second(saturated, window))


def _opposing_changes(levels: NDArray[np.float64], step: float, bright: float) -> NDArray[np.bool_]:
    """Mark the frames at which a cell has completed a change of `step` against its previous direction.

    A turning point follows the level until it has moved back by `step` (hysteresis), so that slow and noisy
    changes are counted as one.
    """
    marks = np.zeros(levels.shape, dtype=bool)
    extreme = levels[0].copy()
    direction = np.zeros(levels.shape[1])
    for index, level in enumerate(levels[1:], start=1):
        move = level - extreme
        turned = (np.abs(move) >= step) & (np.sign(move) != direction)
        marks[index] = turned & (np.minimum(level, extreme) < bright)
        direction = np.where(turned, np.sign(move), direction)
        follows = turned | (np.sign(move) == direction)
        extreme = np.where(follows, level, extreme)
    return marks


def _busiest_second(marks: NDArray[np.bool_], window: int) -> int:
    total = np.cumsum(marks, axis=0, dtype=np.int64)
    counts = total.copy()
    counts[window:] -= total[:-window]
    pairs = counts // 2
    # The number of flashes that at least a quarter of the picture shows within the same second.
    return int(np.quantile(pairs, 1 - _AREA, axis=1, method="lower").max())
