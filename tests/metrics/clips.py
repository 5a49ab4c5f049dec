"""Small synthetic clips with known motion, shared by the metric tests."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import torch

from evalkit.video import Video

__all__ = ["make_clip", "moving_texture", "texture"]


def texture(height: int, width: int, seed: int = 0, sigma: float = 2.0) -> np.ndarray:
    """Smooth random picture, float32 `(height, width, 3)` in 40..215."""
    noise = np.random.default_rng(seed).standard_normal((height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return 40 + 175 * smooth


def moving_texture(
    num_frames: int = 8, size: int = 64, step: tuple[float, float] = (1.0, 0.0), seed: int = 0
) -> torch.Tensor:
    """uint8 frames of a camera that glides over a texture; content moves by `step` (x, y) pixels a frame."""
    reach = int(np.ceil(num_frames * max(abs(step[0]), abs(step[1])))) + 2
    world = texture(size + 2 * reach, size + 2 * reach, seed)
    frames = []
    for t in range(num_frames):
        shift = np.float32([[1, 0, t * step[0] - reach], [0, 1, t * step[1] - reach]])
        frames.append(cv2.warpAffine(world, shift, (size, size), flags=cv2.INTER_CUBIC))
    return torch.from_numpy(np.stack(frames)).round().clamp(0, 255).to(torch.uint8).permute(0, 3, 1, 2)


def make_clip(frames: torch.Tensor, fps: int = 8) -> Video:
    return Video(frames.contiguous(), Fraction(fps))
