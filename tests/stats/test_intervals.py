"""Intervals against independent oracles: statsmodels, arch, scipy, and properties."""

import math

import numpy as np
import pytest
from arch.bootstrap import IIDBootstrap
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from evalkit.stats.intervals import (
    clustered_rate_interval,
    percentile_interval,
    resample_counts,
    resample_means,
    stratified_t_interval,
    studentized_intervals,
    t_interval,
    wilson_interval,
)

effects = st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=2, max_size=40)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_t_interval_agrees_with_statsmodels(confidence):
    values = np.random.default_rng(0).exponential(size=23)
    expected = DescrStatsW(values)
    interval = t_interval(values, confidence)
    assert interval[1:3] == pytest.approx(expected.tconfint_mean(1 - confidence), rel=1e-12)
    assert interval.standard_error == pytest.approx(expected.std_mean, rel=1e-12)
    for side, alternative, tail in (("p_below", "smaller", "upper"), ("p_above", "larger", "lower")):
        assert getattr(interval, side)(0.8) == pytest.approx(
            expected.ttest_mean(0.8, alternative)[1], rel=1e-9
        )
        one_sided = expected.tconfint_mean(0.05, alternative)
        assert interval.bound(tail) == pytest.approx(one_sided[1 if tail == "upper" else 0], rel=1e-9)


@given(effects, st.floats(0.1, 10), st.floats(-50, 50))
@settings(max_examples=50, deadline=None)
def test_t_interval_moves_with_the_data(values, scale, shift):
    before, after = t_interval(values), t_interval(np.array(values) * scale + shift)
    assert before.low <= before.estimate <= before.high
    size = 1 + abs(shift) + scale * max(map(abs, values))
    assert after.low == pytest.approx(before.low * scale + shift, abs=1e-9 * size)
    assert after.high == pytest.approx(before.high * scale + shift, abs=1e-9 * size)


def test_one_prompt_bounds_nothing_and_identical_prompts_leave_no_doubt():
    assert t_interval([2.0])[1:4] == (-math.inf, math.inf, math.inf)
    assert t_interval([2.0]).bound("lower") == -math.inf
    assert t_interval([2.0]).p_below() == 1.0
    constant = t_interval([0.1] * 7)
    assert constant.standard_error == 0
    assert constant.low == constant.high == pytest.approx(0.1)
    assert (constant.p_above(), constant.p_below()) == (0.0, 1.0)
    assert studentized_intervals([0.1] * 7, np.random.default_rng(0))[0].standard_error == 0
    assert studentized_intervals([2.0], np.random.default_rng(0))[0].high == math.inf


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [[1.0, 2.0]], [math.inf]])
def test_nothing_missing_slips_in_as_a_number(bad):
    with pytest.raises(ValueError):
        t_interval(bad)


def test_category_weights_with_equal_shares_reduce_to_the_plain_mean():
    rng = np.random.default_rng(3)
    values, strata = rng.normal(size=40), np.repeat(["a", "b"], 20)
    weighted = stratified_t_interval(values, strata, {"a": 1, "b": 1})
    assert weighted.estimate == pytest.approx(values.mean())
    first, second = values[:20], values[20:]
    # Welch's t-test is the same statistic for the difference; only the sign of one weight differs.
    oracle = stats.ttest_ind(first, second, equal_var=False)
    assert weighted.dof == pytest.approx(oracle.df)
    assert weighted.standard_error == pytest.approx(
        0.5 * math.sqrt(first.var(ddof=1) / 20 + second.var(ddof=1) / 20)
    )
    with pytest.raises(ValueError, match="weights name"):
        stratified_t_interval(values, strata, {"a": 1})


def test_studentized_bootstrap_agrees_with_arch():
    values = np.random.default_rng(1).exponential(size=30) - 0.7

    def mean(x):
        return x.mean()

    def standard_error(params, x):
        return np.array([x.std(ddof=1) / math.sqrt(len(x))])

    ours = studentized_intervals(values, np.random.default_rng(5), resamples=20_000)[0]
    oracle = IIDBootstrap(values, seed=np.random.default_rng(6)).conf_int(
        mean, reps=20_000, method="studentized", size=0.95, std_err_func=standard_error
    )
    # 20,000 resamples place a 2.5% quantile of t* within about 0.05 of itself.
    assert ours.low == pytest.approx(float(oracle[0, 0]), abs=0.08 * ours.standard_error)
    assert ours.high == pytest.approx(float(oracle[1, 0]), abs=0.08 * ours.standard_error)


def test_metrics_share_resamples_without_mixing():
    values = np.random.default_rng(2).normal(size=(25, 3)) * [1, 10, 100] + [0, 5, -20]
    together = studentized_intervals(values, np.random.default_rng(9))
    for column in range(3):
        alone = studentized_intervals(values[:, column], np.random.default_rng(9))[0]
        assert together[column] == pytest.approx(alone, rel=1e-9)


