from __future__ import annotations

import os
import stat
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings

from evalkit.video import Video, decode, decode_with_info, encode_lossless
from tests.strategies import videos
from tests.video.writers import moving_squares


def a_video(frames: int = 6) -> Video:
    return Video(torch.from_numpy(moving_squares(frames)).permute(0, 3, 1, 2), Fraction(24))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(video=videos())
@example(video=Video(torch.full((1, 3, 1, 1), 7, dtype=torch.uint8), Fraction(24)))
@example(video=Video(torch.full((2, 3, 1, 33), 255, dtype=torch.uint8), Fraction(1, 3)))
@example(video=Video(torch.zeros((3, 3, 16, 16), dtype=torch.uint8), Fraction(997, 13)))
@example(video=Video(torch.zeros((2, 3, 5, 5), dtype=torch.uint8), Fraction(1000)))
def test_the_store_gives_back_exactly_what_it_got(tmp_path: Path, video: Video) -> None:
    encode_lossless(video, tmp_path / "clip.mp4")
    back, info, _ = decode_with_info(tmp_path / "clip.mp4")
    assert torch.equal(back.frames, video.frames)
    assert back.fps == video.fps
    assert back.clip_id == video.clip_id
    assert (info.variable_frame_rate, info.notes) == (False, ())


def test_another_decoder_reads_the_same_pixels(tmp_path: Path) -> None:
    video = a_video()
    encode_lossless(video, tmp_path / "clip.mp4")
    capture = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    for expected in video.frames:
        ok, frame = capture.read()
        assert ok
        assert np.array_equal(frame[..., ::-1], expected.permute(1, 2, 0).numpy())
    assert not capture.read()[0]


def test_the_same_video_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        encode_lossless(a_video(), tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode_lossless(a_video(3), tmp_path / "clip.mp4")
    before = (tmp_path / "clip.mp4").read_bytes()

    def fail(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        encode_lossless(a_video(6), tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_the_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        encode_lossless(a_video(1), tmp_path / "deep" / "clip.mp4")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "deep" / "clip.mp4").stat().st_mode) == 0o640


def test_a_view_with_any_strides_can_be_written(tmp_path: Path) -> None:
    video = a_video(8)
    reversed_half = Video(video.frames[::2].flip(3), video.fps)
    encode_lossless(reversed_half, tmp_path / "clip.mp4")
    assert decode(tmp_path / "clip.mp4") == reversed_half
