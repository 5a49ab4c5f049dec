"""Decoding in a child process: same pixels, and no file can cost more than the child."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.errors import UnreadableVideo, UnsupportedVideo, VideoLimitExceeded
from evalkit.video import Limits, decode_untrusted, decode_with_info, untrusted
from tests.video.writers import moving_squares, rgb_lossless, write_video


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", moving_squares(24))


def test_the_child_gives_what_decode_gives(clip: Path) -> None:
    assert decode_untrusted(clip) == decode_with_info(clip)
    assert decode_untrusted(clip, max_frames=2).video.num_frames == 2


def test_the_child_never_loads_torch() -> None:
    code = "import sys, evalkit.video.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_the_errors_of_decode_come_through(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile clip.mp4\n")
    with pytest.raises(UnreadableVideo, match="playlists and concat scripts are never followed"):
        decode_untrusted(tmp_path / "list.mp4")
    with pytest.raises(VideoLimitExceeded, match=r"Limits\.max_frames"):
        decode_untrusted(clip, limits=Limits(max_frames=3))
    hdr = rgb_lossless(
        tmp_path / "hdr.mp4",
        moving_squares(1),
        prepare=lambda stream: setattr(stream.codec_context, "color_trc", 16),
    )
    with pytest.raises(UnsupportedVideo, match="HDR"):
        decode_untrusted(hdr)
    with pytest.raises(UnreadableVideo, match="a folder"):
        decode_untrusted(tmp_path)


def test_memory_is_limited(tmp_path: Path) -> None:
    frames = moving_squares(64, 512, 512)
    path = write_video(tmp_path / "large.mp4", frames, options={"preset": "ultrafast"})
    needed = decode_untrusted(path, memory_bytes=1 << 30)
    assert needed.video.num_frames == 64
    with pytest.raises((VideoLimitExceeded, UnreadableVideo), match=r"bytes|without an answer"):
        decode_untrusted(path, memory_bytes=needed.video.frames.numel() + (150 << 20))


def test_time_is_limited(clip: Path) -> None:
    with pytest.raises(VideoLimitExceeded, match=r"stopped after 0\.01 seconds"):
        decode_untrusted(clip, wall_seconds=0.01)


def test_processor_time_is_limited(clip: Path) -> None:
    with pytest.raises(VideoLimitExceeded, match="0 seconds of processor time"):
        decode_untrusted(clip, cpu_seconds=0)


@pytest.mark.parametrize(
    ("code", "message"),
    [(-signal.SIGSEGV, r"\(signal 11\)"), (1, r"\(exit code 1\)")],
)
def test_a_crash_of_the_decoder_is_an_error_row(
    clip: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    monkeypatch.setattr(
        untrusted.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, code, "", "")
    )
    with pytest.raises(UnreadableVideo, match=f"without an answer {message}.*damaged or hostile"):
        decode_untrusted(clip)


def test_the_child_sees_no_environment(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    real = subprocess.run

    def spy(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
        seen.update(more["env"])  # type: ignore[call-overload]
        return real(command, **more)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setenv("SOME_TOKEN", "secret")
    monkeypatch.setattr(untrusted.subprocess, "run", spy)
    decode_untrusted(clip)
    assert set(seen) == {"PYTHONPATH", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}
