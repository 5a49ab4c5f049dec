"""Motion: of the camera, of what moves against it, and how much there is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from evalkit.metrics.functional.flow import piecewise, warp

__all__ = [
    "CameraMotion",
    "camera_class",
    "camera_motion",
    "chain_flow",
    "dynamic_degree",
    "largest_motion",
    "moving_mask",
]

# Points of the flow field that the camera model is fitted to: a grid of about 32 x 32.
_GRID = 32


class CameraMotion(NamedTuple):
    """Global motion of every transition, as the robust fit of a similarity.

    Args:
        shift: `(T-1, 2)`, displacement (x, y) of the picture's centre, in shares of the shorter side.
        zoom: `(T-1,)`, scale; above 1 the picture grows (zoom in).
        roll: `(T-1,)`, rotation in degrees, clockwise on the screen.
        inliers: `(T-1,)`, share of the picture that follows the camera.
        residual: `(T-1, 2, h, w)`, flow that the camera does not explain, in pixels.
    """

    shift: torch.Tensor
    zoom: torch.Tensor
    roll: torch.Tensor
    inliers: torch.Tensor
    residual: torch.Tensor


def camera_motion(flow: torch.Tensor) -> CameraMotion:
    """Fit shift, zoom and roll to a flow field by RANSAC.

    Args:
        flow: `(n, 2, h, w)`, (x, y) in pixels.

    Example:
        >>> import torch
        >>> flow = torch.zeros(1, 2, 32, 48); flow[:, 0] = 3.2
        >>> flow[:, :, 10:16, 10:16] = 0.0  # stands still while the camera pans
        >>> motion = camera_motion(flow)
        >>> motion.shift.round(decimals=2).tolist(), round(motion.zoom.item(), 3), round(motion.inliers.item(), 2)
        ([[0.1, 0.0]], 1.0, 0.98)
    """
    import cv2

    count, _, height, width = flow.shape
    ys = np.linspace(0, height - 1, min(_GRID, height)).round().astype(int)
    xs = np.linspace(0, width - 1, min(_GRID, width)).round().astype(int)
    grid_y, grid_x = np.meshgrid(ys, xs, indexing="ij")
    points = np.stack([grid_x.ravel(), grid_y.ravel()], 1).astype(np.float64)
    all_y, all_x = np.mgrid[0:height, 0:width].astype(np.float32)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    shift, zoom, roll, inliers = (np.zeros((count, 2)), np.ones(count), np.zeros(count), np.zeros(count))
    residual = np.empty((count, 2, height, width), np.float32)
    for t, field in enumerate(flow.numpy()):
        moved = points + field[:, grid_y.ravel(), grid_x.ravel()].T
        # One pixel: twice the error that flow methods have where they work.
        matrix, kept = cv2.estimateAffinePartial2D(
            points, moved, method=cv2.RANSAC, ransacReprojThreshold=1.0, maxIters=500, confidence=0.999
        )
        if matrix is None:
            matrix, kept = np.eye(2, 3), np.zeros(len(points))
        shift[t] = (matrix[:, :2] @ centre + matrix[:, 2] - centre) / min(height, width)
        zoom[t] = np.hypot(matrix[0, 0], matrix[1, 0])
        roll[t] = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
        inliers[t] = np.mean(kept)
        a, b, c = matrix[0].astype(np.float32)
        d, e, f = matrix[1].astype(np.float32)
        residual[t, 0] = field[0] - (a * all_x + b * all_y + c - all_x)
        residual[t, 1] = field[1] - (d * all_x + e * all_y + f - all_y)
    return CameraMotion(*(torch.from_numpy(item) for item in (shift, zoom, roll, inliers, residual)))


def moving_mask(forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """Pixels that move against the camera, `(T, h, w)` bool.

    A pixel moves when its residual `r` to the camera's motion satisfies `|r|^2 > .01 |f|^2 + .5`: the
    tolerance that Sundaram et al. (ECCV 2010) allow a flow vector before they call it inconsistent. A frame
    uses its forward flow, the last one its backward flow.

    Example:
        >>> import torch
        >>> flow = torch.zeros(1, 2, 32, 48); flow[:, 0] = 3.2
        >>> flow[:, :, 10:16, 10:16] = 0.0  # stands still while the camera pans
        >>> moving_mask(flow, -flow).sum((1, 2)).tolist()
        [36, 36]
    """
    return torch.cat([_moving(forward), _moving(backward[-1:])])


@piecewise
def _moving(flow: torch.Tensor) -> torch.Tensor:
    residual = camera_motion(flow).residual
    return residual.square().sum(1) > 0.01 * flow.square().sum(1) + 0.5


# Displacement at the picture's edge over the whole clip, in shares of the short side, below which a camera stands
# still: hand-held sway of a tripod shot stays under it, the slowest wanted moves do not.
_STATIC = 0.04


def camera_class(flow: torch.Tensor) -> str:
    """The camera move that a clip's global motion shows, in the vocabulary of a suite's `expect.camera`.

    Pan and tilt are turns of the camera: panning left moves the picture to the right, tilting up moves it down. A
    roll is named by the picture's own rotation on the screen.

    Args:
        flow: forward flow, `(T-1, 2, h, w)`.

    Returns:
        `static`, `pan_left`, `pan_right`, `tilt_up`, `tilt_down`, `zoom_in`, `zoom_out`, `roll_clockwise` or
        `roll_counterclockwise`.

    Example:
        >>> import torch
        >>> still, right = torch.zeros(2, 2, 2, 32, 48); right[:, 0] = 3.2
        >>> camera_class(still), camera_class(right)
        ('static', 'pan_left')
    """
    motion = camera_motion(flow)
    x, y = (float(total) for total in motion.shift.sum(0))
    # A zoom by s moves the middle of the short edge by (s - 1) / 2 short sides, a roll by an angle a by a / 2.
    zoom = float(motion.zoom.log().sum()) / 2
    roll = float(torch.deg2rad(motion.roll).sum()) / 2
    moves = {
        ("pan_left", "pan_right"): x,
        ("tilt_up", "tilt_down"): y,
        ("zoom_in", "zoom_out"): zoom,
        ("roll_clockwise", "roll_counterclockwise"): roll,
    }
    names, size = max(moves.items(), key=lambda item: abs(item[1]))
    if abs(size) < _STATIC:
        return "static"
    return names[0] if size > 0 else names[1]


def chain_flow(forward: torch.Tensor, step: int) -> torch.Tensor:
    """Flow over `step` frames by following the flow of neighbouring frames: `((T-1) // step, 2, h, w)`.

    Example:
        >>> import torch
        >>> chain_flow(torch.full((4, 2, 4, 4), 1.5), 2)[:, 0, 0, 0].tolist()
        [3.0, 3.0]
    """
    chained = forward[::step][: len(forward) // step].clone()
    for offset in range(1, step):
        following = forward[offset::step][: len(chained)]
        chained += warp(following.permute(0, 2, 3, 1).contiguous(), chained).permute(0, 3, 1, 2)
    return chained


def dynamic_degree(forward: torch.Tensor, fps: float) -> tuple[torch.Tensor, bool]:
    """VBench's question "does anything move?", on any flow.

    Frames are thinned to about 8 a second (every `round(fps / 8)`-th); `r` is the mean of the largest 5% of flow
    magnitudes of a kept transition; the clip moves when at least `round(4 T / 16)` of the T kept frames'
    transitions have `r > 6 min(h, w) / 256`.

    Args:
        forward: flow of neighbouring frames, `(T-1, 2, h, w)`.
        fps: frames a second.

    Returns:
        `r` per kept transition, float64 in pixels, and the verdict.

    Example:
        >>> import torch
        >>> flow = torch.zeros(7, 2, 64, 64); flow[:, 0, :8] = 4.0
        >>> largest, moves = dynamic_degree(flow, 8.0)
        >>> largest[0].item(), moves, dynamic_degree(flow / 4, 8.0)[1]  # 6 * 64 / 256 = 1.5 pixels count
        (4.0, True, False)
    """
    step = min(max(1, round(fps / 8)), len(forward))
    flow = chain_flow(forward, step)
    largest = largest_motion(flow)
    moving = int((largest > 6.0 * min(flow.shape[-2:]) / 256.0).sum())
    return largest, moving >= round(4 * (len(flow) + 1) / 16)


@piecewise
def largest_motion(flow: torch.Tensor) -> torch.Tensor:
    """Mean of the largest 5% of flow magnitudes of every transition, float64 `(n,)` in pixels.

    Example:
        >>> import torch
        >>> flow = torch.zeros(1, 2, 10, 10); flow[0, 0, 0, :5] = 3.0  # 5 of 100 pixels
        >>> largest_motion(flow).item()
        3.0
    """
    magnitude = flow.square().sum(1).sqrt().flatten(1)
    return magnitude.topk(max(1, int(magnitude.shape[1] * 0.05)), dim=1).values.double().mean(1)
