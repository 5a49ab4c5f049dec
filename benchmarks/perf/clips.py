"""Clips to measure on, made here: texture that pans, with some grain, as ordinary H.264."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

__all__ = ["scene", "write_clip", "write_clips"]


def _frames(frames: int, height: int, width: int, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    canvas = np.zeros((height, width + 3 * frames, 3), np.float32)
    for cell in (64, 16, 4):
        rows, columns = height // cell + 2, canvas.shape[1] // cell + 2
        coarse = generator.normal(0, cell / 2 + 4, (rows, columns, 3)).astype(np.float32)
        canvas += cv2.resize(coarse, canvas.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    for index in range(frames):
        grain = generator.normal(0, 1.5, (height, width, 1))
        yield np.clip(canvas[:, 3 * index : 3 * index + width] + grain + 128, 0, 255).astype(np.uint8)


def scene(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 `(T, H, W, 3)`: texture at several scales that pans by three pixels a frame, and some grain."""
    return np.stack(list(_frames(frames, height, width, seed)))


def write_clip(path: Path, frames: int, height: int, width: int, seed: int = 0, fps: int = 8) -> Path:
    """One clip as H.264 4:2:0, crf 23."""
    with av.open(str(path), "w", format="mp4") as sink:
        stream = sink.add_stream("libx264", rate=fps)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options, stream.thread_type = {"crf": "23", "preset": "veryfast"}, "NONE"
        for pixels in _frames(frames, height, width, seed):
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        sink.mux(stream.encode())
    return path


def write_clips(folder: Path, count: int, frames: int, height: int, width: int) -> Path:
    """`count` different clips."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        write_clip(folder / f"clip {index:05d}.mp4", frames, height, width, seed=index)
    return folder
