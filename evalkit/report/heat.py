"""Where a clip breaks: the part of each frame that motion does not explain, as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["FULL_SCALE", "warp_error_heat"]

FULL_SCALE = 0.25
"""Difference (of 1) that is drawn in the brightest colour; the same in every clip, so that maps compare."""

_MAX_SIDE = 512


def warp_error_heat(video: Video) -> Video:
    """Colour every pixel by how much it differs from its own place in the frame before.

    Dense inverse search flow (Kroeger et al. 2016) warps the frame before onto each frame; what remains, the
    mean absolute difference over channels, is what motion cannot explain: flicker, morphing, popping. Pixels
    that the frame before does not show are unreliable and drawn at a quarter of the heat. Frame 0 is black.

    Returns:
        A clip of the same length and rate, its longer side at most 512 pixels.
    """
    import cv2
    import torch

    from evalkit.video import Video

    height, width = video.height, video.width
    scale = min(1.0, _MAX_SIDE / max(height, width))
    size = (max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2))
    frames = [
        cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        for frame in video.frames.permute(0, 2, 3, 1).contiguous().numpy()
    ]
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    small = min(size) < 32  # too small for the coarsest scale of the search: differences without motion
    maps = [np.zeros((size[1], size[0], 3), np.uint8)]
    for before, after, grey_before, grey_after in zip(
        frames[:-1], frames[1:], greys[:-1], greys[1:], strict=True
    ):
        back = np.zeros((*grey_after.shape, 2), np.float32)
        weight = np.ones(grey_after.shape, np.float32)
        if not small:
            back = flow_of.calc(grey_after, grey_before, np.zeros_like(back))
            forth = flow_of.calc(grey_before, grey_after, np.zeros_like(back))
            returned = cv2.remap(forth, x + back[..., 0], y + back[..., 1], cv2.INTER_LINEAR)
            mismatch = np.square(back + returned).sum(-1)
            length = np.square(back).sum(-1) + np.square(returned).sum(-1)
            weight[mismatch > 0.01 * length + 0.5] = 0.25
        moved = cv2.remap(
            before,
            x + back[..., 0],
            y + back[..., 1],
            interpolation=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        error = cv2.absdiff(moved, after).mean(axis=2) / 255 * weight
        level = np.clip(error / FULL_SCALE * 255, 0, 255).astype(np.uint8)
        maps.append(cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB))
    return Video(torch.from_numpy(np.stack(maps)).permute(0, 3, 1, 2), video.fps)
