"""The speed benchmark itself: its fits, its verdicts, its record, and peers that compute what evalkit computes."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.perf import growth, limit, numerics
from benchmarks.perf.__main__ import ORDER, PAGE, RESULTS
from benchmarks.perf.clips import write_clips
from benchmarks.perf.measure import Bar, Kept
from benchmarks.perf.page import Part, page, read_parts, write_part
from evalkit.metrics.functional import frechet_distance
from evalkit.video import decode

SIZES = [100, 500, 2000, 5000, 10_000] * 3


@given(
    st.floats(0.0, 5.0),
    st.floats(1e-4, 1e-2),
    st.floats(0.6, 1.5),
)
def test_a_growth_that_is_a_power_is_found_beside_any_start_up(fixed, each, exponent):
    seconds = [fixed + each * size**exponent for size in SIZES]
    found = growth.fit(SIZES, seconds)
    assert found.exponent == pytest.approx(exponent, abs=2e-3)
    assert found.fixed == pytest.approx(fixed, abs=0.02 * max(seconds))


def test_the_standard_error_of_an_exponent_covers_the_truth():
    """Runs that are off by 3%: four of five fits lie within two standard errors."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(60):
        seconds = [(1.0 + 0.004 * size) * rng.normal(1, 0.03) for size in SIZES]
        found = growth.fit(SIZES, seconds)
        inside += abs(found.exponent - 1) <= 2 * found.error
    assert inside >= 48


@pytest.mark.parametrize(
    ("sense", "least", "value", "verdict", "miss"),
    [
        ("at least", None, 30.0, "met", ""),
        ("at least", None, 15.0, "missed", "40% short of the limit"),
        ("at most", None, 25.0, "met", ""),
        ("at most", None, 30.0, "missed", "20% above the limit"),
        ("within", 20.0, 22.0, "met", ""),
        ("within", 20.0, 30.0, "missed", "20% above the limit"),
        ("within", 20.0, 15.0, "missed", "25% below the range"),
        ("at most", None, None, "not measured", ""),
    ],
)
def test_a_verdict_says_by_how_much(sense, least, value, verdict, miss):
    bar = Bar("1", "what", value, 25.0, sense, least=least)
    assert (bar.verdict, bar.miss) == (verdict, miss)


def test_an_interrupted_part_goes_on_and_a_new_one_begins_anew(tmp_path):
    path = tmp_path / "points" / "part.jsonl"
    calls = []

    def figures(name):
        calls.append(name)
        return {"seconds": len(calls)}

    first = Kept(path)
    first.measure("a", lambda: figures("a"))
    first.measure("b", lambda: figures("b"))
    again = Kept(path, resume=True)
    assert [again.measure(name, lambda name=name: figures(name))["seconds"] for name in "abc"] == [1, 2, 3]
    assert calls == ["a", "b", "c"]
    # A part that is resumed began when its first figure was measured.
    first_moment = {name: again.points["a"][name] for name in ("date", "load")}
    assert again.begun({"date": "9999-01-01 00:00", "load": 0.0}) == first_moment
    assert again.begun({"date": "2000-01-01 00:00", "load": 0.0})["date"] == "2000-01-01 00:00"
    assert all(
        point["date"] and point["load"] >= 0 for point in map(json.loads, path.read_text().splitlines())
    )
    assert Kept(path).points == {}
    assert not path.exists()


def test_a_page_is_rendered_from_the_parts_that_are_there(tmp_path):
    moment = {"date": "2026-01-02 03:04", "load": 1.5}
    bars = (
        Bar("2", "slow thing", 2.0, 4.0, "at least", detail="8 ms, 4 ms", reason="It waits."),
        Bar("3", "growth", 1.0, 1.05, "within", unit="", least=0.95),
    )
    write_part(tmp_path, Part("warm", "command two", moment, moment, "a machine", bars))
    write_part(
        tmp_path,
        Part("once", "command one", moment, moment, "a machine", (Bar("1", "x", 5.0, 4.0, "at least"),)),
    )
    parts = read_parts(tmp_path, ORDER)
    assert [part.name for part in parts] == ["once", "warm"]
    assert parts[1].bars == bars
    text = page(parts)
    assert "2 of 3 bars are met" in text
    assert "- **2**, slow thing: 50% short of the limit. It waits." in text
    assert "| 3 | growth | 1 | 0.95 to 1.05 | met |" in text
    assert "| once | 1 | `command one` | 2026-01-02 03:04 |" in text


def test_the_page_is_what_the_record_says():
    parts = read_parts(RESULTS, ORDER)
    assert {part.name for part in parts} == set(ORDER)
    assert PAGE.read_text() == page(parts)


def test_every_bar_that_is_missed_on_the_record_says_why():
    for part in read_parts(RESULTS, ORDER):
        for bar in part.bars:
            if bar.verdict != "met":
                assert re.search(r"\w{3,} \w+.*\.$", bar.reason), (
                    f"{bar.id} is {bar.verdict} without a reason"
                )


def test_two_hundred_clips_of_few_are_all_different(tmp_path):
    """Whole clips first, then second halves; never the same file twice under two names."""
    source = write_clips(tmp_path / "source", 3, 8, 32, 32)
    (source / "copy.mp4").write_bytes((source / "clip 00000.mp4").read_bytes())
    paths = limit.distinct(source, 5, tmp_path / "chosen")
    clips = [decode(path) for path in paths]
    assert len({clip.clip_id for clip in clips}) == 5
    assert [clip.num_frames for clip in clips] == [8, 8, 8, 4, 4]
    assert torch.equal(clips[3].frames, clips[0].frames[4:])


@pytest.mark.parametrize(("way", "ddof"), [("by_sqrtm", 0), ("by_torchmetrics", 1)])
def test_peers_compute_the_same_distance(way, ddof, monkeypatch):
    monkeypatch.setattr(numerics.Rows, "num_features", 6)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(80, 6, generator=generator, dtype=torch.float64) * scale for scale in (1.0, 1.5))
    assert getattr(numerics, way)(x, y + 0.3) == pytest.approx(
        frechet_distance(x, y + 0.3, ddof=ddof), rel=1e-9
    )


def test_a_slow_round_does_not_bend_the_growth() -> None:
    sizes, speeds = [100, 500, 2000, 5000, 10_000], [1.0, 1.0, 2.5, 1.2]
    points = {
        size: [{"seconds": speed * 0.0003 * size, "apart": speed * 1.2} for speed in speeds] for size in sizes
    }
    found = growth._fitted(points, "apart")
    assert found.exponent == pytest.approx(1, abs=1e-3)
    assert found.error < 1e-3
    crooked = {size: [{"seconds": 1 + 1e-6 * size**1.5} for _ in speeds] for size in sizes}
    assert growth._fitted(crooked).exponent == pytest.approx(1.5, abs=1e-3)
