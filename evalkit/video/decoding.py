"""`decode`: any supported file or folder to a `Video`."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import NamedTuple

import torch

from evalkit.video.clip import Video
from evalkit.video.files import file_digest, read_frames
from evalkit.video.info import VideoInfo
from evalkit.video.limits import DEFAULT_LIMITS, Limits
from evalkit.video.reader import RawClip

__all__ = ["Decoded", "decode", "decode_with_info", "to_video"]


class Decoded(NamedTuple):
    """video: the clip. info: the file's facts. file_digest: blake2b of the original bytes."""

    video: Video
    info: VideoInfo
    file_digest: str


def decode(
    path: str | os.PathLike[str],
    *,
    limits: Limits = DEFAULT_LIMITS,
    max_frames: int | None = None,
    fps: Fraction | None = None,
) -> Video:
    """Decode a clip: mp4, mov, webm, mkv, gif, animated webp, or a folder of numbered images.

    The container is chosen by the file's first bytes, never by its name. Frames come as stored: rotation
    is applied, transparency is laid over white, more than 8 bits are converted to 8, a variable frame
    rate keeps its frames and gets the mean rate. The same file and `decoder_id()` always give the same
    pixels.

    Args:
        path: the file or folder.
        limits: caps, checked from the header before decoding and again while decoding.
        max_frames: stop after so many frames (at least 1).
        fps: the rate of a folder of images, which else comes from its `fps.txt`.

    Raises:
        UnreadableVideo: missing, empty, truncated, corrupt, or not a video.
        UnsupportedVideo: readable, but not faithfully (HDR, changing size, another format...).
        VideoLimitExceeded: beyond `limits`.
    """
    return to_video(read_frames(path, limits=limits, max_frames=max_frames, fps=fps))


def decode_with_info(
    path: str | os.PathLike[str],
    *,
    limits: Limits = DEFAULT_LIMITS,
    max_frames: int | None = None,
    fps: Fraction | None = None,
) -> Decoded:
    """`decode`, with the file's facts and the digest of its original bytes."""
    raw = read_frames(path, limits=limits, max_frames=max_frames, fps=fps)
    return Decoded(to_video(raw), raw.info, file_digest(path))


def to_video(raw: RawClip) -> Video:
    """The clip as a tensor that shares the array's memory."""
    assert raw.info.fps is not None
    return Video(torch.from_numpy(raw.frames).permute(0, 3, 1, 2), raw.info.fps)
