from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given

from evalkit.errors import VideoError
from evalkit.video import Video
from tests.strategies import videos


def pixels(*shape: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype)


def test_a_video_knows_its_measures() -> None:
    video = Video(pixels(12, 3, 4, 6), Fraction(24_000, 1001))
    assert (video.num_frames, video.height, video.width) == (12, 4, 6)
    assert video.duration == Fraction(1001, 2000)
    assert repr(video) == "Video(12 frames, 6x4, 24000/1001 fps)"


def test_whole_rates_become_fractions() -> None:
    assert Video(pixels(1, 3, 1, 1), 24).fps == Fraction(24)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((1, 3, 2, 2), np.uint8), "torch.Tensor"),
        (pixels(1, 3, 2, 2, dtype=torch.float32), r"uint8.*\(x \* 255\)"),
        (pixels(3, 2, 2), r"\(T, 3, H, W\)"),
        (pixels(1, 4, 2, 2), r"\(T, 3, H, W\), got \(1, 4, 2, 2\)"),
        (pixels(2, 8, 8, 3), r"\(T, 3, H, W\)"),
        (pixels(0, 3, 2, 2), "at least one frame"),
        (pixels(1, 3, 0, 2), "at least one frame"),
    ],
)
def test_other_tensors_are_refused(frames: torch.Tensor, message: str) -> None:
    with pytest.raises(VideoError, match=message):
        Video(frames, Fraction(24))


@pytest.mark.parametrize(
    "fps", [23.976, "24", None, 0, -24, 1001, Fraction(1, 10_000_000), Fraction(10**9 + 1, 10**8)]
)
def test_other_rates_are_refused(fps: object) -> None:
    with pytest.raises(VideoError, match="fps must"):
        Video(pixels(1, 3, 2, 2), fps)  # type: ignore[arg-type]


def test_a_video_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Video(pixels(1, 3, 2, 2), Fraction(24)).fps = Fraction(25)  # type: ignore[misc]


def test_the_clip_id_is_what_its_docstring_says() -> None:
    frames = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 3, 4, 5)
    by_hand = hashlib.blake2b(b"evalkit.clip.v1 2x4x5 30/1\n", digest_size=20)
    for frame in frames.permute(0, 2, 3, 1):
        by_hand.update(hashlib.sha256(frame.contiguous().numpy().tobytes()).digest())
    assert Video(frames, Fraction(30)).clip_id == by_hand.hexdigest()


@given(videos())
def test_memory_layout_does_not_change_the_clip_id(video: Video) -> None:
    channels_last = video.frames.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert Video(channels_last, video.fps).clip_id == video.clip_id
    assert Video(channels_last, video.fps) == video
    assert hash(Video(channels_last, video.fps)) == hash(video)


@given(videos())
def test_every_pixel_the_rate_and_the_shape_count(video: Video) -> None:
    changed = video.frames.clone()
    changed[-1, -1, -1, -1] ^= 1
    turned = Video(video.frames.reshape(video.num_frames, 3, video.width, video.height), video.fps)
    others = [Video(changed, video.fps), Video(video.frames, video.fps / 2)]
    others += [turned] if video.width != video.height else []
    assert len({video.clip_id, *(other.clip_id for other in others)}) == 1 + len(others)
    assert all(other != video for other in others)


def test_a_video_differs_from_what_is_none() -> None:
    assert Video(pixels(1, 3, 2, 2), Fraction(24)) != "a clip"
