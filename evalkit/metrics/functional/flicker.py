"""Flicker: brightness, colour and texture that alternate where motion does not explain it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from evalkit.metrics.functional.flow import pieces, visible_mask, warp

__all__ = ["Flicker", "alternation", "flicker", "local_statistics"]

# Scale of "local", in pixels of a picture 256 high. Watched from three picture heights such a picture spans
# 19 degrees, so a Gaussian of sigma 3 (about 8 pixels wide) gathers one period of 1.7 cycles a degree and
# more: the frequencies to which the eye is most sensitive, and too wide to see the noise of single pixels.
_SIGMA = 3.0
# Half a step of 8-bit quantisation either way; keeps the contrast of a flat picture from being divided by 0.
_CONTRAST_FLOOR = 1.0
# Below about this luma a display's black level and the room's light hide changes (8-bit video black is 16).
_LUMA_FLOOR = 16.0
# Less than this share of a clip's pixels seen in three frames running is too little to speak of.
_MIN_VISIBLE = 0.01


class Flicker(NamedTuple):
    """Amplitude of alternation, in percent of the picture's own mean.

    Args:
        value: brightness + colour + texture over the whole clip; NaN where under 1% of it can be followed.
        brightness, colour: of local luma and chroma, in percent of the mean luma.
        texture: of local contrast, in percent of the mean contrast.
        per_transition: the value for every transition, float64 `(T-1,)`.
    """

    value: float
    brightness: float
    colour: float
    texture: float
    per_transition: torch.Tensor


def local_statistics(luma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Local mean and local contrast (standard deviation) of luma, each float32 `(T, h, w)`.

    Example:
        >>> import torch
        >>> stripes = torch.tensor([0.0, 20.0]).repeat(1, 16, 8)
        >>> [round(plane[0, 8, 8].item()) for plane in local_statistics(stripes)]
        [10, 10]
    """
    mean = _blur(luma)
    contrast = (_blur(luma * luma) - mean * mean).clamp(min=0).sqrt()
    return mean, contrast


def _blur(pictures: torch.Tensor) -> torch.Tensor:
    import cv2

    blurred = [cv2.GaussianBlur(picture, (0, 0), _SIGMA) for picture in pictures.numpy()]
    return torch.from_numpy(np.stack(blurred))


def alternation(pictures: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """Amplitude of the alternation of every inner frame against its motion-compensated neighbours.

    `a[t] = |F[t] - (W F[t-1] + W F[t+1]) / 2| / 2`: a constant, a steady fade and any motion that the flow
    follows give zero, an alternation of +-d gives d.

    Args:
        pictures: float32 `(T, h, w)` or `(T, h, w, C)`, T >= 3.
        forward, backward: flow as the `flow` feature gives it, `(T-1, 2, h, w)`.

    Returns:
        float32 `(T-2, h, w[, C])`.

    Example:
        >>> import torch
        >>> luma, still = torch.full((4, 16, 16), 100.0), torch.zeros(3, 2, 16, 16)
        >>> luma[1::2] += 10  # brighter by 10 every other frame: 5 around the mean
        >>> alternation(luma, still, still)[:, 8, 8].tolist()
        [5.0, 5.0]
    """
    before = warp(pictures[:-2], backward[:-1])
    after = warp(pictures[2:], forward[1:])
    return (pictures[1:-1] - (before + after) / 2).abs() / 2


def flicker(
    luma: torch.Tensor, chroma: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor
) -> Flicker:
    """Alternation of brightness, colour and texture over the pixels that three frames in a row show.

    Args:
        luma: float32 `(T, h, w)` in 0..255, T >= 3.
        chroma: float32 `(T, h, w, 2)`, differences from gray on the same scale.
        forward, backward: flow, `(T-1, 2, h, w)`.

    Example:
        >>> import torch
        >>> luma, still = torch.full((4, 16, 16), 100.0), torch.zeros(3, 2, 16, 16)
        >>> luma[1::2] += 10
        >>> result = flicker(luma, torch.zeros(4, 16, 16, 2), still, still)
        >>> round(result.brightness, 2), result.colour  # 5 of a mean of 105, and 16 below which nothing is seen
        (4.13, 0.0)
    """
    columns, seen = [], []
    for part in pieces(len(luma) - 2):
        # A frame needs its neighbours: frames part - 1 to part + 1, and the flow on either side.
        frames, between = slice(part.start, part.stop + 2), slice(part.start, part.stop + 1)
        column, pixels = _sums(luma[frames], chroma[frames], forward[between], backward[between])
        columns.append(column)
        seen.append(pixels)
    sums, visible = torch.cat(columns, 1), torch.cat(seen)
    size = luma[0].numel()
    brightness, colour, texture = _percent(sums.sum(1))
    value = (
        brightness + colour + texture if visible.sum() >= _MIN_VISIBLE * size * len(visible) else torch.nan
    )
    per_frame = torch.stack(
        [sum(_percent(column)) + torch.zeros((), dtype=torch.float64) for column in sums.T]
    )
    # A frame that cannot be followed says nothing of its own; it gets the clip's value.
    per_frame = torch.where(
        visible >= _MIN_VISIBLE * size, per_frame, torch.tensor(value, dtype=torch.float64)
    )
    padded = torch.cat([per_frame[:1], per_frame, per_frame[-1:]])
    return Flicker(value, brightness, colour, texture, (padded[1:] + padded[:-1]) / 2)


def _sums(
    luma: torch.Tensor, chroma: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every inner frame: the five sums that flicker is made of, `(5, T-2)`, and its visible pixels `(T-2,)`."""
    mask = visible_mask(backward[:-1], forward[:-1]) & visible_mask(forward[1:], backward[1:])
    mean, contrast = local_statistics(luma)
    local_chroma = torch.stack([_blur(chroma[..., channel].contiguous()) for channel in range(2)], -1)
    sums = torch.stack(
        [
            _masked_sum(alternation(mean, forward, backward), mask),
            _masked_sum(alternation(local_chroma, forward, backward).square().sum(-1).sqrt(), mask),
            _masked_sum(alternation(contrast, forward, backward), mask),
            _masked_sum(mean[1:-1] + _LUMA_FLOOR, mask),
            _masked_sum(contrast[1:-1] + _CONTRAST_FLOOR, mask),
        ]
    )
    return sums, mask.sum((1, 2)).double()


def _masked_sum(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (values * mask).sum((1, 2), dtype=torch.float64)


def _percent(sums: torch.Tensor) -> tuple[float, float, float]:
    brightness, colour, texture, luma, contrast = (float(item) for item in sums)
    luma, contrast = max(luma, 1e-12), max(contrast, 1e-12)
    return 100 * brightness / luma, 100 * colour / luma, 100 * texture / contrast
