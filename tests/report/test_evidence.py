"""The worst stretch of a series, and the sentence about it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.report.evidence import explain, observe, worst_window
from evalkit.report.facts import ClipFacts
from evalkit.report.summary import summarise
from evalkit.testing.runs import make_run


@st.composite
def planted(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """A noisy series with a stretch that is clearly higher, and where that lies."""
    size = draw(st.integers(8, 80))
    first = draw(st.integers(0, size - 2))
    last = draw(st.integers(first, min(size - 1, first + size // 2)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    series = rng.normal(0, 0.03, size)
    series[first : last + 1] += rng.uniform(0.8, 1.0, last - first + 1)
    return series, first, last


@given(planted())
def test_a_planted_stretch_is_found_exactly(case):
    series, first, last = case
    window = worst_window(series, "frame", lower_is_better=True, typical=0.0)
    assert (window.first, window.last) == (first, last)
    assert first <= window.peak <= last
    assert window.occurrences == 1


@given(planted(), st.floats(0.01, 100), st.floats(-50, 50))
def test_direction_unit_and_offset_do_not_matter(case, scale: float, offset: float):
    series, first, last = case
    higher = worst_window(-series * scale + offset, "frame", lower_is_better=False, typical=offset)
    assert (higher.first, higher.last) == (first, last)


@given(planted())
def test_a_transition_covers_the_frames_at_both_ends(case):
    series, first, last = case
    window = worst_window(series, "transition", lower_is_better=True, typical=0.0)
    assert (window.first, window.last) == (first, last + 1)


def test_a_flicker_with_calm_transitions_in_between_is_one_stretch():
    series = [0.0] * 6 + [1, 0.2, 1, 0.2, 1] + [0.0] * 6
    window = worst_window(series, "frame", lower_is_better=True)
    assert (window.first, window.last, window.occurrences) == (6, 10, 3)


def test_a_clip_that_is_bad_throughout_is_marked_throughout_against_the_run():
    series = np.full(20, 0.9) + np.linspace(0, 0.05, 20)
    assert worst_window(series, "frame", lower_is_better=True, typical=0.1).whole
    assert not worst_window(series, "frame", lower_is_better=True).whole


@pytest.mark.parametrize("series", [[], [0.5], [0.5] * 9, [np.nan, 1.0]])
def test_a_series_that_says_nothing_has_no_window(series):
    assert worst_window(series, "frame", lower_is_better=True) is None


def facts(brightness=None, change=None, detail=None, size=16) -> ClipFacts:
    return ClipFacts(
        brightness=tuple(brightness if brightness is not None else [0.5] * size),
        change=tuple(change if change is not None else [0.01] * (size - 1)),
        detail=tuple(detail if detail is not None else [10.0] * size),
        flashes=0,
    )


@pytest.fixture(scope="module")
def metric(tmp_path_factory):
    values = {"temporal.change": np.arange(24.0).reshape(12, 2) / 100, "alignment.clip": np.ones((12, 2))}
    return summarise(
        make_run(
            tmp_path_factory.mktemp("run") / "run",
            values=values,
            directions={"temporal.change": "lower"},
            metrics={"temporal.change": {"title": "Frame change", "leaf": "temporal.flicker"}},
        )
    )


def window_of(course):
    return worst_window(course, "transition", lower_is_better=True, typical=0.0)


def test_jumps_of_brightness_are_counted_with_their_size_and_frames(metric):
    levels = [0.5] * 9 + [0.555] + [0.5] * 2 + [0.555] + [0.5] * 3
    course = np.abs(np.diff(levels))
    sentence = explain(
        metric.metric("temporal.change"), 0.23, 0.0, window_of(course), "transition", facts(levels)
    ).sentence
    assert sentence.startswith("Brightness jumps by 11% between frames 8 and 9, four times in the clip. ")
    assert "Frame change: worst between frames 8 and 9, 0.055 against a usual 0.000." in sentence
    assert sentence.endswith("The clip's score of 0.230 is the worst of this run.")


def test_a_slow_fade_is_no_jump(metric):
    fade = np.linspace(0.3, 0.9, 16)
    window = window_of(np.abs(np.diff(fade)))
    assert window is None or observe(facts(fade), window, metric.metric("temporal.change").record) is None


def test_stillness_a_cut_and_lost_detail_are_told_apart(metric):
    record = metric.metric("temporal.change").record
    window = window_of([0.0] * 5 + [1.0] * 4 + [0.0] * 6)
    still = facts(change=[0.01] * 5 + [0.0] * 4 + [0.01] * 6)
    assert observe(still, window, record) == "frames 5 to 9 are the same picture"
    cut = facts(change=[0.01] * 7 + [0.4] + [0.01] * 7)
    assert observe(cut, window, record) == "the whole picture changes at once between frames 7 and 8"
    soft = facts(detail=[10.0] * 6 + [4.0] * 2 + [10.0] * 8)
    assert "fine detail falls to 40%" in observe(soft, window, record)


def test_pictures_do_not_explain_why_a_prompt_was_missed(metric):
    flicker = [0.5, 0.9] * 8
    window = window_of(np.abs(np.diff(flicker)) + np.linspace(0, 0.1, 15))
    assert observe(facts(flicker), window, metric.metric("alignment.clip").record) is None


def test_without_a_course_only_the_rank_is_said(metric):
    evidence = explain(metric.metric("alignment.clip"), 0.5, 4.0, None, "none", facts())
    assert evidence.window is None
    assert evidence.frames == ()
    assert evidence.sentence.endswith("is worse than 96% of this run's clips.")
