"""No-reference measures of single pictures. Every function takes uint8 frames `(T, 3, H, W)`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["banding", "blockiness", "effective_resolution", "exposure", "noise_level", "sharpness"]

# Block sizes of the codecs and networks in use: 8 and 16 pixels.
_BLOCKS = (8, 16)
# A step of two levels between flat areas is seen on a smooth gradient; above 48 (five shades from black to white)
# it is the edge of a thing.
_BAND_STEP, _BAND_RANGE = 2, 48
# Peak signal-to-noise ratio above which a picture is called visually lossless in coding tests.
_LOSSLESS_DB = 42.0


def _lumas(frames: torch.Tensor) -> Iterator[NDArray[Any]]:
    import cv2

    for frame in frames.permute(0, 2, 3, 1).numpy():
        yield cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)


def sharpness(frames: torch.Tensor) -> torch.Tensor:
    """Perceptual sharpness of every frame, 0 (blurred) to 1.

    Crete et al. (SPIE 2007): blurring a sharp picture changes its edges a lot, blurring a blurred one hardly.
    With `s` the absolute Sobel response of luma along one axis, and `b` that of luma box-blurred over 11
    pixels along the same axis, `sharpness = min over axes of sum(max(0, s - b)) / sum(s)`. A frame without
    any edge has 0: there is nothing sharp to be seen.

    Returns:
        float64 `(T,)`.

    Example:
        >>> import torch
        >>> flat = torch.full((1, 3, 32, 32), 7, dtype=torch.uint8)
        >>> edge = flat.clone(); edge[..., 16:, 16:] = 250
        >>> [round(float(value), 1) for value in sharpness(torch.cat([flat, edge]))]
        [0.0, 0.8]
    """
    import cv2

    values = []
    for picture in _lumas(frames):
        luma = picture.astype(np.float32)
        shares = []
        for dx, dy, kernel in ((1, 0, (11, 1)), (0, 1, (1, 11))):
            sharp = np.abs(cv2.Sobel(luma, cv2.CV_32F, dx, dy))
            blurred = np.abs(cv2.Sobel(cv2.blur(luma, kernel), cv2.CV_32F, dx, dy))
            total = float(sharp.sum(dtype=np.float64))
            if total > 0:
                shares.append(float(np.maximum(0, sharp - blurred).sum(dtype=np.float64)) / total)
        values.append(min(shares, default=0.0))
    return torch.tensor(values, dtype=torch.float64)


def blockiness(frames: torch.Tensor) -> torch.Tensor:
    """How much stronger luma steps are on a regular grid than between its lines, float64 `(T,)`, >= 0.

    A step is what the luma changes beyond the mean change on either side. For blocks of 8 and 16 pixels and every
    place of the grid: mean step across the grid's lines over the median of that mean over all places, less 1;
    averaged over both axes, the largest counts. Steps are capped at 16 levels, so that an object's edge that
    happens to lie on the grid cannot pass for one.

    Example:
        >>> import torch
        >>> tiles = 100 + 10 * (torch.arange(64) // 8 % 2).to(torch.uint8)
        >>> tiles = (tiles[:, None] + tiles).expand(1, 3, 64, 64)
        >>> ramp = torch.arange(64, dtype=torch.uint8).expand(1, 3, 64, 64)
        >>> blockiness(tiles).round().item(), blockiness(ramp).item()
        (100.0, 0.0)
    """
    values = []
    for picture in _lumas(frames):
        luma = picture.astype(np.int16)
        best = 0.0
        for block in _BLOCKS:
            excess = []
            for axis in (0, 1):
                change = np.diff(luma, axis=axis).astype(np.float32)
                before, here, after = (
                    change.take(range(k, change.shape[axis] - 2 + k), axis) for k in range(3)
                )
                # What a step has beyond the slope around it: gradients and soft edges have none.
                breaks = np.abs(here - (before + after) / 2)
                steps = np.minimum(breaks, 16).mean(axis=1 - axis, dtype=np.float64)
                usable = len(steps) // block * block
                if usable < 2 * block:
                    continue
                places = steps[:usable].reshape(-1, block).mean(0)
                # A tenth of a level keeps flat pictures, whose steps are rounding, from being divided by nothing.
                excess.append((places.max() - np.median(places)) / (np.median(places) + 0.1))
            if excess:
                best = max(best, float(np.mean(excess)))
        values.append(best)
    return torch.tensor(values, dtype=torch.float64)


def banding(frames: torch.Tensor) -> torch.Tensor:
    """Share of the picture that is a smooth gradient broken into flat steps, float64 `(T,)` in 0..1.

    A pixel counts when its 3x3 neighbourhood is perfectly flat while luma within 13x13 varies by 2 to 48
    levels without passing through the level next to its lowest: a gradient that changes by single levels is as
    smooth as 8 bits allow.

    Example:
        >>> import torch
        >>> ramp = torch.arange(256, dtype=torch.uint8).expand(1, 3, 64, 256)
        >>> banding(ramp).item(), round(banding(ramp // 8 * 8).item(), 2)
        (0.0, 0.74)
    """
    import cv2

    values = []
    near, wide = np.ones((3, 3), np.uint8), np.ones((13, 13), np.uint8)
    for luma in _lumas(frames):
        flat = cv2.dilate(luma, near) == cv2.erode(luma, near)
        top, bottom = cv2.dilate(luma, wide), cv2.erode(luma, wide)
        spread = top.astype(np.int16) - bottom
        # Single-level ramps pass through the level next to the lowest one; broken ones skip it.
        next_level = np.clip(bottom.astype(np.int16) + 1, 0, 255).astype(np.uint8)
        skipped = ~_contains(luma, next_level, wide)
        values.append(
            float((flat & (spread >= _BAND_STEP) & (spread <= _BAND_RANGE) & skipped).mean(dtype=np.float64))
        )
    return torch.tensor(values, dtype=torch.float64)


def _contains(luma: NDArray[Any], level: NDArray[Any], window: NDArray[Any]) -> NDArray[Any]:
    """Whether `level` of a pixel occurs in the window around it."""
    import cv2

    found = np.zeros(luma.shape, bool)
    for value in np.unique(level):
        here = cv2.dilate((luma == value).astype(np.uint8), window) > 0
        found |= here & (level == value)
    return found


def effective_resolution(frames: torch.Tensor) -> torch.Tensor:
    """Smallest share of its own size at which a frame could be stored with nothing visible lost, float64 `(T,)`.

    Frames are reduced (area) and enlarged (cubic) at 1/10, 2/10, ...; the first share with a PSNR of at least 42 dB
    counts. 1 when none suffices.

    Example:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> fine = torch.rand(1, 1, 64, 64, generator=generator).mul(255)
        >>> soft = torch.nn.functional.interpolate(fine[..., :4, :4], size=64, mode="bicubic").clamp(0, 255)
        >>> [effective_resolution(picture.byte().expand(1, 3, 64, 64)).item() for picture in (fine, soft)]
        [1.0, 0.2]
    """
    import cv2

    values = []
    for luma in _lumas(frames):
        height, width = luma.shape
        value = 1.0
        for share in np.arange(1, 10) / 10:
            small = cv2.resize(
                luma,
                (max(1, round(width * share)), max(1, round(height * share))),
                interpolation=cv2.INTER_AREA,
            )
            back = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
            error = np.square(luma.astype(np.float32) - back).mean(dtype=np.float64)
            if error <= 255**2 / 10 ** (_LOSSLESS_DB / 10):
                value = float(share)
                break
        values.append(value)
    return torch.tensor(values, dtype=torch.float64)


def exposure(frames: torch.Tensor) -> torch.Tensor:
    """Share of pixels without detail: luma at most 4 (crushed) or at least 251 (burnt), float64 `(T,)`.

    Example:
        >>> import torch
        >>> exposure(torch.tensor([0, 255, 128, 128], dtype=torch.uint8).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)).item()
        0.5
    """
    shares = [float(((luma <= 4) | (luma >= 251)).mean(dtype=np.float64)) for luma in _lumas(frames)]
    return torch.tensor(shares, dtype=torch.float64)


def noise_level(frames: torch.Tensor) -> torch.Tensor:
    """Standard deviation of additive noise in luma, in levels of 255, float64 `(T,)`.

    Immerkaer (CVIU 1996): a mask that is blind to planes and to their second derivatives along one axis leaves
    noise; its mean absolute response, taken here over the tenth of the picture with the fewest edges, times
    `sqrt(pi / 2) / 6`.

    Example:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> grain = 128 + 5 * torch.randn(1, 1, 128, 128, generator=generator)
        >>> noise_level(grain.round().byte().expand(1, 3, 128, 128)).round().item()
        5.0
    """
    import cv2

    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    values = []
    for picture in _lumas(frames):
        luma = picture.astype(np.float32)
        response = np.abs(cv2.filter2D(luma, cv2.CV_32F, mask))
        smooth = cv2.GaussianBlur(luma, (0, 0), 2.0)
        edges = np.abs(cv2.Sobel(smooth, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
        quiet = edges <= np.quantile(edges, 0.1)
        values.append(float(response[quiet].mean(dtype=np.float64)) * np.sqrt(np.pi / 2) / 6)
    return torch.tensor(values, dtype=torch.float64)
