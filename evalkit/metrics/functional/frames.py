"""Differences between frames, without motion compensation."""

from __future__ import annotations

import torch

__all__ = ["frame_differences"]


def frame_differences(frames: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbouring frames.

    `d[t] = mean |F[t+1] - F[t]|` over all pixels and channels. The sums are exact integers, so layout and
    order of summation do not matter.

    Args:
        frames: uint8 `(T, C, H, W)`.

    Returns:
        float64 `(T-1,)` in 0..255.

    Raises:
        ValueError: the frames are not uint8.

    Example:
        >>> import torch
        >>> frame_differences(torch.tensor([0, 3, 1], dtype=torch.uint8).reshape(3, 1, 1, 1)).tolist()
        [3.0, 2.0]
    """
    import cv2

    if frames.dtype != torch.uint8:
        raise ValueError(f"frames are {frames.dtype}; frame differences are defined on uint8 pixels (0..255)")
    # The layout in memory is kept: a copy into another one would cost more than the differences themselves.
    pixels = (frames if frames.is_contiguous() else frames.permute(0, 2, 3, 1)).numpy()
    flat = pixels.reshape(len(pixels), 1, -1)
    sums = [cv2.norm(flat[t], flat[t + 1], cv2.NORM_L1) for t in range(len(flat) - 1)]
    return torch.tensor(sums, dtype=torch.float64) / max(1, flat.shape[-1])
