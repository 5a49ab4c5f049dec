"""Decoding of uploads: in a child process whose memory, time and output the kernel limits.

A decoder is a large C program that an attacker feeds. Here its worst is a dead child and a clear error:
the child gets no environment, no open files beyond its own, and cannot outgrow or outlive its limits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

import evalkit
from evalkit import errors
from evalkit.errors import EvalkitError, UnreadableVideo, VideoError, VideoLimitExceeded
from evalkit.video.decoding import Decoded, to_video
from evalkit.video.files import file_digest
from evalkit.video.info import VideoInfo
from evalkit.video.limits import UNTRUSTED_LIMITS, Limits
from evalkit.video.reader import RawClip

__all__ = ["decode_untrusted"]


def decode_untrusted(
    path: str | os.PathLike[str],
    *,
    limits: Limits = UNTRUSTED_LIMITS,
    memory_bytes: int = 3 << 30,
    cpu_seconds: int = 60,
    wall_seconds: float = 120.0,
    max_frames: int | None = None,
) -> Decoded:
    """`decode_with_info` for a file that a stranger sent.

    Args:
        path: the file; a folder is refused.
        limits: caps on the clip.
        memory_bytes: address space of the child, libraries included (about 0.5 GB).
        cpu_seconds: processor time of the child.
        wall_seconds: time after which the child is killed.
        max_frames: stop after so many frames.

    Raises:
        VideoError: as `decode`; also when a limit ended the child, or the file crashed the decoder.
        EvalkitError: the operating system has no process limits (Windows).
    """
    path = Path(path).resolve()
    if os.name != "posix":
        raise EvalkitError(
            "decoding uploads needs process limits, which this operating system lacks; use Linux"
        )
    if path.is_dir():
        raise UnreadableVideo(f"{path}: a folder, not a file; upload one video file")
    with tempfile.TemporaryDirectory(prefix="evalkit-decode-") as folder:
        pixels = Path(folder) / "frames.raw"
        job = {
            "path": str(path),
            "limits": asdict(limits),
            "max_frames": max_frames,
            "memory_bytes": memory_bytes,
            "cpu_seconds": cpu_seconds,
            "output": str(pixels),
        }
        try:
            child = subprocess.run(
                # -P: the current folder is no place to import from.
                [sys.executable, "-P", "-m", "evalkit.video.untrusted_child"],
                input=json.dumps(job),
                capture_output=True,
                text=True,
                timeout=wall_seconds,
                cwd=folder,
                env={
                    "PYTHONPATH": str(Path(evalkit.__file__).parents[1]),
                    # Threads reserve address space, which is limited here.
                    "OPENBLAS_NUM_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                },
            )
        except subprocess.TimeoutExpired:
            raise VideoLimitExceeded(
                f"{path}: decoding was stopped after {wall_seconds:g} seconds; give a shorter or smaller clip"
            ) from None
        answer = _answer_of(child, path, cpu_seconds)
        info = VideoInfo.from_json(answer["info"])
        shape = (info.num_frames or 0, info.height, info.width, 3)
        frames = np.fromfile(pixels, dtype=np.uint8).reshape(shape)
    return Decoded(to_video(RawClip(frames, info)), info, file_digest(path))


def _answer_of(
    child: subprocess.CompletedProcess[str], path: Path, cpu_seconds: int
) -> dict[str, dict[str, object]]:
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise VideoLimitExceeded(
            f"{path}: decoding used up its {cpu_seconds} seconds of processor time; give a shorter or smaller clip"
        )
    try:
        answer = json.loads(child.stdout)
    except json.JSONDecodeError:
        ended = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
        raise UnreadableVideo(
            f"{path}: the file made the decoder stop without an answer ({ended}); it is damaged or hostile"
        ) from None
    if "error" in answer:
        kind = getattr(errors, answer["error"], VideoError)
        raise kind(answer["message"])
    return dict(answer)
