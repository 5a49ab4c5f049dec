"""Noise levels of sampling, shared by training and pipeline, and what the refiner's strength means."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor
from torch.nn import functional as F

Amount = TypeVar("Amount", float, Tensor)

DRAFT_LOW, DRAFT_HIGH = 0.02, 1.0
PAINTER_SIGMAS = (2.0, 20.0)
"""Lowest and highest noise level of the painter's sampling: given layout and words, nothing is left to decide below 2, and
what a step there adds is the network's own error (docs/design/0002)."""
REFINER_SIGMAS = (0.5, 3.0)
"""Lowest and highest noise level of sampling. Below 0.5 a further step adds more error than detail (README.md)."""


def draft_sigma(strength: Amount, high: float = DRAFT_HIGH) -> Amount:
    """Noise put on the enlarged base clip for a strength in [0, 1], `high` at 1."""
    return DRAFT_LOW * (high / DRAFT_LOW) ** strength


def enlarge(small: Tensor, height: int, width: int) -> Tensor:
    """Small clips (B, T, 3, h, w) in [-1, 1] to the full size, bicubic."""
    big = F.interpolate(
        small.flatten(0, 1), (height, width), mode="bicubic", align_corners=False, antialias=False
    )
    return big.unflatten(0, small.shape[:2]).clamp(-1, 1)
