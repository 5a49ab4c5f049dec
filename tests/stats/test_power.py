"""Power figures against simulation and statsmodels, and the margin verdict."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.formula.api import mixedlm

from evalkit.stats.intervals import Interval, t_interval
from evalkit.stats.margins import Verdict, judge_bounds, judge_non_inferiority
from evalkit.stats.power import (
    margin_for_gate,
    more_prompts_needed,
    pass_probability,
    prompts_needed,
    smallest_detectable_effect,
    variance_parts,
)


def test_the_published_constants():
    assert smallest_detectable_effect(1.0) == pytest.approx(1.645 + 0.842, abs=1e-3)
    assert prompts_needed(100.0, 1.0) == pytest.approx(6.18e4, rel=1e-3)
    assert more_prompts_needed(1.0, 0.4, 30) == 9
    assert more_prompts_needed(1.0, 0.4, 64) == 0
    with pytest.raises(ValueError):
        prompts_needed(1.0, 0.0)


@pytest.mark.parametrize(("prompts", "expected"), [(16, 0.47), (32, 0.72), (64, 0.93), (128, 0.997)])
def test_pass_probability_is_the_measured_one(prompts, expected):
    assert pass_probability(0.4, prompts) == pytest.approx(expected, abs=0.02)


def test_pass_probability_agrees_with_simulation():
    rng = np.random.default_rng(0)
    effects = rng.normal(-0.1, 1, size=(4000, 30))
    bound = effects.mean(axis=1) - stats.t.ppf(0.95, 29) * effects.std(axis=1, ddof=1) / math.sqrt(30)
    assert pass_probability(0.4, 30, -0.1) == pytest.approx((bound > -0.4).mean(), abs=0.025)


def test_variance_parts_recover_what_was_put_in():
    rng = np.random.default_rng(1)
    prompts = np.repeat(np.arange(400), 4)
    values = rng.normal(0, 2, 400)[prompts] + rng.normal(0, 3, 1600)
    parts = variance_parts(values, prompts)
    assert parts.between == pytest.approx(4, rel=0.25)
    assert parts.within == pytest.approx(9, rel=0.1)
    means = np.bincount(prompts, values) / 4
    assert parts.standard_error(400, 4) == pytest.approx(t_interval(means).standard_error, rel=0.02)


def test_variance_parts_agree_with_a_mixed_model_on_unequal_seeds():
    import pandas as pd

    rng = np.random.default_rng(2)
    prompts = np.repeat(np.arange(120), rng.integers(2, 6, 120))
    frame = pd.DataFrame(
        {"prompt": prompts, "value": rng.normal(0, 1.5, 120)[prompts] + rng.normal(0, 1, prompts.size)}
    )
    fitted = mixedlm("value ~ 1", frame, groups=frame["prompt"]).fit()
    parts = variance_parts(frame["value"], frame["prompt"])
    assert parts.between == pytest.approx(float(fitted.cov_re.iloc[0, 0]), rel=0.1)
    assert parts.within == pytest.approx(fitted.scale, rel=0.05)


def test_variance_parts_of_too_little_data():
    assert variance_parts([1.0, 2.0, 4.0], ["a", "b", "c"]).within is None
    assert variance_parts([1.0], ["a"]) == (0.0, None)


def interval(estimate, error):
    return Interval(estimate, math.nan, math.nan, error, 1e9)


@pytest.mark.parametrize(
    ("estimate", "error", "expected"),
    [
        (0.0, 0.1, Verdict.PASS),
        (-0.1, 0.05, Verdict.PASS),  # certainly lower, and certainly by less than the margin
        (-0.5, 0.1, Verdict.REGRESS),
        (-0.2, 0.1, Verdict.REGRESS),
        (-0.1, 0.1, Verdict.INCONCLUSIVE),
        (0.1, 0.5, Verdict.INCONCLUSIVE),
        (0.0, 0.0, Verdict.PASS),
    ],
)
def test_verdict_follows_the_bounds(estimate, error, expected):
    assert judge_non_inferiority(interval(estimate, error), 0.2) is expected


def test_the_guard_points_the_right_way():
    # A respected gate once had its condition inverted and let every regression through.
    assert judge_non_inferiority(interval(-5.0, 0.1), 0.2) is Verdict.REGRESS
    assert judge_non_inferiority(interval(+5.0, 0.1), 0.2) is Verdict.PASS
    assert judge_bounds(0.9, 1.1, 0.8, 0.8) is Verdict.PASS
    assert judge_bounds(0.5, 0.7, 0.8, 0.8) is Verdict.REGRESS
    assert judge_bounds(0.7, 0.9, 0.8, 0.8) is Verdict.INCONCLUSIVE
    assert judge_non_inferiority(t_interval([0.0]), 0.2) is Verdict.INCONCLUSIVE
    assert judge_non_inferiority(interval(0.0, 0.0), 0.0) is Verdict.PASS
    with pytest.raises(ValueError):
        judge_non_inferiority(interval(0.0, 0.1), -0.2)


@pytest.mark.parametrize(("prompts", "checks"), [(24, 5), (64, 12)])
def test_a_gates_margins_let_an_unchanged_model_through_although_they_were_measured(prompts, checks):
    rng = np.random.default_rng(prompts)
    earlier, now = rng.normal(size=(2, 2000, checks, prompts))
    margins = margin_for_gate(prompts, checks) * earlier.std(axis=2, ddof=1)
    lower = now.mean(axis=2) - stats.t.ppf(0.95, prompts - 1) * now.std(axis=2, ddof=1) / prompts**0.5
    passed = (lower > -margins).all(axis=1).mean()
    # The allowance for the measured deviation costs some width, and must not be waste: half the margin fails.
    assert 0.95 <= passed <= 1.0
    assert (lower > -margins / 2).all(axis=1).mean() < 0.7
