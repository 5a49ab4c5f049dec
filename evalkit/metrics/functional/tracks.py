"""Points followed through a clip: velocity, acceleration, jerk, and the histograms behind FVMD."""

from __future__ import annotations

import math

import torch

__all__ = ["follow", "jerk", "motion_histogram", "motion_vectors"]

# As published with FVMD: cells of 4 frames and 5 x 5 points, 8 directions, magnitudes up to 255 pixels.
_CELL_FRAMES, _CELL_POINTS, _DIRECTIONS, _MAGNITUDES = 4, 5, 8, 256


def follow(forward: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Positions of points that ride on the flow.

    Args:
        forward: flow of neighbouring frames `(n, 2, h, w)`, (x, y) in pixels.
        start: `(points, 2)`, (x, y) in the first frame.

    Returns:
        `(n + 1, points, 2)`; a point that leaves the picture stays at its border.

    Example:
        >>> import torch
        >>> flow = torch.zeros(2, 2, 8, 8); flow[:, 0] = 1.5
        >>> follow(flow, torch.tensor([[2.0, 3.0]]))[:, 0].tolist()
        [[2.0, 3.0], [3.5, 3.0], [5.0, 3.0]]
    """
    _, _, height, width = forward.shape
    corner = torch.tensor([width - 1.0, height - 1.0])
    places = [start.float()]
    for field in forward:
        grid = (2 * places[-1] / corner.clamp(min=1) - 1).reshape(1, 1, -1, 2)
        step = torch.nn.functional.grid_sample(field[None], grid, align_corners=True, padding_mode="border")
        places.append(torch.minimum((places[-1] + step[0, :, 0].T).clamp(min=0), corner))
    return torch.stack(places)


def motion_vectors(positions: torch.Tensor, *, parity: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Velocity and acceleration of tracks, padded with zeros in front so that every frame has one.

    Args:
        positions: `(windows, T, points, 2)`, T >= 3.
        parity: take the "acceleration" from the positions, as the published code does: a copy of the velocity.

    Returns:
        Two tensors of the shape of `positions`.

    Example:
        >>> import torch
        >>> fall = torch.tensor([0.0, 1.0, 4.0, 9.0]).reshape(1, 4, 1, 1)
        >>> [part.flatten().tolist() for part in motion_vectors(fall)]
        [[0.0, 1.0, 3.0, 5.0], [0.0, 0.0, 2.0, 2.0]]
    """
    step = positions[:, 1:] - positions[:, :-1]
    nothing = torch.zeros_like(positions[:, :1])
    change = step[:, 1:] if parity else step[:, 1:] - step[:, :-1]
    return torch.cat([nothing, step], 1), torch.cat([nothing, nothing, change], 1)


def motion_histogram(vectors: torch.Tensor) -> torch.Tensor:
    """Directions of motion, weighted by quantised log magnitude, in cells of 4 frames and 5 x 5 points.

    A vector counts `ceil(log2(min(|v|, 255) + 1)) / 8` in one of eight directions.

    Args:
        vectors: `(windows, T, points, 2)`, (x, y) in pixels; the points form a square grid, row by row.

    Returns:
        float64 `(windows, cells * 8)`.

    Raises:
        ValueError: the points form no square of at least 5 x 5, or there are fewer than 4 frames.

    Example:
        >>> import torch
        >>> right = torch.tensor([1.0, 0.0]).expand(1, 4, 25, 2)
        >>> motion_histogram(right).tolist()  # 100 vectors of length 1 count 1/8 each
        [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 12.5, 0.0]]
    """
    windows, frames, points, _ = vectors.shape
    side = math.isqrt(points)
    rows, times = side // _CELL_POINTS, frames // _CELL_FRAMES
    if side * side != points or not rows or not times:
        raise ValueError(
            f"vectors have {points} points and {frames} frames; expected a square grid of at least "
            f"{_CELL_POINTS} x {_CELL_POINTS} points and {_CELL_FRAMES} frames"
        )
    grid = vectors.double().reshape(windows, frames, side, side, 2)
    grid = grid[:, : times * _CELL_FRAMES, : rows * _CELL_POINTS, : rows * _CELL_POINTS]
    angle = torch.atan2(grid[..., 0], grid[..., 1]) + math.pi
    direction = (angle // (2 * math.pi / _DIRECTIONS)).clamp(0, _DIRECTIONS - 1).long()
    top = math.log2(_MAGNITUDES)
    size = grid.square().sum(-1).sqrt().clamp(max=_MAGNITUDES - 1)
    weight = torch.log2(size + 1).clamp(max=top).ceil() / top
    parted = torch.nn.functional.one_hot(direction, _DIRECTIONS) * weight[..., None]
    cells = parted.reshape(
        windows, times, _CELL_FRAMES, rows, _CELL_POINTS, rows, _CELL_POINTS, _DIRECTIONS
    ).sum((2, 4, 6))
    return cells.reshape(windows, -1)


def jerk(positions: torch.Tensor) -> torch.Tensor:
    """Mean length of the third difference of tracks, float64 `(windows, T-3)`, in the positions' unit.

    Steady motion and steady acceleration have none; shaking by `a` to and fro has `8 a`.

    Args:
        positions: `(windows, T, points, 2)`, T >= 4.

    Example:
        >>> import torch
        >>> shake = torch.tensor([1.0, -1.0, 1.0, -1.0]).reshape(1, 4, 1, 1).expand(1, 4, 1, 2) * torch.tensor([1.0, 0.0])
        >>> jerk(shake).tolist()
        [[8.0]]
    """
    third = positions.double().diff(dim=1).diff(dim=1).diff(dim=1)
    return third.square().sum(-1).sqrt().mean(-1)
