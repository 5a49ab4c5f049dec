"""Motion-compensated differences: can the picture be followed, and does it look the same when it is?"""

from __future__ import annotations

import torch

from evalkit.metrics.functional.flow import inside_mask, occlusion_mask, pieces, visible_mask, warp

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

    Example:
        >>> import torch
        >>> still = torch.zeros(1, 2, 8, 8)
        >>> lost = still.clone(); lost[:, 0, :, 4:] = 5.0  # no way back from the right half
        >>> coherence(still, still).item(), coherence(still, lost).item()
        (1.0, 0.5)
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

    Example:
        >>> import torch
        >>> still, frames = torch.zeros(1, 2, 8, 8), torch.full((2, 8, 8), 0.5)
        >>> frames[1] += 0.2
        >>> error, share = warp_error(frames, still, still)
        >>> round(error.item(), 3), share.item()
        (0.04, 1.0)
    """
    errors, counts = [], []
    for part in pieces(len(forward)):
        mask = visible_mask(forward[part], backward[part])
        squared = (warp(frames[1:][part], forward[part]) - frames[:-1][part]).square()
        if squared.ndim == 4:
            squared = squared.mean(-1)
        counts.append(mask.sum((1, 2)).double())
        errors.append((squared * mask).sum((1, 2), dtype=torch.float64) / counts[-1].clamp(min=1))
    return torch.cat(errors), torch.cat(counts) / forward[0, 0].numel()
