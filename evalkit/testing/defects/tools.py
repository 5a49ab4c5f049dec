"""What several defects use: windows in time, soft masks of the subject, smooth noise, blur, warps."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from evalkit.testing.defects.registry import Window

__all__ = [
    "blur",
    "draw",
    "draw_window",
    "event_frame",
    "luma",
    "smooth_noise",
    "subject_mask",
    "warp",
    "wide_blur",
]

_WINDOW_SHARE = 0.4
_WINDOW_MIN = 4
# Motion is looked for at about this many rows: finer costs time, and the mask is soft anyway.
_MASK_SIDE = 80


def draw(generator: torch.Generator, low: float, high: float) -> float:
    """A number between `low` and `high`."""
    return low + (high - low) * torch.rand((), generator=generator).item()


def draw_window(frames: int, generator: torch.Generator, share: float = _WINDOW_SHARE) -> Window:
    """That share of the clip, with at least one clean frame before and after it where there is room."""
    length = min(max(_WINDOW_MIN, round(share * frames)), max(1, frames - 2))
    first = 1 + int(torch.randint(max(1, frames - length - 1), (), generator=generator))
    return first, first + length - 1


def event_frame(frames: int, generator: torch.Generator) -> int:
    """A frame in the middle half of the clip, never the first."""
    low, high = max(1, frames // 4), max(2, 3 * frames // 4)
    return low + int(torch.randint(max(1, high - low), (), generator=generator))


def luma(frames: torch.Tensor) -> torch.Tensor:
    """BT.601 luma of `(..., 3, H, W)`, as `(..., 1, H, W)`, 0..255."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=frames.device)
    return (frames.float() * weights[:, None, None]).sum(-3, keepdim=True)


def blur(frames: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of float `(N, C, H, W)`, standard deviation in pixels, edges repeated."""
    radius = max(1, math.ceil(3 * sigma))
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel /= kernel.sum()
    channels = frames.shape[1]
    padded = F.pad(frames, (radius, radius, radius, radius), mode="replicate")
    across = F.conv2d(padded, kernel.expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(across, kernel[:, None].expand(channels, 1, -1, 1), groups=channels)


def smooth_noise(count: int, height: int, width: int, cell: int, generator: torch.Generator) -> torch.Tensor:
    """Random fields `(count, 1, H, W)` with features of about `cell` pixels, scaled to a maximum of 1."""
    rows, columns = max(2, height // cell + 1), max(2, width // cell + 1)
    coarse = torch.randn((count, 1, rows, columns), generator=generator)
    field = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    return field / field.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-6)


def warp(frames: torch.Tensor, dx: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
    """Sample float `(N, C, H, W)` at `(x + dx, y + dy)` pixels; outside, the edge is repeated.

    Args:
        frames: pictures.
        dx: displacement in pixels, broadcastable to `(N, H, W)`.
        dy: likewise.
    """
    count, _, height, width = frames.shape
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x = (2 * (xs + dx).expand(count, height, width) + 1) / width - 1
    y = (2 * (ys + dy).expand(count, height, width) + 1) / height - 1
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(frames, grid, mode="bilinear", padding_mode="border", align_corners=False)


def subject_mask(frames: torch.Tensor) -> torch.Tensor:
    """Where the subject is: a soft mask `(T, 1, H, W)` in 0..1, best effort, without any network.

    What differs from the clip's median picture moves; smoothed and cut at its top fifth, that is the
    subject where the camera stands still. Where this finds specks all over the frame (a moving camera) or
    nothing (a still clip), an ellipse in the middle stands in.
    """
    count, _, height, width = frames.shape
    small = _reduced(frames.float(), max(1, min(height, width) // _MASK_SIDE))
    background = small.median(dim=0, keepdim=True).values
    change = (small - background).abs().mean(1, keepdim=True)
    rows, columns = change.shape[2:]
    scale = max(1.0, 0.03 * min(rows, columns))
    energy = blur(change, scale)
    threshold = torch.quantile(energy.flatten(1), 0.8, dim=1)[:, None, None, None].clamp_min(2.0)
    mask = (energy > threshold).float()
    if not _is_compact(mask):
        ys, xs = torch.linspace(-1, 1, rows)[:, None], torch.linspace(-1, 1, columns)[None, :]
        mask = ((xs / 0.45) ** 2 + (ys / 0.5) ** 2 <= 1).float()[None, None]
    soft = blur(mask, scale)
    whole = F.interpolate(soft, (height, width), mode="bilinear", align_corners=False)
    return whole.clamp(0, 1).expand(count, 1, height, width)


def wide_blur(frames: torch.Tensor, sigma: float) -> torch.Tensor:
    """`blur` for large `sigma`, at a size where it is cheap."""
    height, width = frames.shape[2:]
    factor = max(1, int(sigma / 3))
    small = blur(_reduced(frames, factor), sigma / factor)
    return F.interpolate(small, (height, width), mode="bilinear", align_corners=False)


def _reduced(frames: torch.Tensor, factor: int) -> torch.Tensor:
    height, width = frames.shape[2:]
    if factor == 1:
        return frames
    return F.interpolate(frames, (max(1, height // factor), max(1, width // factor)), mode="area")


def _is_compact(mask: torch.Tensor) -> bool:
    """The mask covers 1-35% of the clip and most of it lies within one standard deviation box."""
    share = mask.mean().item()
    if not 0.01 <= share <= 0.35:
        return False
    weights = mask.mean(0)[0]
    height, width = weights.shape
    total = weights.sum()
    ys, xs = torch.arange(height)[:, None], torch.arange(width)[None, :]
    cy, cx = (weights * ys).sum() / total, (weights * xs).sum() / total
    spread = ((weights * ((ys - cy) ** 2 + (xs - cx) ** 2)).sum() / total).sqrt()
    # Uniform specks have a spread of about 0.41 of the diagonal's half-square; a subject is tighter.
    return bool(spread < 0.3 * math.hypot(height, width) / math.sqrt(2))
