"""How large a clip may be: checked from the header before anything is decoded, and again while decoding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from evalkit.errors import VideoLimitExceeded

__all__ = ["DEFAULT_LIMITS", "UNTRUSTED_LIMITS", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on one clip; a clip beyond any of them raises `VideoLimitExceeded`.

    Args:
        max_pixels: pixels of one frame (width times height).
        max_frames: frames.
        max_seconds: duration.
        max_bytes: size of the file on disk.
        max_streams: streams in the container, of any kind.
        max_decoded_bytes: memory of all decoded frames together (3 bytes a pixel).
    """

    max_pixels: int = 4096 * 2304
    max_frames: int = 20_000
    max_seconds: float = 1200.0
    max_bytes: int = 2 << 30
    max_streams: int = 16
    max_decoded_bytes: int = 8 << 30

    def check_file_size(self, path: Path, size: int) -> None:
        if size > self.max_bytes:
            raise VideoLimitExceeded(_message(path, f"{size:,} bytes", "max_bytes", f"{self.max_bytes:,}"))

    def check_streams(self, path: Path, count: int) -> None:
        if count > self.max_streams:
            raise VideoLimitExceeded(_message(path, f"{count} streams", "max_streams", str(self.max_streams)))

    def check_size(self, path: Path, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            what = f"frames of {width}x{height} = {width * height:,} pixels"
            raise VideoLimitExceeded(_message(path, what, "max_pixels", f"{self.max_pixels:,}"))

    def check_length(self, path: Path, frames: int, width: int, height: int) -> None:
        if frames > self.max_frames:
            what = f"{frames:,} frames or more"
            raise VideoLimitExceeded(_message(path, what, "max_frames", f"{self.max_frames:,}"))
        decoded = frames * width * height * 3
        if decoded > self.max_decoded_bytes:
            what = f"{frames:,} frames of {width}x{height}, {decoded:,} bytes once decoded"
            limit = f"{self.max_decoded_bytes:,}"
            raise VideoLimitExceeded(_message(path, what, "max_decoded_bytes", limit))

    def check_duration(self, path: Path, seconds: Fraction | float) -> None:
        if seconds > self.max_seconds:
            what = f"{float(seconds):.1f} seconds"
            raise VideoLimitExceeded(_message(path, what, "max_seconds", f"{self.max_seconds:g}"))


def _message(path: Path, what: str, field: str, limit: str) -> str:
    return f"{path}: {what}, but the limit is {limit}; cut or scale the clip down, or raise Limits.{field}"


DEFAULT_LIMITS = Limits()
"""For files that the user chose: generous, there to stop accidents."""

UNTRUSTED_LIMITS = Limits(
    max_pixels=2048 * 1152,
    max_frames=1_000,
    max_seconds=120.0,
    max_bytes=200 << 20,
    max_streams=4,
    max_decoded_bytes=1 << 30,
)
"""For uploads."""
