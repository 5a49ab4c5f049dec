"""Numbers with intervals, and the small statistics of the card."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm


class Share(NamedTuple):
    """Hits of a count, with Wilson's 95% interval."""

    hits: int
    count: int

    @property
    def value(self) -> float:
        """Hits over count."""
        return self.hits / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson (1927), 95%."""
        z = float(norm.ppf(0.975))
        p, n = self.value, self.count
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.2f} [{low:.2f}, {high:.2f}]"


def tally(rows: Sequence[Mapping[str, bool]]) -> dict[str, Share]:
    """Shares per attribute over clips."""
    names = sorted({name for row in rows for name in row})
    return {
        name: Share(sum(row[name] for row in rows if name in row), sum(name in row for row in rows))
        for name in names
    }


def frechet(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Frechet distance of two sets of features (N, D) taken as Gaussians."""
    mean = first.mean(0) - second.mean(0)
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()
    return float(mean @ mean + np.trace(a) + np.trace(b) - 2 * cross)


def principal(
    reference: NDArray[np.float64], dimensions: int = 32
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and leading directions (D, dimensions) of the reference, so that few clips can fill a covariance."""
    centre = reference.mean(0)
    _, _, rows = np.linalg.svd(reference - centre, full_matrices=False)
    return centre, rows[:dimensions].T


def bootstrap(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """2.5th and 97.5th percentile."""
    low, high = np.quantile(np.asarray(values), [0.025, 0.975])
    return float(low), float(high)


def sharpness(clip: NDArray[np.uint8]) -> float:
    """Mean absolute Laplacian of the luma, clip uint8 (T, H, W, 3)."""
    gray = clip.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    inner = gray[:, 1:-1, 1:-1]
    around = gray[:, :-2, 1:-1] + gray[:, 2:, 1:-1] + gray[:, 1:-1, :-2] + gray[:, 1:-1, 2:]
    return float(np.abs(4 * inner - around).mean())


def change(clip: NDArray[np.uint8]) -> float:
    """Mean absolute difference of neighbouring frames, 0 to 255."""
    return float(np.abs(np.diff(clip.astype(np.float64), axis=0)).mean())


def flicker(clip: NDArray[np.uint8]) -> float:
    """Mean absolute second difference in time: what comes and goes, motion at constant speed mostly left out."""
    return float(np.abs(np.diff(clip.astype(np.float64), n=2, axis=0)).mean())
