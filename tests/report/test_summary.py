"""Numbers of the report against scipy and plain counting."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evalkit.report.selection import control_sample, most_telling, worst_clips
from evalkit.report.summary import category_table, estimate, metric_decimals, summarise
from evalkit.runs.store import Run, open_run
from evalkit.testing.runs import make_run, make_suite

RNG = np.random.default_rng(3)
VALUES = {
    "quality": RNG.normal(0.7, 0.1, (20, 3)) + RNG.normal(0, 0.2, (20, 1)),
    "defect": RNG.gamma(2, 0.1, (20, 3)),
    "constant": np.full((20, 3), 0.25),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    values = {name: table.copy() for name, table in VALUES.items()}
    values["quality"][2, 1] = np.nan
    return make_run(
        tmp_path_factory.mktemp("run") / "run",
        values=values,
        suite=make_suite(20, categories=("colour", "motion", "count")),
        directions={"defect": "lower"},
        failed=((4, 0), (4, 1)),
    )


def scored(name: str) -> np.ndarray:
    table = VALUES[name].copy()
    table[4, :2] = np.nan
    if name == "quality":
        table[2, 1] = np.nan
    return table


def test_intervals_are_students_over_prompt_means(run: Run):
    summary = summarise(run)
    for name in ("quality", "defect"):
        means = np.nanmean(scored(name), axis=1)
        expected = stats.t.interval(0.95, 19, means.mean(), stats.sem(means))
        interval = summary.metric(name).interval
        assert interval.estimate == pytest.approx(means.mean())
        assert (interval.low, interval.high) == pytest.approx(expected)


def test_every_planned_score_is_counted_once_with_its_reason(run: Run):
    for metric in summarise(run).metrics:
        assert metric.num_ok + metric.num_failed + metric.num_not_applicable == 60
        assert metric.num_failed == 2
        assert sum(count for _, _, count in metric.reasons) == 60 - metric.num_ok
    quality = summarise(run).metric("quality")
    assert quality.num_not_applicable == 1
    assert ("not_applicable", "synthetic: not applicable", 1) in quality.reasons


def test_the_tail_lies_on_the_bad_side(run: Run):
    summary = summarise(run)
    quality, defect = scored("quality"), scored("defect")
    assert summary.metric("quality").tail == pytest.approx(np.nanquantile(quality, 0.05))
    assert summary.metric("defect").tail == pytest.approx(np.nanquantile(defect, 0.95))


@pytest.mark.parametrize("name", ["quality", "defect"])
def test_worst_clips_and_percentiles_by_plain_sorting(run: Run, name: str):
    metric = summarise(run).metric(name)
    table = scored(name)
    flat = table[np.isfinite(table)]
    order = np.sort(flat) if name == "quality" else np.sort(flat)[::-1]
    picks = worst_clips(metric, 5)
    assert [pick.value for pick in picks] == pytest.approx(order[:5])
    assert picks[0].percentile == 0
    for pick in picks:
        better = (flat > pick.value).sum() if name == "quality" else (flat < pick.value).sum()
        assert pick.percentile == pytest.approx(100 * (len(flat) - 1 - better) / (len(flat) - 1))


def test_a_constant_metric_has_no_telling_clips(run: Run):
    summary = summarise(run)
    assert most_telling([summary.metric("constant")], 5) == []
    assert {pick.metric.id for pick in most_telling(summary.quality, 5)} <= {"quality", "defect"}


def test_category_cells_are_means_of_their_prompts(run: Run):
    table = category_table(summarise(run).metrics)
    assert table.names == ["colour", "count", "motion"]
    categories = np.array([("colour", "motion", "count")[index % 3] for index in range(20)])
    for row, name in zip(table.cells, table.names, strict=True):
        for cell, metric in zip(row, table.metrics, strict=True):
            means = np.nanmean(scored(metric.id), axis=1)[categories == name]
            assert cell.interval.estimate == pytest.approx(means.mean())
            assert cell.num_prompts == len(means)
    assert all(row[2].level == 0 and not row[2].clear for row in table.cells)


def test_colour_of_a_cell_follows_better_and_worse_not_high_and_low(tmp_path):
    values = np.where(np.arange(12)[:, None] % 2 == 0, 1.0, 2.0) + np.zeros((12, 2))
    values += np.random.default_rng(0).normal(0, 0.01, values.shape)
    run = make_run(
        tmp_path / "run",
        values={"up": values, "down": values},
        suite=make_suite(12, categories=("low", "high")),
        directions={"down": "lower"},
    )
    cells = dict(zip(("high", "low"), category_table(summarise(run).metrics).cells, strict=True))
    assert [cell.level > 0 for cell in cells["high"]] == [True, False]
    assert [cell.level > 0 for cell in cells["low"]] == [False, True]
    assert all(cell.clear for row in cells.values() for cell in row)


def test_the_control_sample_is_random_but_always_the_same(run: Run):
    first = control_sample(summarise(run), 12)
    assert first == control_sample(summarise(open_run(run.folder)), 12)
    assert len(set(first)) == 12
    assert first != control_sample(summarise(run), 12, seed=1)
    assert ("p0004", "", 0) not in control_sample(summarise(run), 1000)
    assert len(control_sample(summarise(run), 1000)) == 58


def test_an_interval_ends_where_the_metric_does():
    kept = [1.0, 1.0, 1.0, 0.0]
    rows = pd.DataFrame({"prompt_id": list("abcd"), "value": kept})
    low, high = stats.t.interval(0.95, 3, np.mean(kept), stats.sem(kept))
    assert low < 0
    assert high > 1
    free = estimate(rows, (None, None))
    assert (free.low, free.high) == pytest.approx((low, high))
    share, floor = estimate(rows, (0.0, 1.0)), estimate(rows, (0.0, None))
    assert (share.estimate, share.low, share.high) == (0.75, 0.0, 1.0)
    assert (floor.low, floor.high) == (0.0, free.high)
    assert share.standard_error == free.standard_error
    assert metric_decimals(share) == metric_decimals(free)
    # One prompt has no spread: its interval is unknown, not the whole range.
    assert estimate(rows[:1], (0.0, 1.0)).high == np.inf
