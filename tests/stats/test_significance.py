"""Tests and corrections against scipy and statsmodels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from evalkit.stats.significance import benjamini_hochberg, holm, mcnemar_test, sign_flip_p_values

p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def scipy_sign_flip(values, **options):
    return stats.permutation_test(
        (values,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", vectorized=True, **options
    ).pvalue


@pytest.mark.parametrize("prompts", [2, 5, 9])
def test_few_prompts_are_enumerated_exactly(prompts):
    values = np.random.default_rng(prompts).normal(0.3, 1, prompts)
    ours = sign_flip_p_values(values, np.random.default_rng(0))[0]
    assert ours == pytest.approx(scipy_sign_flip(values, n_resamples=np.inf), rel=1e-12)


def test_many_prompts_agree_with_scipy_within_monte_carlo_error():
    values = np.random.default_rng(7).exponential(size=(40, 2)) - [0.75, 1.0]
    ours = sign_flip_p_values(values, np.random.default_rng(0), resamples=19_999)
    for column in range(2):
        oracle = scipy_sign_flip(values[:, column], n_resamples=9999, rng=np.random.default_rng(1))
        # scipy doubles the smaller tail, so its Monte-Carlo error is twice that of a tail: 3 of 0.0064.
        assert ours[column] == pytest.approx(oracle, abs=0.02)


def test_a_p_value_is_never_zero_and_no_change_gives_one():
    extreme = np.full(30, 5.0) + np.random.default_rng(0).normal(size=30) * 1e-3
    assert sign_flip_p_values(extreme, np.random.default_rng(0), resamples=999)[0] == 1 / 1000
    assert sign_flip_p_values(np.zeros(30), np.random.default_rng(0))[0] == 1.0
    assert sign_flip_p_values(np.zeros(4), np.random.default_rng(0))[0] == 1.0


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=10))
@settings(max_examples=50, deadline=None)
def test_direction_does_not_matter(values):
    rng = np.random.default_rng
    assert sign_flip_p_values(values, rng(0)) == sign_flip_p_values(np.negative(values), rng(0))


def test_paired_data_are_tested_as_pairs():
    # A respected toolkit runs an unpaired z test on paired scores: prompt difficulty then hides the change.
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 1, 40)
    before, after = difficulty + rng.normal(0, 0.05, 40), difficulty - 0.1 + rng.normal(0, 0.05, 40)
    unpaired = stats.ttest_ind(before, after).pvalue
    paired = sign_flip_p_values(after - before, rng)[0]
    assert unpaired > 0.3
    assert paired < 0.001


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_corrections_agree_with_statsmodels(size):
    p_values = np.random.default_rng(size).beta(0.3, 1, size).round(2)  # rounded: ties occur
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)
    assert benjamini_hochberg(p_values) == pytest.approx(
        multipletests(p_values, method="fdr_bh")[1], abs=1e-12
    )


@given(p_lists)
@settings(max_examples=50, deadline=None)
def test_holm_is_stricter_than_benjamini_hochberg(p_values):
    assert (holm(p_values) >= benjamini_hochberg(p_values) - 1e-12).all()


def test_corrections_refuse_what_is_no_p_value():
    assert holm([]).size == 0
    for bad in ([1.2], [np.nan], [[0.1]]):
        with pytest.raises(ValueError):
            holm(bad)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (3, 9), (0, 5), (6, 6)])
def test_mcnemar_agrees_with_statsmodels(only_a, only_b):
    first = np.array([True] * only_a + [False] * only_b + [True] * 4 + [False] * 20)
    second = np.array([False] * only_a + [True] * only_b + [True] * 4 + [False] * 20)
    result = mcnemar_test(first, second)
    table = [[4, only_a], [only_b, 20]]
    assert (result.only_a, result.only_b) == (only_a, only_b)
    assert result.p_value == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert result.p_more_in_b == pytest.approx(stats.binom.sf(only_b - 1, only_a + only_b, 0.5))
