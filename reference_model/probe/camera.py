"""Camera motion of a clip from its background pattern: which of the world's moves carries one frame onto a later one."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from reference_model.probe.segment import Segmentation

GAP = 3
RATES = (0.55, 0.75, 0.95)
"""Candidate speeds of pans, in pattern-independent units: the short side is 2 and a clip lasts 1."""
ZOOM_RATES = (0.45, 0.75)


def camera_of(seg: Segmentation) -> str:
    """The camera move that best explains the ground's pattern."""
    frames, height, width = seg.pattern.shape
    if frames <= GAP:
        return "static"
    pattern = torch.from_numpy(seg.pattern).float()
    ground = torch.from_numpy(~seg.mask).float()
    step = GAP / (frames - 1)
    half = min(height, width) / 2
    names, moves = ["static"], [(0.0, 0.0, 1.0)]
    for rate in (0.4, *RATES):
        for name, x, y in (("pan_left", -1, 0), ("pan_right", 1, 0), ("tilt_up", 0, -1), ("tilt_down", 0, 1)):
            names.append(name)
            moves.append((x * rate * step, y * rate * step, 1.0))
    for rate in ZOOM_RATES:
        names += ["zoom_in", "zoom_out"]
        moves += [(0.0, 0.0, float(np.exp(-rate * step))), (0.0, 0.0, float(np.exp(rate * step)))]
    x = (torch.arange(width) + 0.5 - width / 2) / half
    y = (torch.arange(height) + 0.5 - height / 2) / half
    errors = []
    for dx, dy, zoom in moves:
        # The pixel at p in the later frame was at p * zoom + move in the earlier one.
        px, py = torch.meshgrid(
            (x * zoom + dx) * half / (width / 2), (y * zoom + dy) * half / (height / 2), indexing="xy"
        )
        grid = torch.stack([px, py], -1)[None].expand(frames - GAP, -1, -1, -1)
        earlier, later = (
            torch.stack([pattern[:-GAP], ground[:-GAP]], 1),
            torch.stack([pattern[GAP:], ground[GAP:]], 1),
        )
        moved = F.grid_sample(earlier, grid, align_corners=False, padding_mode="zeros")
        inside = moved[:, 1:] * later[:, 1:] * (moved[:, 1:] > 0.9)
        errors.append(
            float((((moved[:, :1] - later[:, :1]) ** 2) * inside).sum() / inside.sum().clamp(min=1))
        )
    return names[int(np.argmin(errors))]
