"""What optical flow is good for: warping, occlusion, and motion-compensated differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec

import numpy as np
import torch

__all__ = [
    "boundary_mask",
    "evalcrafter_error",
    "inside_mask",
    "occlusion_mask",
    "pieces",
    "piecewise",
    "visible_mask",
    "warp",
]

# Transitions at a time. What a formula needs meanwhile is several times the flow itself, and would grow with the clip;
# clips as short as this, as most are, are worked out in one piece.
_PIECE = 16
_P = ParamSpec("_P")


def pieces(count: int) -> Iterator[slice]:
    """Slices of a few of `count` transitions each, in order, for formulas that look at each transition by itself.

    Example:
        >>> list(pieces(20))
        [slice(0, 16, None), slice(16, 20, None)]
    """
    return (slice(start, min(start + _PIECE, count)) for start in range(0, count, _PIECE))


def piecewise(formula: Callable[_P, torch.Tensor]) -> Callable[_P, torch.Tensor]:
    """The same formula of tensors `(n, ...)`, worked out for a few of the n at a time and joined.

    Example:
        >>> import torch
        >>> bool((piecewise(torch.neg)(torch.arange(40)) == -torch.arange(40)).all())
        True
    """

    @wraps(formula)
    def worked_out(*fields: _P.args, **named: _P.kwargs) -> torch.Tensor:
        count = len(fields[0])  # type: ignore[arg-type]
        if count <= _PIECE:
            return formula(*fields, **named)
        return torch.cat([formula(*(field[part] for field in fields), **named) for part in pieces(count)])  # type: ignore[index]

    return worked_out


def warp(pictures: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Look every pixel of the current frame up in another frame, bilinearly.

    `out[x] = pictures[x + flow(x)]`; outside the picture the border is repeated.

    Args:
        pictures: float32 `(n, h, w)` or `(n, h, w, C)`.
        flow: float32 `(n, 2, h, w)`, (x, y) in pixels.

    Example:
        >>> import torch
        >>> row = torch.arange(4.0).reshape(1, 1, 4)
        >>> step = torch.zeros(1, 2, 1, 4); step[:, 0] = 1.0
        >>> warp(row, step).flatten().tolist()
        [1.0, 2.0, 3.0, 3.0]
    """
    import cv2

    _, _, height, width = flow.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    moved = np.empty(pictures.shape, np.float32)
    for out, picture, step in zip(moved, pictures.numpy(), flow.numpy(), strict=True):
        out[:] = cv2.remap(
            picture, x + step[0], y + step[1], interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).reshape(out.shape)
    return torch.from_numpy(moved)


def _look_up(field: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    return warp(field.permute(0, 2, 3, 1).contiguous(), flow).permute(0, 3, 1, 2)


@piecewise
def occlusion_mask(flow: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """Pixels of the current frame that the other frame's flow does not lead back to, bool `(n, h, w)`.

    Sundaram et al. (ECCV 2010): with `b` the other frame's flow looked up at the end of `f`, a pixel is
    occluded where `|f + b|^2 > .01 (|f|^2 + |b|^2) + .5`.

    Args:
        flow: from the current to the other frame, `(n, 2, h, w)`, in pixels.
        back: from the other to the current frame, `(n, 2, h, w)`.

    Example:
        >>> import torch
        >>> right = torch.zeros(1, 2, 4, 8); right[:, 0] = 2.0
        >>> occlusion_mask(right, -right).any().item(), occlusion_mask(right, right).all().item()
        (False, True)
    """
    returned = _look_up(back, flow)
    mismatch = (flow + returned).square().sum(1)
    return mismatch > 0.01 * (flow.square().sum(1) + returned.square().sum(1)) + 0.5


@piecewise
def inside_mask(flow: torch.Tensor) -> torch.Tensor:
    """Pixels whose motion ends inside the picture, bool `(n, h, w)`.

    Example:
        >>> import torch
        >>> right = torch.zeros(1, 2, 4, 8); right[:, 0] = 2.0
        >>> inside_mask(right)[0, 0].int().tolist()
        [1, 1, 1, 1, 1, 1, 0, 0]
    """
    _, _, height, width = flow.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    end_x, end_y = x + flow[:, 0], y + flow[:, 1]
    return (end_x >= 0) & (end_x <= width - 1) & (end_y >= 0) & (end_y <= height - 1)


@piecewise
def boundary_mask(flow: torch.Tensor) -> torch.Tensor:
    """Pixels on a motion boundary: `|grad u|^2 + |grad v|^2 > .01 |f|^2 + .002`, bool `(n, h, w)`.

    Example:
        >>> import torch
        >>> flow = torch.zeros(1, 2, 4, 8); flow[:, 0, :, 4:] = 2.0
        >>> boundary_mask(flow)[0, 0].int().tolist()
        [0, 0, 0, 1, 0, 0, 0, 0]
    """
    size = flow.square().sum(1)
    slope = torch.zeros_like(size)
    slope[:, :, :-1] += (flow[:, :, :, 1:] - flow[:, :, :, :-1]).square().sum(1)
    slope[:, :-1] += (flow[:, :, 1:] - flow[:, :, :-1]).square().sum(1)
    return slope > 0.01 * size + 0.002


def visible_mask(flow: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """Pixels of the current frame that the other frame shows too, away from motion boundaries, bool `(n, h, w)`.

    What is occluded, lies on a motion boundary or leaves the picture is out: there, warped differences say
    nothing about flicker.

    Example:
        >>> import torch
        >>> flow = torch.zeros(1, 2, 4, 8); flow[:, 0, :, 4:] = 2.0
        >>> visible_mask(flow, -flow)[0, 0].int().tolist()
        [1, 1, 1, 0, 1, 1, 0, 0]
    """
    return inside_mask(flow) & ~occlusion_mask(flow, back) & ~boundary_mask(flow)


@piecewise
def evalcrafter_error(
    first: torch.Tensor, second: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor
) -> torch.Tensor:
    """EvalCrafter's warping error: squared differences, summed over channels, a visible pixel.

    Visible: passes the forward-backward check and lies on no motion boundary; what leaves the picture counts against
    the border. Where nothing is visible the error is 0, as published.

    Args:
        first, second: float32 `(n, 3, h, w)` in 0..1.
        forward: flow from first to second, `(n, 2, h, w)`.
        backward: flow from second to first.

    Returns:
        float64 `(n,)`.

    Example:
        >>> import torch
        >>> grey, still = torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, 2, 4, 4)
        >>> round(evalcrafter_error(grey, grey + 0.1, still, still).item(), 4)
        0.03
    """
    hidden = occlusion_mask(forward, backward) | boundary_mask(forward)
    warped = _look_up(second, forward)
    squared = (warped - first).square().sum(1) * ~hidden
    seen = (~hidden).sum((1, 2)).double()
    return squared.sum((1, 2), dtype=torch.float64) / torch.where(seen > 0, seen, 1.0)
