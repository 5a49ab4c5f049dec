"""Motion-compensated differences: can the picture be followed, and does it look the same when it is?"""

from __future__ import annotations

import torch

from evalkit.metrics.functional.flow import inside_mask, occlusion_mask, visible_mask, warp

__all__ = ["coherence", "warp_error"]


def coherence(forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """Share of the picture that can be followed into the next frame and back.

    Of the pixels whose motion stays inside the picture, those that pass the forward-backward check of
    Sundaram et al. (ECCV 2010): `|f + b|^2 <= .01 (|f|^2 + |b|^2) + .5`. Flicker of texture, shapes that
    dissolve and objects that appear from nowhere cannot be followed; motion as fast as a camera records can.

    Args:
        forward, backward: flow as the `flow` feature gives it, `(T-1, 2, h, w)`.

    Returns:
        float64 `(T-1,)` in 0..1; a transition in which everything leaves the picture has 0.
    """
    inside = inside_mask(forward)
    followed = inside & ~occlusion_mask(forward, backward)
    return followed.sum((1, 2)).double() / inside.sum((1, 2)).double().clamp(min=1)


def warp_error(
    frames: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Masked mean squared difference of every frame and its motion-compensated successor.

    Args:
        frames: float32 `(T, h, w)` or `(T, h, w, C)` in 0..1, at the flow's size.
        forward, backward: `(T-1, 2, h, w)`.

    Returns:
        Error float64 `(T-1,)`, averaged over channels and over the pixels that are visible in both frames and
        on no motion boundary; and the share of such pixels, float64 `(T-1,)`. Where there is none the error
        is 0 and so is the share.
    """
    mask = visible_mask(forward, backward)
    squared = (warp(frames[1:], forward) - frames[:-1]).square()
    if squared.ndim == 4:
        squared = squared.mean(-1)
    count = mask.sum((1, 2)).double()
    error = (squared * mask).sum((1, 2), dtype=torch.float64) / count.clamp(min=1)
    return error, count / mask[0].numel()
