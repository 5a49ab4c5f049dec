"""Flicker: what alternates from frame to frame and is not explained by motion."""

from __future__ import annotations

import torch

from evalkit.metrics.functional.flow import visible_mask, warp

__all__ = ["alternation", "flicker"]


def alternation(
    luma: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Difference of every inner frame from the mean of its motion-compensated neighbours.

    `a[t] = F[t] - (W F[t-1] + W F[t+1]) / 2`, a second difference along the paths of the flow: a constant, a
    slow drift and any motion that the flow follows give zero, an alternation of +-d gives 2d.

    Args:
        luma: float32 `(T, h, w)`, T >= 3.
        forward, backward: flow as the `flow` feature gives it, `(T-1, 2, h, w)`.

    Returns:
        `a`, float32 `(T-2, h, w)`, and the bool mask of pixels visible in all three frames.
    """
    before = warp(luma[:-2], backward[:-1])
    after = warp(luma[2:], forward[1:])
    mask = visible_mask(backward[:-1], forward[:-1]) & visible_mask(forward[1:], backward[1:])
    return luma[1:-1] - (before + after) / 2, mask


def flicker(luma: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """Mean absolute alternation of the visible pixels, in levels of 255, for every transition.

    Returns:
        float64 `(T-1,)`: a transition has the mean of the alternations of its two frames; a frame of which
        less than a tenth is visible in both neighbours has none of its own.
    """
    difference, mask = alternation(luma, forward, backward)
    weight = mask.sum((1, 2)).double()
    per_frame = (difference.abs() * mask).sum((1, 2), dtype=torch.float64) / weight.clamp(min=1)
    usable = weight >= 0.1 * mask[0].numel()
    if not bool(usable.any()):
        return torch.full((len(luma) - 1,), torch.nan, dtype=torch.float64)
    per_frame = torch.where(usable, per_frame, per_frame[usable].mean())
    padded = torch.cat([per_frame[:1], per_frame, per_frame[-1:]])
    return (padded[1:] + padded[:-1]) / 2
