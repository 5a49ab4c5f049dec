"""Long clips: overlapping windows of frames whose estimates are blended at every denoising step.

After Bar-Tal et al., "MultiDiffusion" (arXiv:2302.08113): all windows share one noisy clip, so a border has nothing
to jump between.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WINDOW = 16
OVERLAP = 6


def windows(num_frames: int, size: int = WINDOW, overlap: int = OVERLAP) -> list[tuple[int, int]]:
    """(first, one past the last) frames of windows that cover a clip; all but a short clip's have `size` frames."""
    if num_frames <= size:
        return [(0, num_frames)]
    starts = list(range(0, num_frames - size, size - overlap))
    return [(start, start + size) for start in [*starts, num_frames - size]]


def blended(num_frames: int, estimate: Callable[[int, int], Tensor]) -> Tensor:
    """Joins `estimate(first, end)` (B, end - first, ...) of all windows, cross-fading where they overlap."""
    spans = windows(num_frames)
    if len(spans) == 1:
        return estimate(0, num_frames)
    total: Tensor | None = None
    weights = torch.zeros(num_frames)
    for first, end in spans:
        part = estimate(first, end)
        ramp = (
            torch.arange(1, end - first + 1)
            .minimum(torch.arange(end - first, 0, -1))
            .clamp(max=OVERLAP)
            .float()
        )
        ramp = ramp.to(part.device)
        if total is None:
            total = part.new_zeros(part.shape[0], num_frames, *part.shape[2:])
        total[:, first:end] += part * ramp.view(1, -1, *([1] * (part.ndim - 2)))
        weights[first:end] += ramp.cpu()
    assert total is not None
    return total / weights.to(total.device).view(1, -1, *([1] * (total.ndim - 2)))
