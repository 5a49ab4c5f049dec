"""Flashes by the definition of WCAG 2.2, and plain measurements, against closed forms."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evalkit.report.facts import MAX_FLASHES, ClipFacts, count_flashes, measure
from evalkit.video import Video


def grey(levels, rows: int = 8) -> np.ndarray:
    """Frames of one grey each, as cells."""
    return (
        np.repeat(np.asarray(levels, np.uint8)[:, None, None, None], rows, axis=1)
        .repeat(rows, 2)
        .repeat(3, 3)
    )


def square_wave(hertz: float, fps: int, seconds: int = 2, low: int = 20, high: int = 200) -> np.ndarray:
    times = np.arange(fps * seconds) / fps
    return grey(np.where((times * hertz) % 1 < 0.5, low, high))


@pytest.mark.parametrize("hertz", [1, 2, 3, 4, 6, 10])
def test_a_square_wave_flashes_as_often_as_its_frequency(hertz: int):
    assert abs(count_flashes(square_wave(hertz, 60), Fraction(60)) - hertz) <= 1


@pytest.mark.parametrize(("hertz", "covered"), [(2, False), (5, True), (12, True)])
def test_more_than_three_a_second_are_covered(hertz: int, covered: bool):
    assert (count_flashes(square_wave(hertz, 24), Fraction(24)) > MAX_FLASHES) == covered


def test_alternating_frames_at_8_fps_are_four_flashes():
    assert count_flashes(grey([20, 200] * 8), Fraction(8)) == 4


def test_small_steps_bright_pictures_and_small_areas_do_not_count():
    assert count_flashes(grey([100, 108] * 24), Fraction(24)) == 0
    assert count_flashes(grey([236, 255] * 24), Fraction(24)) == 0
    corner = grey([20] * 48)
    corner[::2, :3, :3] = 220  # 9 of 64 cells: below a quarter
    assert count_flashes(corner, Fraction(24)) == 0
    corner[::2, :5, :5] = 220
    assert count_flashes(corner, Fraction(24)) > 3


def test_saturated_red_counts_even_where_its_luminance_hardly_changes():
    frames = np.zeros((48, 8, 8, 3), np.uint8)
    frames[::2] = (150, 0, 0)
    assert count_flashes(frames, Fraction(24)) > 3


def test_a_fade_with_noise_is_one_change():
    noise = np.random.default_rng(0).normal(0, 3, 96)
    assert count_flashes(grey(np.clip(np.linspace(10, 230, 96) + noise, 0, 255)), Fraction(24)) == 0


@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_flashes_never_exceed_what_the_rate_allows_and_ignore_time_direction(seed: int, count: int):
    frames = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    flashes = count_flashes(frames, Fraction(12))
    assert 0 <= flashes <= 6
    assert abs(flashes - count_flashes(frames[::-1], Fraction(12))) <= 1


def test_measurements_of_a_clip_in_closed_form():
    frames = torch.zeros(3, 3, 10, 12, dtype=torch.uint8)
    frames[1] = 51
    frames[2] = 51
    facts = measure(Video(frames, Fraction(8)))
    assert facts.brightness == pytest.approx((0.0, 0.2, 0.2), abs=1e-5)
    assert facts.change == pytest.approx((0.2, 0.0), abs=1e-6)
    assert facts.detail == (0.0, 0.0, 0.0)
    assert facts.flashes == 0
    assert ClipFacts.from_dict(facts.to_dict()) == facts


def test_detail_falls_with_blur():
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (1, 3, 32, 32), dtype=np.uint8)
    import cv2

    soft = cv2.GaussianBlur(sharp[0].transpose(1, 2, 0), (0, 0), 2).transpose(2, 0, 1)[None]
    details = [
        measure(Video(torch.from_numpy(pixels.copy()), Fraction(8))).detail[0] for pixels in (sharp, soft)
    ]
    assert details[1] < 0.3 * details[0]
