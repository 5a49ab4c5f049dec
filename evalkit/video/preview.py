"""Small files for the browser. They are lossy: metrics never read them.

AV1 in MP4 plays in current Chromium, Firefox and Safari without system codecs and is the smallest that
encodes fast; H.264 is a second source for older players.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from evalkit.video.clip import Video
from evalkit.video.encoding import padded_to_even, rgb_frames, write_atomically

__all__ = ["Preview", "encode_preview"]

# Chroma is stored at half size, so a tiny clip's colours would bleed and its encoder would refuse it:
# clips smaller than this are enlarged by whole factors, which keeps every pixel a visible square.
_SMALLEST_SIDE = 128

_THINNEST = 16

_AV1: dict[str, object] = {
    "preset": "10",
    "crf": "35",
    "svtav1-params": "lp=1",
}  # one thread: previews run in parallel processes
_H264: dict[str, object] = {"preset": "veryfast", "crf": "23"}
_BT709 = 1
_LIMITED_RANGE = 1


class Preview(NamedTuple):
    """Files that were written. video: AV1 in MP4. h264: second source, if asked for. poster: WebP still."""

    video: Path
    h264: Path | None
    poster: Path


def encode_preview(
    video: Video, path: str | os.PathLike[str], *, max_height: int = 480, h264: bool = False
) -> Preview:
    """Write `path` (.mp4), beside it a poster (.webp) and, if asked for, an H.264 copy (.h264.mp4).

    Every frame of the clip is there, at the clip's rate, with a keyframe a second, so that a player can
    seek to any frame. Clips taller than `max_height` are scaled down; odd sizes are padded by one row or
    column, because 4:2:0 needs even ones. Each file appears whole or not at all.

    Args:
        video: the clip.
        path: file to write, ending in .mp4.
        max_height: rows of the preview at most (at least 16).
        h264: also write H.264, for players without AV1.
    """
    if max_height < 16:
        raise ValueError(f"max_height must be at least 16, got {max_height}")
    path = Path(path)
    frames = [_enlarged(frame, max_height) for frame in rgb_frames(video)]
    height, width = _preview_size(frames[0].shape[0], frames[0].shape[1], max_height)

    write_atomically(path, lambda file: _write(file, frames, video.fps, width, height, "libsvtav1", _AV1))
    second = None
    if h264:
        second = path.with_suffix(".h264.mp4")
        write_atomically(
            second, lambda file: _write(file, frames, video.fps, width, height, "libx264", _H264)
        )
    poster = path.with_suffix(".webp")
    # The middle frame: many clips fade in, and few end where they are most like themselves.
    still = Image.fromarray(frames[len(frames) // 2]).resize((width, height), Image.Resampling.LANCZOS)
    write_atomically(poster, lambda file: still.save(file, format="WEBP", quality=80, method=4))
    return Preview(path, second, poster)


def _enlarged(frame: NDArray[np.uint8], max_height: int) -> NDArray[np.uint8]:
    height, width, _ = frame.shape
    factor = max(1, min(-(-_SMALLEST_SIDE // min(height, width)), max_height // height))
    if factor > 1:
        frame = frame.repeat(factor, axis=0).repeat(factor, axis=1)
    if frame.shape[0] <= max_height:
        frame = padded_to_even(frame)
    return frame


def _preview_size(height: int, width: int, max_height: int) -> tuple[int, int]:
    """Even height and width that keep the aspect ratio, except of strips too thin for an encoder."""
    if height > max_height:
        scaled = max_height - max_height % 2
        height, width = scaled, 2 * round(width * scaled / height / 2)
    return max(_THINNEST, height), max(_THINNEST, width)


def _write(
    file: Path,
    frames: list[NDArray[np.uint8]],
    fps: Fraction,
    width: int,
    height: int,
    codec: str,
    options: dict[str, object],
) -> None:
    # SVT-AV1 prints its settings to stderr otherwise; 1 keeps its errors.
    os.environ.setdefault("SVT_LOG", "1")
    movflags = {"movflags": "+faststart", "fflags": "+bitexact"}
    with _kept_priority() as keep, av.open(str(file), "w", format="mp4", options=movflags) as sink:
        stream: VideoStream = sink.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = options
        stream.gop_size = max(1, round(fps))
        stream.thread_type = "NONE"
        stream.time_base = stream.codec_context.time_base = 1 / fps
        context = stream.codec_context
        context.color_range = _LIMITED_RANGE
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                width=width,
                height=height,
                format="yuv420p",
                dst_colorspace="ITU709",
                dst_color_range="MPEG",
                interpolation="AREA",
                threads=1,
            )
            frame.pts, frame.time_base, frame.duration = index, 1 / fps, 1
            sink.mux(stream.encode(frame))
            if index == 0:  # the encoder has started its threads by now
                keep()
        sink.mux(stream.encode())


@contextmanager
def _kept_priority() -> Iterator[Callable[[], None]]:
    """Keep every thread of this process at the priority that it has; yields what puts them back early.

    Under root, as in most containers, SVT-AV1 makes itself and the thread that calls it real-time threads of the
    highest priority, and whatever that thread starts later inherits it: a machine with few cores then stands still.
    """
    if not hasattr(os, "sched_setscheduler"):  # Linux alone has it
        yield lambda: None
        return
    own = os.sched_getscheduler(0), os.sched_getparam(0)

    def keep() -> None:
        for task in Path("/proc/self/task").iterdir():
            # A thread may end meanwhile, and a sandbox may forbid this; it then forbade the encoder, too.
            with suppress(OSError):
                if os.sched_getscheduler(int(task.name)) == os.SCHED_FIFO != own[0]:
                    os.sched_setscheduler(int(task.name), *own)

    try:
        yield keep
    finally:
        keep()
