from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import UnsupportedVideo
from evalkit.video.frame_rate import FrameRate, check_rate, frame_rate
from tests.strategies import rates

MILLISECOND = Fraction(1, 1000)


@given(rates(), st.integers(2, 40))
def test_exact_clocks_give_exact_rates(fps: Fraction, frames: int) -> None:
    time_base = Fraction(1, fps.numerator)
    times = [index * fps.denominator for index in range(frames)]
    assert frame_rate(times, fps.denominator, time_base, []) == FrameRate(fps, variable=False)


@given(
    st.sampled_from([Fraction(24), Fraction(24_000, 1001), Fraction(30_000, 1001), Fraction(60)]),
    st.integers(1, 200),
)
def test_a_millisecond_clock_is_seen_through(fps: Fraction, frames: int) -> None:
    times = [round(index / fps / MILLISECOND) for index in range(frames)]
    assert frame_rate(times, round(1 / fps / MILLISECOND), MILLISECOND, [fps]) == FrameRate(
        fps, variable=False
    )


def test_a_header_that_disagrees_with_the_frames_is_not_believed() -> None:
    times = [index * 125 for index in range(9)]
    assert frame_rate(times, 125, MILLISECOND, [Fraction(30)]) == FrameRate(Fraction(8), variable=False)


@pytest.mark.parametrize("offset", [0, 512, -1024])
def test_the_first_frame_may_start_anywhere(offset: int) -> None:
    times = [offset + index * 512 for index in range(5)]
    assert frame_rate(times, 512, Fraction(1, 12_288), []) == FrameRate(Fraction(24), variable=False)


def test_uneven_frames_get_their_mean_rate() -> None:
    rate = frame_rate([0, 100, 150, 400], 100, MILLISECOND, [Fraction(25)])
    assert rate == FrameRate(Fraction(8), variable=True)


def test_times_that_do_not_advance_are_a_variable_rate_or_none() -> None:
    assert frame_rate([5, 5, 5], None, MILLISECOND, [Fraction(25)]) == FrameRate(Fraction(25), variable=True)
    assert frame_rate([5, 5, 5], None, MILLISECOND, [None]) is None


@pytest.mark.parametrize(
    ("duration", "announced", "expected"),
    [
        (42, [Fraction(24)], Fraction(24)),  # 42 ms is 1/24 s on a millisecond clock
        (42, [Fraction(50)], Fraction(1000, 42)),
        (None, [None, Fraction(25)], Fraction(25)),
        (40, [], Fraction(25)),
    ],
)
def test_one_frame_lasts_as_long_as_it_says(
    duration: int | None, announced: list[Fraction | None], expected: Fraction
) -> None:
    assert frame_rate([7], duration, MILLISECOND, announced) == FrameRate(expected, variable=False)


def test_one_frame_without_duration_has_no_rate() -> None:
    assert frame_rate([0], None, MILLISECOND, []) is None


def test_a_clock_of_ten_megahertz_gives_a_rate_that_other_files_can_hold() -> None:
    times = [index * 416_667 for index in range(5)]
    assert frame_rate(times, 416_667, Fraction(1, 10_000_000), []) == FrameRate(Fraction(24), variable=False)


@pytest.mark.parametrize("fps", [Fraction(0), Fraction(1001), Fraction(1, 10**7)])
def test_impossible_rates_are_refused(fps: Fraction) -> None:
    with pytest.raises(UnsupportedVideo, match=r"clip\.mp4: .* frames per second, but 0 to 1000"):
        check_rate(Path("clip.mp4"), fps)
