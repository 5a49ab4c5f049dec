"""What creeps in over a long clip: lost sharpness, a changing look, and borders of the pieces that it was made in."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch

from evalkit.metrics.functional.flow import pieces, visible_mask, warp

__all__ = [
    "ChangeAlongMotion",
    "Seams",
    "brightness_spikes",
    "change_along_motion",
    "change_of_looks",
    "drift_slope",
    "log_colours",
    "looks",
    "periodic_seams",
    "sharpness_drift",
    "spikes",
    "steady_change",
]

# Below this mean absolute difference two frames count as the same: ffmpeg's freezedetect, -60 dB of 255.
_STILL_LEVEL = 0.001 * 255
# The same step from mid-grey, in doublings.
_STILL_DOUBLINGS = math.log2(1 + _STILL_LEVEL / 128)
# Three borders make a period; two spikes always lie at some distance from each other.
_FEWEST_BORDERS = 3
# Side of a cell, in heights of the picture: what is looked at in one glance, the fovea's 2 degrees of the 19 that a
# picture seen from three heights spans.
_CELL = 2 / 19
# Below about this level a display's black and the room's light hide changes (8-bit video black is 16).
_BLACK = 16.0


class ChangeAlongMotion(NamedTuple):
    """Signed change of what is followed from every frame to the next, in cells of a glance.

    Args:
        change: mean over a cell of the change of its visible pixels, 0 for the others, `(T-1, C, rows, columns)`.
        seen: share of every cell that is visible, `(T-1, rows, columns)`.
    """

    change: torch.Tensor
    seen: torch.Tensor


def log_colours(planes: torch.Tensor) -> torch.Tensor:
    """Red, green and blue in doublings, above the level below which a display shows nothing.

    `log2(level + 16)`: to the eye, and to a lens, light multiplies, so that the same change of exposure is the same step
    in dark and bright places.

    Args:
        planes: luma and chroma as the `luma` feature gives them (full-range BT.601), `(..., 3)`.

    Example:
        >>> import torch
        >>> log_colours(torch.tensor([[48.0, 0.0, 0.0], [112.0, 0.0, 0.0]])).round().tolist()  # greys 48 and 112
        [[6.0, 6.0, 6.0], [7.0, 7.0, 7.0]]
    """
    luma, blue, red = planes.unbind(-1)
    colours = torch.stack(
        [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], -1
    )
    return torch.log2(colours.clamp(0, 255) + _BLACK)


def looks(planes: torch.Tensor) -> torch.Tensor:
    """What a place looks like whatever the light: its tint, and the contrast around it, both in doublings.

    Tint: red, green and blue less their mean. Contrast: the standard deviation of each over a glance's square. Light
    multiplies all of them alike, which moves neither; what turns into something else moves one of them, also where
    both are equally bright.

    Args:
        planes: luma and chroma as the `luma` feature gives them, `(T, h, w, 3)`.

    Returns:
        `(T, h, w, 6)`; contrasts are >= 0.

    Example:
        >>> import torch
        >>> stripes = torch.zeros(1, 38, 38, 3); stripes[0, :, ::2, 0], stripes[0, :, 1::2, 0] = 48, 112
        >>> looks(stripes)[0, 19, 19].abs().round(decimals=1).tolist()  # half a doubling about their mean
        [0.0, 0.0, 0.0, 0.5, 0.5, 0.5]
    """
    import cv2

    colours = log_colours(planes)
    side = max(1, round(_CELL * min(colours.shape[1:3])))

    def around(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(cv2.blur(picture, (side, side), borderType=cv2.BORDER_REFLECT))

    contrast = np.empty(colours.shape, np.float32)
    # A variance is a small difference of large numbers.
    for out, picture in zip(contrast, colours.double().numpy(), strict=True):
        out[:] = np.sqrt(np.maximum(around(picture * picture) - around(picture) ** 2, 0))
    return torch.cat([colours - colours.mean(-1, keepdim=True), torch.from_numpy(contrast)], -1)


def change_along_motion(
    pictures: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor
) -> ChangeAlongMotion:
    """How what is followed changes from every frame to the next: `F[t+1](x + f) - F[t](x)`, summed up with its sign.

    What motion leaves over where the flow is a little off goes both ways within a cell and cancels; a change of
    light or look does not.

    Args:
        pictures: `(T, h, w, C)`.
        forward, backward: flow as the `flow` feature gives it, `(T-1, 2, h, w)`.

    Example:
        >>> import torch
        >>> pictures, still = torch.ones(3, 32, 32, 1), torch.zeros(2, 2, 32, 32)
        >>> pictures[2] += 0.5
        >>> found = change_along_motion(pictures, still, still)
        >>> found.change.amax((1, 2, 3)).tolist(), found.seen.min().item()
        ([0.0, 0.5], 1.0)
    """
    height, width = pictures.shape[1:3]
    side = _CELL * min(height, width)
    grid = (max(1, round(height / side)), max(1, round(width / side)))
    changes, shares = [], []
    for part in pieces(len(forward)):
        there, back = forward[part], backward[part]
        after = pictures[part.start + 1 : part.stop + 1].contiguous()
        visible = visible_mask(there, back)[..., None].float()
        change = (warp(after, there).reshape(after.shape) - pictures[part]) * visible
        changes.append(torch.nn.functional.adaptive_avg_pool2d(change.permute(0, 3, 1, 2), grid))
        shares.append(torch.nn.functional.adaptive_avg_pool2d(visible.permute(0, 3, 1, 2), grid)[:, 0])
    return ChangeAlongMotion(torch.cat(changes).double(), torch.cat(shares).double())


def change_of_looks(planes: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor) -> ChangeAlongMotion:
    """`change_along_motion` of `looks`, which are made for a few frames at a time.

    Args:
        planes: luma and chroma as the `luma` feature gives them, `(T, h, w, 3)`.
        forward, backward: flow as the `flow` feature gives it, `(T-1, 2, h, w)`.

    Example:
        >>> import torch
        >>> change_of_looks(torch.ones(3, 32, 32, 3), *torch.zeros(2, 2, 2, 32, 32)).change.shape
        torch.Size([2, 6, 10, 10])
    """
    found = [
        change_along_motion(looks(planes[part.start : part.stop + 1]), forward[part], backward[part])
        for part in pieces(len(forward))
    ]
    return ChangeAlongMotion(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def steady_change(found: ChangeAlongMotion, windows: int) -> float | None:
    """How much of the change a transition goes on in one direction, mean over what is seen.

    In every cell the root of the mean of `c[i] c[j]` over channels and over all pairs of different transitions of the
    same window, which is an unbiased estimate of the square of the mean change: change that comes and goes adds
    nothing to it, however large. The roots' mean, not the mean's root: a cell in which much goes on anyhow does not hide
    what goes on in the others.

    Args:
        found: from `change_along_motion`.
        windows: the clip is cut into so many of equal length; each has at least two transitions.

    Returns:
        In the pictures' unit a transition; None where nothing is visible twice.

    Example:
        >>> import torch
        >>> seen = torch.ones(4, 1, 1)
        >>> fade, flicker = torch.tensor([2.0, 2.0, 2.0, 2.0]), torch.tensor([2.0, -2.0, 2.0, -2.0])
        >>> [steady_change(ChangeAlongMotion(c.reshape(4, 1, 1, 1), seen), 1) for c in (fade, flicker)]
        [2.0, 0.0]
    """
    count = len(found.change)
    products = weights = torch.zeros(found.seen.shape[1:], dtype=torch.float64)
    for place in range(windows):
        part = slice(place * count // windows, (place + 1) * count // windows)
        change, seen = found.change[part], found.seen[part]
        products = products + (change.sum(0).square() - change.square().sum(0)).mean(0)
        weights = weights + seen.sum(0).square() - seen.square().sum(0)
    weights = weights.clamp(min=0)
    total = float(weights.sum())
    # A cell counts by its pairs that are seen: weight x sqrt(products / weight).
    return float((products.clamp(min=0) * weights).sqrt().sum()) / total if total > 0 else None


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
    return _spikes(differences.double(), _STILL_LEVEL)


def brightness_spikes(found: ChangeAlongMotion) -> torch.Tensor:
    """How far the step of brightness in every transition stands out, in doublings, float64 `(T-1,)`, >= 0.

    The spikes of the size of the change, cell by cell, mean over what is visible in all five transitions: what happens by
    itself in one place hides a border there and nowhere else. By chance some cells stand out in every transition, so
    what counts is by how much this mean exceeds the largest of its two neighbours on either side.

    Args:
        found: from `change_along_motion` of one channel, log2 of luma.

    Example:
        >>> import torch
        >>> change = torch.zeros(5, 1, 2, 2); change[2] = math.log2(1.1)
        >>> [round(spike, 1) for spike in brightness_spikes(ChangeAlongMotion(change, torch.ones(5, 2, 2))).tolist()]
        [0.0, 0.0, 5.6, 0.0, 0.0]
    """
    size = found.change[:, 0].abs() / found.seen.clamp(min=1e-3)
    known = -torch.maximum(_around(-found.seen, -1.0), -found.seen)
    standing_out = (_spikes(size, _STILL_DOUBLINGS) * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1e-3)
    return (standing_out - _around(standing_out, 0.0)).clamp(min=0)


def _spikes(change: torch.Tensor, still: float) -> torch.Tensor:
    """Doublings of every value of `(n, ...)` over the largest of the two before and the two after it."""
    return torch.log2((change + still) / (_around(change, 0.0) + still)).clamp(min=0)


def _around(values: torch.Tensor, beyond: float) -> torch.Tensor:
    """Largest of the two values before and the two after every value of `(n, ...)`; `beyond` where the clip ends."""
    outside = values.new_full((2, *values.shape[1:]), beyond)
    padded = torch.cat([outside, values, outside])
    return torch.stack([padded[shift : shift + len(values)] for shift in (0, 1, 3, 4)]).amax(0)


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
