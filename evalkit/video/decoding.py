"""`probe` and `decode`: any supported file or folder to a `Video`."""

from __future__ import annotations

import hashlib
import os
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import torch

from evalkit.errors import UnreadableVideo
from evalkit.video.clip import DIGEST_SIZE, Video
from evalkit.video.container import sniff
from evalkit.video.images import image_files, probe_images, probe_webp, read_images, read_webp
from evalkit.video.info import VideoInfo
from evalkit.video.limits import DEFAULT_LIMITS, Limits
from evalkit.video.reader import RawClip, probe_container, read_container

__all__ = ["Decoded", "decode", "decode_with_info", "file_digest", "probe", "read_frames"]


class Decoded(NamedTuple):
    """video: the clip. info: the file's facts. file_digest: blake2b of the original bytes."""

    video: Video
    info: VideoInfo
    file_digest: str


def probe(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> VideoInfo:
    """What the header says, without decoding; facts that only decoding tells are None.

    Raises:
        UnreadableVideo, UnsupportedVideo, VideoLimitExceeded: see `decode`.
    """
    path = Path(path)
    container = sniff(path)
    if container.name == "images":
        return probe_images(path, limits, None)
    if container.name == "webp":
        return probe_webp(path, limits)
    return probe_container(path, container, limits)


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
    return _to_video(read_frames(path, limits=limits, max_frames=max_frames, fps=fps))


def decode_with_info(
    path: str | os.PathLike[str],
    *,
    limits: Limits = DEFAULT_LIMITS,
    max_frames: int | None = None,
    fps: Fraction | None = None,
) -> Decoded:
    """`decode`, with the file's facts and the digest of its original bytes."""
    raw = read_frames(path, limits=limits, max_frames=max_frames, fps=fps)
    return Decoded(_to_video(raw), raw.info, file_digest(path))


def read_frames(
    path: str | os.PathLike[str],
    *,
    limits: Limits = DEFAULT_LIMITS,
    max_frames: int | None = None,
    fps: Fraction | None = None,
) -> RawClip:
    """`decode` to a numpy array `(T, H, W, 3)` and the file's facts."""
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, got {max_frames}")
    path = Path(path)
    container = sniff(path)
    if container.name == "images":
        return read_images(path, limits, fps, max_frames)
    if container.name == "webp":
        return read_webp(path, limits, max_frames)
    return read_container(path, container, limits, max_frames)


def file_digest(path: str | os.PathLike[str]) -> str:
    """blake2b of a file's bytes; of a folder, of its images' names and bytes in order."""
    path = Path(path)
    try:
        if path.is_dir():
            whole = hashlib.blake2b(digest_size=DIGEST_SIZE)
            for image in image_files(path):
                whole.update(f"{image.name}\0{file_digest(image)}\n".encode())
            return whole.hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_SIZE)).hexdigest()
    except OSError as error:
        raise UnreadableVideo(f"{path}: cannot be read ({error.strerror or error})") from error


def _to_video(raw: RawClip) -> Video:
    assert raw.info.fps is not None
    return Video(torch.from_numpy(raw.frames).permute(0, 3, 1, 2), raw.info.fps)
