"""`VideoInfo`: what a file says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any

__all__ = ["VideoInfo"]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Facts about a file: from its header (`probe`), made exact by decoding (`decode_with_info`).

    Args:
        container: `mp4`, `mov`, `matroska`, `webm`, `gif`, `webp` or `images`.
        codec: FFmpeg's name of the codec, or the image format.
        pix_fmt: FFmpeg's name of the stored pixel format, or Pillow's mode.
        width: pixels of a displayed row, after rotation; before decoding, of a stored row.
        height: rows, likewise.
        fps: frames per second; None where only decoding tells.
        num_frames: frames; None where the header does not say.
        duration: seconds of the video stream; None where the header does not say.
        rotation: clockwise quarter turns in degrees (0, 90, 180, 270) that were applied; None before
            decoding.
        has_alpha: the pixel format has transparency; after decoding, some pixel used it.
        bit_depth: bits per channel as stored.
        variable_frame_rate: frames are not evenly spaced; None where only decoding tells.
        sample_aspect_ratio: shape of a pixel. It is recorded, frames are not stretched.
        colour: `colorspace/range/transfer` codes as stored, so that a conversion can be repeated.
        num_streams: streams of any kind in the container.
        file_bytes: size on disk.
        metadata: tags of the container and of the video stream (`stream:` in front).
        notes: what decoding had to do, one sentence each (rotation, transparency, bit depth...).
    """

    container: str
    codec: str
    pix_fmt: str
    width: int
    height: int
    fps: Fraction | None
    num_frames: int | None
    duration: Fraction | None
    rotation: int | None
    has_alpha: bool
    bit_depth: int
    variable_frame_rate: bool | None
    sample_aspect_ratio: Fraction = Fraction(1)
    colour: str = ""
    num_streams: int = 1
    file_bytes: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values; fractions as `"24000/1001"`."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in _FRACTIONS:
            values[name] = None if values[name] is None else str(values[name])
        return values | {"metadata": dict(self.metadata), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> VideoInfo:
        """What `to_json` gave."""
        restored = dict(values)
        for name in _FRACTIONS:
            restored[name] = None if restored[name] is None else Fraction(restored[name])
        return cls(**restored | {"notes": tuple(restored["notes"])})


_FRACTIONS = ("fps", "duration", "sample_aspect_ratio")
