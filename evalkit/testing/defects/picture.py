"""Defects of the picture: blur, blocks, bands, crushed shadows, noise."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from evalkit.testing.defects.registry import Settings, Window, defect, to_uint8
from evalkit.testing.defects.tools import blur, draw_window

__all__: list[str] = []

Changed = tuple[torch.Tensor, Window | None]


@defect("blur_burst", leaf="visual.blur", title="a stretch of the clip is out of focus")
def _blur_burst(frames: torch.Tensor, settings: Settings) -> Changed:
    first, last = draw_window(len(frames), settings.generator)
    sigma = settings.strength * max(2.0, 0.012 * min(frames.shape[2:]))
    out = frames.clone()
    out[first : last + 1] = to_uint8(blur(frames[first : last + 1].float(), sigma))
    return out, (first, last)


@defect("blocks", leaf="visual.pixelation", title="a stretch of the clip falls apart into compression blocks")
def _blocks(frames: torch.Tensor, settings: Settings) -> Changed:
    """The detail of every block is taken away, as a starved codec does: highest frequencies first.

    Strength is the share of the octaves that is lost, for detail is seen by octaves: along either axis a block keeps
    `size ** (1 - strength)` of its `size` frequencies, and at full strength its mean alone.
    """
    first, last = draw_window(len(frames), settings.generator)
    size = 16 if min(frames.shape[2:]) >= 480 else 8
    along = (size ** (1 - settings.strength) - torch.arange(size)).clamp(0, 1)
    out = frames.clone()
    out[first : last + 1] = to_uint8(
        _filter_blocks(frames[first : last + 1].float(), torch.outer(along, along))
    )
    return out, (first, last)


@defect(
    "sharpness_drift",
    leaf="scene.long_drift",
    title="the picture grows softer and softer",
    localised=False,
)
def _sharpness_drift(frames: torch.Tensor, settings: Settings) -> Changed:
    widest = settings.strength * max(2.0, 0.012 * min(frames.shape[2:]))
    out = frames.clone()
    for place in range(1, len(frames)):
        sigma = widest * place / (len(frames) - 1)
        out[place] = to_uint8(blur(frames[place : place + 1].float(), sigma))[0]
    return out, None


@defect(
    "banding",
    leaf="visual.color",
    title="smooth shades become steps",
    min_frames=1,
    localised=False,
    pixel_monotone=False,
)
def _banding(frames: torch.Tensor, settings: Settings) -> Changed:
    step = 1 + 39 * settings.strength
    return to_uint8((frames / step).round() * step), None


@defect(
    "crushed",
    leaf="visual.color",
    title="dark places of the picture become black",
    min_frames=1,
    localised=False,
)
def _crushed(frames: torch.Tensor, settings: Settings) -> Changed:
    """Black is moved up until, at full strength, it covers half of what the clip shows; white stays white."""
    brightest = frames.amax(1).flatten()
    place = max(1, round(settings.strength / 2 * len(brightest)))
    # What is nearly white cannot become black without white going with it.
    black = min(240.0, float(brightest.kthvalue(place).values))
    return to_uint8((frames - black) * (255 / (255 - black))), None


@defect(
    "noise",
    leaf="visual.distortion",
    title="grain that changes from frame to frame",
    min_frames=1,
    localised=False,
)
def _noise(frames: torch.Tensor, settings: Settings) -> Changed:
    grain = torch.randn(frames.shape, generator=settings.generator)
    return to_uint8(frames + 30 * settings.strength * grain), None


def _filter_blocks(frames: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Weight the cosine coefficients of every block by `kept` `(size, size)`."""
    size = len(kept)
    count, channels, height, width = frames.shape
    rows, columns = -(-height // size), -(-width // size)
    padded = F.pad(frames, (0, columns * size - width, 0, rows * size - height), mode="replicate")
    blocks = padded.reshape(count, channels, rows, size, columns, size).transpose(3, 4)
    basis = _cosines(size)
    coefficients = basis @ blocks @ basis.T
    blocks = basis.T @ (coefficients * kept) @ basis
    whole = blocks.transpose(3, 4).reshape(count, channels, rows * size, columns * size)
    return whole[..., :height, :width]


def _cosines(size: int) -> torch.Tensor:
    """The orthonormal matrix of the discrete cosine transform (type II)."""
    rows = torch.arange(size)[:, None]
    columns = torch.arange(size)[None, :]
    basis = torch.cos(math.pi * (2 * columns + 1) * rows / (2 * size)) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis
