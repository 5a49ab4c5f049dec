"""Set metrics: kernels against torchmetrics' KID, resampling against plain loops, and behaviour."""

import numpy as np
import pytest

from evalkit.stats.sets import (
    compare_distances,
    compare_kernel_distances,
    mmd_permutation_test,
    polynomial_kernel,
    unbiased_mmd,
)


def loop_mmd(x, y):
    def kernel(a, b):
        return (float(np.dot(a, b)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def test_mmd_equals_the_textbook_sum():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 5)), rng.normal(0.5, 1, size=(7, 5))
    assert unbiased_mmd(x, y) == pytest.approx(loop_mmd(x, y), rel=1e-12)
    assert unbiased_mmd(x, y) == pytest.approx(unbiased_mmd(y, x), rel=1e-12)
    assert polynomial_kernel(x, y)[2, 3] == pytest.approx((x[2] @ y[3] / 5 + 1) ** 3)


def test_permutation_test_equals_a_loop_over_the_same_labels():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 4)), rng.normal(0.3, 1, size=(6, 4))
    result = mmd_permutation_test(x, y, np.random.default_rng(5), resamples=60)
    labels = np.random.default_rng(5).permuted(
        np.repeat(np.eye(14)[:, :8].sum(1)[:, None], 60, axis=1), axis=0
    )
    pooled = np.concatenate([x, y])
    null = [loop_mmd(pooled[column == 1], pooled[column == 0]) for column in labels.T]
    assert result.statistic == pytest.approx(loop_mmd(x, y), rel=1e-10)
    assert result.null_deviation == pytest.approx(np.std(null), rel=1e-9)
    assert result.p_value == (1 + sum(value >= loop_mmd(x, y) - 1e-12 for value in null)) / 61


def test_permutation_test_sees_a_shift():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 6)), rng.normal(0.6, 1, size=(50, 6))
    assert mmd_permutation_test(x, y, rng).p_value == 1 / 1000
    with pytest.raises(ValueError, match="at least two"):
        mmd_permutation_test(x[:1], y, rng)


def setting(shift_b, seed=0, prompts=24, samples=2, width=5):
    rng = np.random.default_rng(seed)
    ids = np.repeat([f"p{i:02d}" for i in range(prompts)], samples)
    content = np.repeat(rng.normal(size=(prompts, width)), samples, axis=0)
    a = content + rng.normal(0, 0.5, content.shape)
    b = content + rng.normal(shift_b, 0.5, content.shape)
    return a, b, rng.normal(size=(80, width)), ids


def test_kernel_comparison_equals_separate_distances():
    a, b, reference, ids = setting(0.5)
    result = compare_kernel_distances(a, b, reference, ids, np.random.default_rng(0), resamples=199)
    assert result.distance_a == pytest.approx(unbiased_mmd(a, reference), rel=1e-9)
    assert result.distance_b == pytest.approx(unbiased_mmd(b, reference), rel=1e-9)
    assert result.difference.estimate == pytest.approx(result.distance_b - result.distance_a, rel=1e-9)
    assert result.difference.low <= result.difference.estimate <= result.difference.high


def test_generic_and_kernel_comparison_agree():
    a, b, reference, ids = setting(0.25)
    fast = compare_kernel_distances(a, b, reference, ids, np.random.default_rng(3), resamples=499)
    slow = compare_distances(
        a, b, lambda x: unbiased_mmd(x, reference), ids, np.random.default_rng(4), resamples=499
    )
    assert slow.difference.estimate == pytest.approx(fast.difference.estimate, rel=1e-9)
    assert slow.p_value == pytest.approx(fast.p_value, abs=0.07)


@pytest.mark.parametrize("compare", ["kernel", "generic"])
def test_a_shifted_run_is_further_and_identical_runs_are_equal(compare):
    def run(a, b, reference, ids):
        rng = np.random.default_rng(0)
        if compare == "kernel":
            return compare_kernel_distances(a, b, reference, ids, rng, resamples=199)
        return compare_distances(a, b, lambda x: unbiased_mmd(x, reference), ids, rng, resamples=99)

    a, b, reference, ids = setting(1.0)
    worse = run(a, b, reference, ids)
    assert worse.difference.low > 0
    assert worse.p_value <= 0.01
    same = run(a, a, reference, ids)
    assert same.difference.estimate == 0
    assert same.p_value == 1.0
    better = run(b, a, reference, ids)
    assert better.difference.estimate == pytest.approx(-worse.difference.estimate)


def test_runs_must_hold_the_same_clips():
    a, b, reference, ids = setting(0.0)
    with pytest.raises(ValueError, match="same prompts"):
        compare_kernel_distances(a, b[:-1], reference, ids, np.random.default_rng(0))
    with pytest.raises(ValueError, match="one prompt id per clip"):
        compare_kernel_distances(a, b, reference, ids[:-1], np.random.default_rng(0))
