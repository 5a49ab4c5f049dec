"""Shape and angle of a mask: its outline as a function of angle against the world's shapes, at any rotation."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from reference_model.world.attributes import SHAPES
from reference_model.world.render import ANGLES, outlines

BINS = 72
SYMMETRY = {"circle": 1, "square": 4, "triangle": 3, "star": 5, "heart": 1, "cross": 4}


def profile(cover: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[float, float], float]:
    """Radius by angle (BINS,) of a mask (H, W) scaled to area pi, its centroid (x, y) and its area, in pixels.

    Every pixel is split into 4 x 4, so that small masks fill all bins.
    """
    fine = cover.repeat(4, 0).repeat(4, 1)
    rows, columns = np.nonzero(fine > 0.5)
    x, y = (columns + 0.5) / 4, (rows + 0.5) / 4
    centre = (float(x.mean()), float(y.mean()))
    area = len(x) / 16
    angle = np.arctan2(y - centre[1], x - centre[0]) % (2 * np.pi)
    counts = np.bincount((angle / (2 * np.pi) * BINS).astype(int) % BINS, minlength=BINS) / 16
    radius = np.sqrt(2 * counts / (2 * np.pi / BINS) / (area / np.pi))
    return _smooth(radius), centre, area


def _smooth(radius: NDArray[np.float64]) -> NDArray[np.float64]:
    return (np.roll(radius, 1) + 2 * radius + np.roll(radius, -1)) / 4


@lru_cache(maxsize=1)
def templates() -> NDArray[np.float64]:
    """Profiles (S, BINS) of the upright shapes about their centroids."""
    table = outlines()[0].numpy()
    rows = []
    for row in table:
        size = 240
        grid = (np.arange(size) + 0.5) / size * 4 - 2
        x, y = np.meshgrid(grid, grid)
        index = np.rint(np.arctan2(y, x) % (2 * np.pi) * ANGLES / (2 * np.pi)).astype(int) % ANGLES
        rows.append(profile((np.hypot(x, y) < row[index]).astype(float))[0])
    return np.stack(rows)


def costs(radius: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean squared difference to each shape at its best rotation (S,), and those rotations in radians (S,)."""
    spectrum = np.fft.rfft(templates(), axis=1).conj() * np.fft.rfft(radius)[None]
    match = np.fft.irfft(spectrum, BINS, axis=1)
    best = match.argmax(1)
    cost = (templates() ** 2).mean(1) + (radius**2).mean() - 2 * match.max(1) / BINS
    left, mid, right = (match[np.arange(len(best)), (best + k) % BINS] for k in (-1, 0, 1))
    curve = left - 2 * mid + right
    offset = np.where(np.abs(curve) > 1e-12, 0.5 * (left - right) / np.where(curve == 0, 1, curve), 0)
    return cost, (best + np.clip(offset, -1, 1)) * 2 * np.pi / BINS


def turned(angles: list[float], shape: str) -> float:
    """Total rotation in radians over a list of angles, each known up to the shape's symmetry."""
    period = 2 * np.pi / SYMMETRY[shape]
    steps = np.diff(angles)
    return float(np.sum(steps - period * np.round(steps / period)))


NAMES = tuple(SHAPES)
