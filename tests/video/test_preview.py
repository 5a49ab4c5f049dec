from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from PIL import Image

from evalkit.video import Video, decode, decode_with_info, encode_preview
from tests.strategies import videos
from tests.video.writers import moving_squares


def a_video(frames: int = 12, height: int = 144, width: int = 160, fps: Fraction | int = 24) -> Video:
    pixels = torch.from_numpy(moving_squares(frames, height, width)).permute(0, 3, 1, 2)
    return Video(pixels, Fraction(fps))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(video=videos(max_frames=3, max_side=70))
def test_any_clip_has_a_preview_of_all_its_frames(tmp_path: Path, video: Video) -> None:
    preview = encode_preview(video, tmp_path / "clip.mp4", h264=True)
    assert preview.h264 is not None
    for path in (preview.video, preview.h264):
        shown = decode(path)
        assert (shown.num_frames, shown.fps) == (video.num_frames, video.fps)
        assert shown.height % 2 == shown.width % 2 == 0


def test_a_preview_is_what_browsers_play(tmp_path: Path) -> None:
    preview = encode_preview(a_video(), tmp_path / "clip.mp4", h264=True)
    assert preview == (tmp_path / "clip.mp4", tmp_path / "clip.h264.mp4", tmp_path / "clip.webp")
    for path, codec in ((preview.video, "av1"), (preview.h264, "h264")):
        assert path is not None
        with av.open(str(path)) as source:
            stream = source.streams.video[0]
            assert codec in stream.codec_context.codec.canonical_name
            assert stream.codec_context.pix_fmt == "yuv420p"
            # BT.709, limited range: what a browser assumes anyway.
            assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)
        data = path.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")  # plays before it is all there


def test_colours_stay_what_they_are(tmp_path: Path) -> None:
    video = a_video()
    preview = encode_preview(video, tmp_path / "clip.mp4", h264=True)
    for path in (preview.video, preview.h264):
        assert path is not None
        error = (decode(path).frames.float() - video.frames.float()).abs().mean()
        assert error < 12
    flat = Video(
        torch.tensor([200, 40, 90], dtype=torch.uint8)[None, :, None, None].expand(2, 3, 128, 128),
        Fraction(8),
    )
    shown = decode(encode_preview(flat, tmp_path / "flat.mp4").video)
    assert (shown.frames.float().mean((0, 2, 3)) - torch.tensor([200.0, 40, 90])).abs().max() < 3


def test_there_is_a_keyframe_every_second(tmp_path: Path) -> None:
    preview = encode_preview(a_video(25, fps=8), tmp_path / "clip.mp4", h264=True)
    for path in (preview.video, preview.h264):
        with av.open(str(path)) as source:
            packets = [packet for packet in source.demux(video=0) if packet.size]
            times = [float(packet.pts * packet.time_base) for packet in packets if packet.is_keyframe]
            assert sorted(times)[0] == 0
            assert max(np.diff([*sorted(times), 25 / 8])) <= 1.01


@pytest.mark.parametrize(
    ("size", "max_height", "expected"),
    [
        ((144, 160), 480, (144, 160)),
        ((145, 161), 480, (146, 162)),
        ((600, 301), 480, (480, 240)),
        ((300, 400), 101, (100, 134)),
        ((32, 32), 480, (128, 128)),
        ((64, 48), 480, (192, 144)),
        ((300, 1), 480, (300, 16)),
    ],
)
def test_sizes(tmp_path: Path, size: tuple[int, int], max_height: int, expected: tuple[int, int]) -> None:
    preview = encode_preview(a_video(1, *size), tmp_path / "clip.mp4", max_height=max_height)
    _, info, _ = decode_with_info(preview.video)
    assert (info.height, info.width) == expected
    with Image.open(preview.poster) as poster:
        assert poster.size == expected[::-1]


def test_a_poster_shows_the_middle_frame(tmp_path: Path) -> None:
    levels = torch.arange(0, 250, 50, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 128, 128)
    with Image.open(encode_preview(Video(levels, Fraction(5)), tmp_path / "clip.mp4").poster) as poster:
        assert abs(np.asarray(poster).mean() - 100) < 3


def test_tiny_caps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_height"):
        encode_preview(a_video(1), tmp_path / "clip.mp4", max_height=8)


def test_nothing_else_is_left_behind_or_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    encode_preview(a_video(2), tmp_path / "clip.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "clip.webp"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(
    not hasattr(os, "sched_getscheduler"), reason="only Linux tells how a thread is scheduled"
)
def test_the_encoder_leaves_the_priority_of_the_process_alone(tmp_path: Path) -> None:
    # Under root SVT-AV1 asks for real time, which every server and browser that is started later would inherit.
    before = os.sched_getscheduler(0)
    encode_preview(a_video(), tmp_path / "clip.mp4")
    assert {os.sched_getscheduler(int(task.name)) for task in Path("/proc/self/task").iterdir()} == {before}
