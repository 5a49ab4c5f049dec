"""What creeps in over a long clip: lost sharpness, and borders of the pieces that it was made in."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["Seams", "drift_slope", "periodic_seams", "sharpness_drift", "spikes"]

# Below this mean absolute difference two frames count as the same: ffmpeg's freezedetect, -60 dB of 255.
_STILL_LEVEL = 0.001 * 255
# Three borders make a period; two spikes always lie at some distance from each other.
_FEWEST_BORDERS = 3


def drift_slope(distance: torch.Tensor, seconds: float) -> float:
    """Least-squares slope a second of a distance to the opening window, through 0 at the opening.

    Args:
        distance: `(windows,)`, the first is 0.
        seconds: length of a window.

    Example:
        >>> import torch
        >>> drift_slope(torch.tensor([0.0, 1.0, 2.0]), 2.0)
        0.5
    """
    time = torch.arange(len(distance), dtype=torch.float64) * seconds
    return float((time * distance.double()).sum() / time.square().sum())


def sharpness_drift(sharpness: torch.Tensor, window: int) -> torch.Tensor:
    """Relative change of mean sharpness between every window and the opening one, float64 `(windows,)`, >= 0.

    `|s[w] - s[0]| / max(s[w], s[0])`: 0 is unchanged, 1 is all gone, and losing half counts like gaining double.

    Args:
        sharpness: of every frame, `(T,)`, >= 0.
        window: frames a window; a rest shorter than half of it is left out.

    Example:
        >>> import torch
        >>> sharpness_drift(torch.tensor([0.8, 0.8, 0.4, 0.4]), 2).tolist()
        [0.0, 0.5]
    """
    parts = [part.double().mean() for part in torch.split(sharpness, window) if len(part) * 2 >= window]
    means = torch.stack(parts)
    larger = torch.maximum(means, means[0])
    return torch.where(larger > 0, (means - means[0]).abs() / larger.clamp(min=1e-12), 0.0)


def spikes(differences: torch.Tensor) -> torch.Tensor:
    """How far every transition stands out among its neighbours, in doublings, float64 `(T-1,)`, >= 0.

    `log2((d[t] + e) / (m[t] + e))` where positive; `m` is the largest difference of the two transitions on either
    side, so that neither a burst of motion nor its edge stands out, and `e` keeps still clips from being divided by
    nothing.

    Args:
        differences: mean absolute differences of neighbouring frames in levels of 255, `(T-1,)`.

    Example:
        >>> import torch
        >>> spikes(torch.tensor([2.0, 2.0, 8.0, 2.0, 2.0])).round(decimals=1).tolist()
        [0.0, 0.0, 1.9, 0.0, 0.0]
    """
    change = differences.double()
    padded = torch.nn.functional.pad(change, (2, 2))
    around = torch.stack([padded[shift : shift + len(change)] for shift in (0, 1, 3, 4)]).amax(0)
    return torch.log2((change + _STILL_LEVEL) / (around + _STILL_LEVEL)).clamp(min=0)


class Seams(NamedTuple):
    """Periodic spikes.

    Args:
        strength: of the weakest spike of the best period, in doublings; 0 without any.
        period, phase: the best one: spikes at transitions `phase`, `phase + period`, ...; 0 and 0 without any.
    """

    strength: float
    period: int
    phase: int


def periodic_seams(spike: torch.Tensor, shortest: int = 4) -> Seams:
    """The strongest comb of spikes that is complete: every one of at least three borders stands out.

    The weakest spike speaks for the comb: chance makes one or two transitions stand out, hardly every
    `period`-th of the clip. The best comb has the largest weakest spike times the root of the number of its
    borders: a multiple of the true period leaves borders out, which only choosing among fewer makes stronger.

    Args:
        spike: from `spikes`, `(T-1,)`.
        shortest: frames of the shortest piece that is looked for; 4 is the length of the shortest latent chunk of
            current models.

    Example:
        >>> import torch
        >>> spike = torch.zeros(20); spike[[5, 11, 17]] = torch.tensor([2.0, 3.0, 2.5])
        >>> periodic_seams(spike)
        Seams(strength=2.0, period=6, phase=5)
    """
    count, best, weight = len(spike), Seams(0.0, 0, 0), 0.0
    for period in range(shortest, count // 2 + 1):
        # The first border ends the first piece, which is no longer than the others.
        for phase in range(period):
            comb = spike[phase::period]
            if len(comb) < _FEWEST_BORDERS:
                continue
            weakest = float(comb.min())
            if weakest * len(comb) ** 0.5 > weight:
                best, weight = Seams(weakest, period, phase), weakest * len(comb) ** 0.5
    return best
