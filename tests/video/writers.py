"""Files of every kind that the decoder meets, written with PyAV directly, not with evalkit's encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream


def moving_squares(frames: int = 12, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """uint8 `(T, H, W, 3)`: coloured squares that slide to the right by two pixels a frame."""
    squares = np.random.default_rng(seed).integers(
        0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8
    )
    picture = squares.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return np.stack([np.roll(picture, 2 * index, axis=1) for index in range(frames)])


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    fps: Fraction | int = 24,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    container: str = "mp4",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    milliseconds: Sequence[int] | None = None,
    prepare: Callable[[VideoStream], None] = lambda stream: None,
) -> Path:
    """Encode frames `(H, W, 3)` or `(H, W, 4)`; `milliseconds` gives each its own time."""
    time_base = Fraction(1, 1000) if milliseconds else 1 / Fraction(fps)
    with av.open(str(path), "w", format=container, options=container_options or {}) as sink:
        stream = sink.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options, stream.thread_type = pix_fmt, options or {}, "NONE"
        stream.time_base = stream.codec_context.time_base = time_base
        prepare(stream)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")
            frame.pts, frame.time_base = milliseconds[index] if milliseconds else index, time_base
            if not milliseconds:
                frame.duration = 1
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode())
    return path


def rgb_lossless(path: Path, frames: Sequence[np.ndarray], **more: object) -> Path:
    """H.264 in RGB without loss, so that decoded pixels can be compared exactly."""
    return write_video(path, frames, codec="libx264rgb", pix_fmt="rgb24", options={"crf": "0"}, **more)  # type: ignore[arg-type]
