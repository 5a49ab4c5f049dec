"""Picture measures: closed forms, and monotone under their own defect."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.metrics.functional.picture import (
    banding,
    blockiness,
    effective_resolution,
    exposure,
    noise_level,
    sharpness,
)
from tests.metrics.clips import texture


def as_frames(*pictures):
    stacked = np.stack([np.clip(np.rint(picture), 0, 255).astype(np.uint8) for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)


PICTURE = texture(128, 160, seed=4, sigma=1.5)


def strictly_increasing(values):
    return bool((torch.as_tensor(values).diff() > 0).all())


def test_sharpness_falls_with_blur_and_ignores_contrast():
    blurred = [PICTURE, *(cv2.GaussianBlur(PICTURE, (0, 0), sigma) for sigma in (1, 2, 4))]
    values = sharpness(as_frames(*blurred))
    assert strictly_increasing(-values)
    assert 0 <= values.min() <= values.max() <= 1
    halved = sharpness(as_frames(127 + (PICTURE - 127) / 2))
    assert halved.item() == pytest.approx(values[0].item(), abs=0.02)


def test_sharpness_is_the_published_formula():
    """Crete et al. with scipy's filters, which know nothing of OpenCV's."""
    from scipy import ndimage

    frames = as_frames(PICTURE)
    luma = cv2.cvtColor(frames[0].permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY).astype(np.float64)
    shares = []
    for axis in (0, 1):
        blurred = ndimage.uniform_filter1d(luma, 11, axis=axis, mode="mirror")
        sharp, soft = (np.abs(ndimage.sobel(item, axis=axis, mode="mirror")) for item in (luma, blurred))
        shares.append(np.maximum(0, sharp - soft).sum() / sharp.sum())
    assert sharpness(frames).item() == pytest.approx(min(shares), rel=1e-4)


@pytest.mark.parametrize("block", [8, 16])
def test_blockiness_grows_with_block_averaging(block):
    small = cv2.resize(PICTURE, (160 // block, 128 // block), interpolation=cv2.INTER_AREA)
    blocks = cv2.resize(small, (160, 128), interpolation=cv2.INTER_NEAREST)
    mixes = [(1 - share) * PICTURE + share * blocks for share in (0, 0.25, 0.5, 1)]
    values = blockiness(as_frames(*mixes))
    assert strictly_increasing(values)
    assert values[0] < 0.3
    # Cutting the picture moves the grid and nothing else; 3 x 5 pixels are a thirtieth of what there is to see.
    moved = blockiness(as_frames(mixes[2][3:, 5:])).item()
    assert moved == pytest.approx(values[2].item(), rel=0.1)


def test_blockiness_of_jpeg_grows_as_quality_falls():
    frames = []
    for quality in (95, 30, 10):
        _, data = cv2.imencode(".jpg", PICTURE.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
        frames.append(cv2.imdecode(data, cv2.IMREAD_COLOR).astype(np.float32))
    assert strictly_increasing(blockiness(as_frames(*frames)))


def test_banding_sees_steps_and_not_smooth_ramps():
    ramp = np.tile(np.linspace(60, 110, 400, dtype=np.float32)[None, :, None], (64, 1, 3))
    stepped = [np.floor(ramp / step) * step for step in (1, 3, 5)]
    values = banding(as_frames(*stepped, PICTURE[:64, :160].repeat(3, 1)[:, :400]))
    assert values[0] == 0
    # Columns with an edge within 6 pixels and none beside them. Steps of any height count alike.
    for value, picture in zip(values[1:3], stepped[1:], strict=True):
        row = picture[0, :, 0]
        near = [
            np.ptp(row[max(0, at - 6) : at + 7]) > 0 == np.ptp(row[max(0, at - 1) : at + 2])
            for at in range(400)
        ]
        assert value.item() == pytest.approx(np.mean(near), abs=1e-9)
    assert values[3] < 0.02


def test_noise_level_is_the_standard_deviation_of_what_was_added():
    base = texture(160, 160, seed=2, sigma=12)
    rng = np.random.default_rng(0)
    for sigma in (2.0, 5.0, 10.0):
        grain = rng.standard_normal((160, 160, 1)) * sigma
        assert noise_level(as_frames(base + grain)).item() == pytest.approx(sigma, rel=0.12)
    assert noise_level(as_frames(base)).item() < 0.6


def test_effective_resolution_falls_when_a_picture_was_enlarged():
    sharp = texture(128, 128, seed=7, sigma=0.6)
    values = [effective_resolution(as_frames(sharp)).item()]
    for share in (0.5, 0.25):
        side = round(128 * share)
        small = cv2.resize(sharp, (side, side), interpolation=cv2.INTER_AREA)
        values.append(
            effective_resolution(
                as_frames(cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC))
            ).item()
        )
    assert values[0] > values[1] > values[2]


@given(st.lists(st.integers(0, 255), min_size=4, max_size=4))
@settings(max_examples=25, deadline=None)
def test_exposure_counts_pixels(levels):
    frames = torch.tensor(levels, dtype=torch.uint8).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert exposure(frames).item() == sum(level <= 4 or level >= 251 for level in levels) / 4