def test_standard_error_does_not_shrink_with_more_resamples():
    # A respected harness reports the mean standard error of its replicates divided by sqrt(B).
    values = np.random.default_rng(4).normal(size=40)
    few, many = (
        percentile_interval(
            lambda rows: float(np.median(values[rows])), 40, np.random.default_rng(0), resamples=b
        )
        for b in (400, 6400)
    )
    assert many.standard_error == pytest.approx(few.standard_error, rel=0.15)
    truth = t_interval(values).standard_error
    for resamples in (500, 8000):
        error = studentized_intervals(values, np.random.default_rng(0), resamples=resamples)[0].standard_error
        assert error == pytest.approx(truth, rel=1e-12)
    mean = percentile_interval(
        lambda rows: float(values[rows].mean()), 40, np.random.default_rng(0), resamples=8000
    )
    assert mean.standard_error == pytest.approx(truth, rel=0.05)


def test_percentile_interval_agrees_with_scipy():
    values = np.random.default_rng(8).gamma(2, size=60)
    ours = percentile_interval(
        lambda rows: float(np.quantile(values[rows], 0.05)), 60, np.random.default_rng(1), resamples=4000
    )
    oracle = stats.bootstrap(
        (values,),
        lambda x: np.quantile(x, 0.05),
        n_resamples=4000,
        method="percentile",
        vectorized=False,
        rng=2,
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((oracle.low, oracle.high), abs=0.05)


@given(st.integers(1, 70_000), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_every_resample_draws_as_many_prompts_as_there_are(size, seed):
    counts = resample_counts(size, 2, np.random.default_rng(seed))
    assert counts.shape == (2, size)
    assert (counts.sum(axis=1) == size).all()


@pytest.mark.parametrize("prompts", [7, 300, 4000])
def test_means_of_resamples_are_those_of_the_drawn_prompts(prompts):
    """Against the textbook's gather of the same draws, over blocks that do not divide the resamples."""
    values = np.random.default_rng(1).normal(size=(prompts, 3))
    step = max(16, 50_000 // prompts)
    resamples = step + 5
    means = resample_means(values, resamples, np.random.default_rng(2))
    rng = np.random.default_rng(2)
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        drawn = rng.integers(0, prompts, size=(stop - start, prompts), dtype=np.uint16)
        for row in range(0, stop - start, max(1, (stop - start) // 20)):
            assert means[start + row] == pytest.approx(values[drawn[row]].mean(axis=0), abs=1e-12)


@pytest.mark.parametrize("prompts", [4001, 30_000, 250_000])
def test_many_prompts_are_drawn_as_few_are(prompts):
    """They are counted in blocks: each must come up as often as any other, and a block no more evenly than by chance."""
    resamples = 10 if prompts > 100_000 else 200
    counts = resample_counts(prompts, resamples, np.random.default_rng(3))
    assert counts.shape == (resamples, prompts)
    assert (counts.sum(axis=1) == prompts).all()
    # Counts of one prompt are binomial: mean 1, variance 1 - 1/n.
    assert counts.var() == pytest.approx(1, abs=5 * (2 / counts.size) ** 0.5 + 2e-3)
    if resamples < 100:
        return
    assert abs(counts.mean(axis=0) - 1).max() < 6 / resamples**0.5
    # Halves of the prompts, which are no borders of blocks: variance n/4 each, and what one gains the other loses.
    half = counts[:, : prompts // 2].sum(axis=1)
    assert half.mean() == pytest.approx(prompts // 2, abs=5 * (prompts / 4 / resamples) ** 0.5)
    assert half.var() == pytest.approx(prompts / 4, rel=0.4)


def test_resamples_are_uniform():
    counts = resample_counts(50, 4000, np.random.default_rng(0))
    totals = counts.sum(axis=0)
    assert stats.chisquare(totals).pvalue > 1e-3
    assert counts.var(axis=0).mean() == pytest.approx(1 - 1 / 50, rel=0.03)


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.5, 0.999))
@settings(max_examples=100, deadline=None)
def test_wilson_agrees_with_statsmodels(successes, trials, confidence):
    successes = min(successes, trials)
    expected = proportion_confint(successes, trials, 1 - confidence, method="wilson")
    assert wilson_interval(successes, trials, confidence) == pytest.approx(expected, abs=1e-12)


def test_rate_counts_prompts_when_clips_of_a_prompt_agree():
    prompts = np.repeat(np.arange(30), 4)
    alike = np.repeat(np.arange(30) < 6, 4)
    by_prompt = clustered_rate_interval(alike, prompts)
    assert (by_prompt.low, by_prompt.high) == pytest.approx(wilson_interval(6, 30), abs=0.01)
    spread = np.tile([True, False, False, False], 30)
    assert clustered_rate_interval(spread, prompts)[1:3] == pytest.approx(wilson_interval(30, 120))
    none = clustered_rate_interval(np.zeros(120, bool), prompts)
    assert (none.low, none.high) == pytest.approx(wilson_interval(0, 30))
    with pytest.raises(ValueError):
        clustered_rate_interval([], [])
