"""Frames as pipelines return them, checked and turned into a `Video`."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from evalkit.models.protocol import GenerationFailure

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL.Image import Image

    from evalkit.video import Video

__all__ = ["video_from_frames"]

# Rounding of half precision decoders; more than this outside of [0, 1] is another value range.
_SLACK = 1e-2


def video_from_frames(
    frames: np.ndarray[Any, Any] | torch.Tensor | Sequence[Image], fps: Fraction
) -> Video | GenerationFailure:
    """Turn the frames of one clip into a `Video`, or say what is wrong with them.

    Args:
        frames: `(T, H, W, C)` or `(T, C, H, W)` with C of 1, 3 or 4 as an array or tensor, uint8 in 0..255 or floating
            point in [0, 1]; or a list of images of one size. A fourth channel is laid over white.
        fps: frames per second.

    Returns:
        The clip, or a permanent failure: NaN, another range, shape or type.
    """
    import numpy as np
    import torch

    from evalkit.video import Video

    if isinstance(frames, list | tuple) and len(frames) and hasattr(frames[0], "convert"):
        sizes = {image.size for image in frames}
        if len(sizes) > 1:
            return GenerationFailure(f"the model gave frames of different sizes: {sorted(sizes)}")
        frames = np.stack([np.asarray(image.convert("RGB")) for image in frames])
    elif isinstance(frames, list | tuple) and len(frames):
        frames = np.stack([np.asarray(frame) for frame in frames])
    if isinstance(frames, torch.Tensor):
        tensor, is_torch = frames.detach().cpu(), True
    elif isinstance(frames, np.ndarray):
        if frames.dtype.kind not in "uif":
            return GenerationFailure(
                f"the model gave frames of type {frames.dtype}; uint8 or floats in [0, 1] are due"
            )
        tensor, is_torch = torch.from_numpy(np.ascontiguousarray(frames)), False
    else:
        return GenerationFailure(f"the model gave {type(frames).__name__} where frames are due")
    if tensor.ndim != 4 or 0 in tensor.shape:
        return GenerationFailure(f"the model gave frames of shape {tuple(tensor.shape)}; (T, H, W, 3) is due")
    first, last = tensor.shape[1] in (1, 3, 4), tensor.shape[3] in (1, 3, 4)
    if not first and not last:
        return GenerationFailure(
            f"the model gave frames of shape {tuple(tensor.shape)}, in which neither the second nor the last "
            "axis can be colour channels"
        )
    if not (first and (is_torch or not last)):
        tensor = tensor.permute(0, 3, 1, 2)
    checked = _to_uint8(tensor)
    return checked if isinstance(checked, GenerationFailure) else Video(checked, fps)


def _to_uint8(tensor: torch.Tensor) -> torch.Tensor | GenerationFailure:
    """`(T, C, H, W)` of any kind to uint8 `(T, 3, H, W)`."""
    import torch

    if tensor.dtype == torch.uint8:
        unit = tensor.float() / 255 if tensor.shape[1] == 4 else None
    elif tensor.is_floating_point():
        unit = tensor.float()
        bad = ~torch.isfinite(unit)
        if bad.any():
            where = sorted(set(bad.nonzero()[:, 0].tolist()))
            return GenerationFailure(
                f"{int(bad.sum())} of {bad.numel()} pixel values are NaN or infinite, in frames {_short(where)}; "
                "half precision overflows in some decoders: try dtype=bfloat16 or float32"
            )
        low, high = float(unit.min()), float(unit.max())
        if low < -_SLACK or high > 1 + _SLACK:
            return GenerationFailure(
                f"pixel values lie in [{low:.3g}, {high:.3g}]; floats must lie in [0, 1]"
            )
        unit = unit.clamp(0, 1)
    else:
        return GenerationFailure(
            f"the model gave frames of type {tensor.dtype}; uint8 or floats in [0, 1] are due"
        )
    if tensor.shape[1] == 1:
        tensor = tensor.expand(-1, 3, -1, -1)
        unit = None if unit is None else unit.expand(-1, 3, -1, -1)
    elif unit is not None and tensor.shape[1] == 4:
        alpha = unit[:, 3:]
        unit = unit[:, :3] * alpha + (1 - alpha)
    return tensor if unit is None else (unit * 255).round().to(torch.uint8)


def _short(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
