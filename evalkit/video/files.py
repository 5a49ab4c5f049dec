"""Any supported file or folder to numpy frames and facts; no torch, so that a decoding child starts quickly."""

from __future__ import annotations

import hashlib
import os
from fractions import Fraction
from pathlib import Path

from evalkit.errors import UnreadableVideo
from evalkit.video.container import sniff
from evalkit.video.images import image_files, probe_images, probe_webp, read_images, read_webp
from evalkit.video.info import VideoInfo
from evalkit.video.limits import DEFAULT_LIMITS, Limits
from evalkit.video.reader import RawClip, probe_container, read_container

__all__ = ["DIGEST_SIZE", "file_digest", "probe", "read_frames"]

DIGEST_SIZE = 20
"""Bytes of the blake2b digests that identify pixels and files (40 hex digits)."""


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
