"""No-reference measures of single pictures."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["sharpness"]


def sharpness(frames: torch.Tensor) -> torch.Tensor:
    """Perceptual sharpness of every frame, 0 (blurred) to 1.

    Crete et al. (SPIE 2007): blurring a sharp picture changes its edges a lot, blurring a blurred one hardly.
    With `s` the absolute Sobel response of luma along one axis, and `b` that of luma box-blurred over 11
    pixels along the same axis, `sharpness = min over axes of sum(max(0, s - b)) / sum(s)`. A frame without
    any edge has 0: there is nothing sharp to be seen.

    Args:
        frames: uint8 `(T, 3, H, W)`.

    Returns:
        float64 `(T,)`.

    Example:
        >>> import torch
        >>> stripes = torch.zeros(1, 3, 32, 32, dtype=torch.uint8); stripes[..., ::2, :] = 255
        >>> flat = torch.full_like(stripes, 7)
        >>> [round(float(v), 2) for v in sharpness(torch.cat([stripes, flat]))]
        [0.0, 0.0]
    """
    import cv2

    values = []
    for frame in frames.permute(0, 2, 3, 1).numpy():
        luma = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY).astype(np.float32)
        shares = []
        for dx, dy, kernel in ((1, 0, (11, 1)), (0, 1, (1, 11))):
            sharp = np.abs(cv2.Sobel(luma, cv2.CV_32F, dx, dy))
            blurred = np.abs(cv2.Sobel(cv2.blur(luma, kernel), cv2.CV_32F, dx, dy))
            total = float(sharp.sum(dtype=np.float64))
            if total > 0:
                shares.append(float(np.maximum(0, sharp - blurred).sum(dtype=np.float64)) / total)
        values.append(min(shares, default=0.0))
    return torch.tensor(values, dtype=torch.float64)
