"""The background with the moving subject filled in, and the size at which that is computed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from evalkit.features.image import background_frames
from evalkit.metrics.functional.motion import moving_mask


def scene(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two frames of smooth texture over which a red square moves, and its flow at a short side of 64."""
    generator = np.random.default_rng(0)
    coarse = generator.uniform(40, 220, (6, 8, 3)).astype(np.float32)
    ground = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([ground, ground]).clip(0, 255).astype(np.uint8)
    side, step = height // 4, height // 16
    for index in range(2):
        frames[index, side : 2 * side, side + step * index : 2 * side + step * index] = (220, 20, 20)
    h, w = 64, round(64 * width / height)
    flow = torch.zeros(1, 2, h, w)
    flow[0, 0, 16:32, 16:32] = 4.0
    back = torch.zeros(1, 2, h, w)
    back[0, 0, 16:32, 20:36] = -4.0
    return torch.from_numpy(frames).permute(0, 3, 1, 2), flow, back


def at_full_size(frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The mean of known pixels around every hole pixel, with the Gaussian of an eighth of the picture, unreduced."""
    known = (1 - hole)[..., None].astype(np.float64)
    sigma = max(hole.shape) / 8
    total = cv2.GaussianBlur(frame * known, (0, 0), sigma)
    weight = cv2.GaussianBlur(known, (0, 0), sigma)[..., None]
    return np.where(hole[..., None] > 0, np.rint(total / weight), frame)


@pytest.mark.parametrize(("height", "width", "levels"), [(128, 160, 0), (288, 384, 1)])
def test_the_filled_in_background_is_that_of_the_full_size(height: int, width: int, levels: int) -> None:
    frames, forward, backward = scene(height, width)
    filled = background_frames(frames, forward, backward)
    mask = moving_mask(forward, backward)
    assert 0.02 < mask.float().mean() < 0.3
    for index in range(2):
        grown = cv2.dilate(mask[index].numpy().astype(np.uint8), np.ones((3, 3), np.uint8))
        hole = cv2.resize(grown, (width, height), interpolation=cv2.INTER_NEAREST)
        expected = at_full_size(frames[index].permute(1, 2, 0).numpy(), hole)
        found = filled[index].permute(1, 2, 0).numpy().astype(np.float64)
        assert np.abs(found - expected).max() <= levels
        assert (found[hole > 0, 0] < 215).all()  # the red square is gone
