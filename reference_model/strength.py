"""What the refiner's strength means: noise levels, shared by training and pipeline."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

DRAFT_LOW, DRAFT_HIGH = 0.02, 1.0
REFINER_SIGMAS = (0.5, 3.0)
"""Lowest and highest noise level of sampling. Below 0.5 a further step adds more error than detail (README.md)."""


def draft_sigma(strength: float) -> float:
    """Noise put on the enlarged base clip for a strength in [0, 1]."""
    return DRAFT_LOW * (DRAFT_HIGH / DRAFT_LOW) ** strength


def enlarge(small: Tensor, height: int, width: int) -> Tensor:
    """Small clips (B, T, 3, h, w) in [-1, 1] to the full size, bicubic."""
    big = F.interpolate(
        small.flatten(0, 1), (height, width), mode="bicubic", align_corners=False, antialias=False
    )
    return big.unflatten(0, small.shape[:2]).clamp(-1, 1)
