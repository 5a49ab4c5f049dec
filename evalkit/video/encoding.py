"""Videos to files: lossless for the store, small and playable for the browser."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray

from evalkit.video.clip import Video

__all__ = ["encode_lossless", "recompress"]

# Lossless H.264 in RGB: exact to the bit, in an MP4. `ultrafast` makes files about a sixth larger than slower
# presets and decodes in a third of their time, because it codes without arithmetic coding, which is slow
# at such bit rates (second table of benchmarks/perf/decode.py).
_LOSSLESS_OPTIONS = {"crf": "0", "preset": "ultrafast"}


def encode_lossless(video: Video, path: str | os.PathLike[str]) -> None:
    """Write an MP4 from which `decode` returns exactly this video: same pixels, same rate, same `clip_id`.

    The file appears at `path` whole or not at all (temporary file in the same folder, fsync, rename).
    """

    def write(temporary: Path) -> None:
        with av.open(str(temporary), "w", format="mp4", options={"fflags": "+bitexact"}) as sink:
            stream = sink.add_stream("libx264rgb", rate=video.fps)
            stream.width, stream.height, stream.pix_fmt = video.width, video.height, "rgb24"
            stream.options = _LOSSLESS_OPTIONS
            stream.thread_type = "NONE"
            stream.time_base = stream.codec_context.time_base = 1 / video.fps
            for index, pixels in enumerate(rgb_frames(video)):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base, frame.duration = index, 1 / video.fps, 1
                sink.mux(stream.encode(frame))
            sink.mux(stream.encode())

    write_atomically(Path(path), write)


def recompress(video: Video, *, crf: int = 18) -> Video:
    """The clip after a pass through an ordinary lossy file: H.264, 4:2:0, at quality `crf`; same size and length.

    This is what a site or a messenger does to a clip. x264 with one thread, so the same on every run.
    """
    even = [padded_to_even(frame) for frame in rgb_frames(video)]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as sink:
        stream = sink.add_stream("libx264", rate=video.fps)
        stream.height, stream.width = even[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": str(crf), "preset": "medium"}
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for index, pixels in enumerate(even):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, 1 / video.fps
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r", format="mp4") as source:
        source.streams.video[0].thread_type = "NONE"
        decoded = [frame.to_ndarray(format="rgb24", threads=1) for frame in source.decode(video=0)]
    frames = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)
    return Video(frames[:, :, : video.height, : video.width], video.fps)


def padded_to_even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """4:2:0 needs even sizes; the last row and column are repeated where needed."""
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")


def rgb_frames(video: Video) -> list[NDArray[np.uint8]]:
    """Frames as contiguous `(H, W, 3)` arrays."""
    return [np.ascontiguousarray(frame.permute(1, 2, 0).numpy()) for frame in video.frames.detach().cpu()]


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Run `write` on a new temporary file beside `path`, then move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:32]}.{secrets.token_hex(8)}.part")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
