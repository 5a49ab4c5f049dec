from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from evalkit.models import GenerationFailure
from evalkit.models.frames import video_from_frames
from evalkit.video import Video

FPS = Fraction(24000, 1001)
CLIP = np.random.default_rng(3).integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)


def frames_of(given_frames: object) -> np.ndarray:
    video = video_from_frames(given_frames, FPS)
    assert isinstance(video, Video), video
    assert video.fps == FPS
    return video.frames.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    "kind",
    [
        CLIP,
        CLIP / 255,
        (CLIP / 255).astype(np.float32),
        (CLIP / 255).astype(np.float16),
        torch.from_numpy(CLIP).permute(0, 3, 1, 2),
        torch.from_numpy(CLIP),
        torch.from_numpy(CLIP).permute(0, 3, 1, 2) / 255,
        np.moveaxis(CLIP, 3, 1) / 255,
        [Image.fromarray(frame) for frame in CLIP],
        list(CLIP),
        tuple(CLIP / 255),
        np.flip(np.flip(CLIP, 0), 0),
    ],
    ids=lambda kind: f"{type(kind).__name__}-{getattr(kind, 'dtype', '')}",
)
def test_every_way_of_giving_frames_gives_the_same_clip(kind: object) -> None:
    np.testing.assert_array_equal(frames_of(kind), CLIP)


def test_bfloat16_is_within_its_rounding() -> None:
    got = frames_of((torch.from_numpy(CLIP) / 255).bfloat16())
    assert np.abs(got.astype(int) - CLIP).max() <= 1


@settings(max_examples=30)
@given(hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 4)] * 3, st.just(3))))
def test_channels_last_arrays_are_never_mistaken(clip: np.ndarray) -> None:
    np.testing.assert_array_equal(frames_of(clip), clip)
    np.testing.assert_array_equal(frames_of(torch.from_numpy(clip).permute(0, 3, 1, 2)), clip)


def test_gray_is_repeated_and_transparency_lies_over_white() -> None:
    gray = frames_of(CLIP[..., :1])
    np.testing.assert_array_equal(gray, np.repeat(CLIP[..., :1], 3, axis=3))
    alpha = np.full((*CLIP.shape[:3], 1), 0.25)
    laid = frames_of(np.concatenate([CLIP / 255, alpha], axis=3))
    np.testing.assert_allclose(laid, 0.25 * CLIP.astype(float) + 0.75 * 255, atol=0.5001)
    clear = np.concatenate([CLIP, np.zeros((*CLIP.shape[:3], 1), np.uint8)], axis=3)
    assert (frames_of(clear) == 255).all()


def bad(value: float) -> np.ndarray:
    frames = np.full((4, 6, 8, 3), 0.5, np.float32)
    frames[2, 1, 1, 0] = value
    return frames


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (bad(np.nan), "1 of 576 pixel values are NaN or infinite, in frames 2; half precision"),
        (bad(np.inf), "NaN or infinite"),
        (np.full((9, 4, 4, 3), np.nan), "in frames 0, 1, 2, 3, 4, ...;"),
        (bad(-1.0), r"pixel values lie in \[-1, 0.5\]; floats must lie in \[0, 1\]"),
        (CLIP.astype(np.float32), r"floats must lie in \[0, 1\]"),
        (CLIP.astype(np.int32), "frames of type torch.int32; uint8 or floats"),
        (CLIP.astype(bool), "frames of type bool"),
        (CLIP.astype(complex), "frames of type complex128"),
        (CLIP[0], r"frames of shape \(6, 8, 3\); \(T, H, W, 3\) is due"),
        (CLIP[:0], r"shape \(0, 6, 8, 3\)"),
        (np.zeros((2, 5, 6, 7), np.uint8), "neither the second nor the last axis can be colour channels"),
        ([Image.new("RGB", (4, 4)), Image.new("RGB", (5, 4))], r"different sizes: \[\(4, 4\), \(5, 4\)\]"),
        ([], "the model gave list where frames are due"),
        (None, "the model gave NoneType"),
        ("clip.mp4", "the model gave str"),
    ],
)
def test_frames_that_are_none_fail_with_the_reason(frames: object, said: str) -> None:
    result = video_from_frames(frames, FPS)
    assert isinstance(result, GenerationFailure)
    assert result.permanent
    import re

    assert re.search(said, result.reason), result.reason


def test_rounding_noise_around_the_range_is_clamped() -> None:
    frames = np.array([-0.004, 0.0, 1.0, 1.004]).reshape(1, 1, 4, 1)
    assert frames_of(frames)[0, 0, :, 0].tolist() == [0, 0, 255, 255]
