"""Analytic features straight from pixels: the frames themselves, luma and chroma at a bounded size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from evalkit.errors import EvalkitError
from evalkit.features.protocol import ExtractorSpec, FeatureRequest

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["Frames", "Luma", "bounded_size", "planes_of"]

# Rows: Y, Cb, Cr of full-range BT.601 without the offset of 128.
_BT601 = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)


class Frames:
    """The decoded frames, uint8 `(T, 3, H, W)`, RGB full range, at native size."""

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()
    spec = ExtractorSpec(
        id="frames", version="1", subject="clip", title="decoded frames", preprocessing="none", cached=False
    )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """`{"frames": uint8 (T, 3, H, W)}`, a view of the clip."""
        assert not isinstance(subject, str)
        return {"frames": subject.frames}


class Luma:
    """Luma and chroma (BT.601 on RGB), float32 in 0..255 and -127.5..127.5, reduced to a bounded size.

    Args:
        short_side: the shorter side is reduced to this by area averaging; smaller clips keep their size, since
            enlarging would only invent pixels. 256 is what published video models are most often scored at.
    """

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()

    def __init__(self, short_side: int = 256) -> None:
        if short_side < 16:
            raise EvalkitError(f"luma: short_side is {short_side}; it must be at least 16 pixels")
        self.short_side = short_side

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor."""
        return ExtractorSpec(
            id="luma",
            version="1",
            subject="clip",
            title="luma and chroma",
            preprocessing=f"full-range BT.601 of RGB, float32, area-reduced to a short side of {self.short_side}",
            cached=False,
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """`{"luma": float32 (T, h, w), "chroma": float32 (T, h, w, 2)}`."""
        assert not isinstance(subject, str)
        count, _, height, width = subject.frames.shape
        size = bounded_size(height, width, self.short_side)
        luma, chroma = torch.empty(count, *size), torch.empty(count, *size, 2)
        for index in range(count):  # a frame at a time, so that no third copy of the clip is ever held
            planes = planes_of(subject.frames[index : index + 1], self.short_side)[0]
            luma[index], chroma[index] = planes[..., 0], planes[..., 1:]
        return {"luma": luma, "chroma": chroma}


def bounded_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Size `(h, w)` with the shorter side reduced to `short_side`, never enlarged.

    Example:
        >>> bounded_size(720, 1280, 256)
        (256, 455)
    """
    scale = min(1.0, short_side / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def planes_of(frames: torch.Tensor, short_side: int) -> torch.Tensor:
    """Luma and chroma of uint8 frames `(T, 3, H, W)` as float32 `(T, h, w, 3)`."""
    import cv2

    _, _, height, width = frames.shape
    size = bounded_size(height, width, short_side)
    weights = np.asarray(_BT601, dtype=np.float32)
    result = np.empty((len(frames), *size, 3), dtype=np.float32)
    for index, frame in enumerate(frames.permute(0, 2, 3, 1).numpy()):
        picture = np.ascontiguousarray(frame)
        if size != (height, width):
            picture = cv2.resize(picture.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
        result[index] = cv2.transform(picture.astype(np.float32, copy=False), weights)
    return torch.from_numpy(result)
