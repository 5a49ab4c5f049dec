"""Kernel distances and manifold measures against other libraries and their own laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.metrics.functional.kernels import (
    mean_pairwise_distance,
    mmd,
    mmd_permutation_p,
    polynomial_kernel,
    precision_recall_density_coverage,
)

A = torch.arange(1, 10).reshape(3, 3).double()
B = torch.tensor([[7, 6, 5], [4, 3, 2], [1, 1, 8], [0, 2, 5]]).double()


def gaussian(n, dimension, seed, shift=0.0):
    return (
        torch.randn(n, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift
    )


def test_jedis_published_check_values():
    """270.7 is degree 2, gamma 1/D, c0 0. 2436.5 is the example of the code JEDi took over: degree 2, gamma 1, c0 0.

    JEDi's comment gives it to degree 3 with c0 1 and its own gamma of 1/D, which is 23088.08.
    """
    assert mmd(A, B, degree=2, offset=0.0, unbiased=False) == pytest.approx(270.7222222222)
    assert mmd(A, B, degree=2, gamma=1.0, offset=0.0, unbiased=False) == pytest.approx(2436.5)
    assert mmd(A, B, degree=3, offset=1.0, unbiased=False) == pytest.approx(23088.0833333333)


@pytest.mark.parametrize(("degree", "gamma", "offset"), [(3, None, 1.0), (2, None, 0.0), (2, 0.5, 2.0)])
def test_kernel_is_scikit_learns(degree, gamma, offset):
    sklearn = pytest.importorskip("sklearn.metrics.pairwise")
    expected = sklearn.polynomial_kernel(A.numpy(), B.numpy(), degree=degree, gamma=gamma, coef0=offset)
    np.testing.assert_allclose(polynomial_kernel(A, B, degree=degree, gamma=gamma, offset=offset), expected)


def test_kvd_is_torchmetrics_kid_on_the_same_features():
    from evalkit import _torchvision

    _torchvision.ensure()
    from torchmetrics.image.kid import poly_mmd

    x, y = gaussian(40, 7, 1), gaussian(40, 7, 2, 0.3)
    assert mmd(x, y) == pytest.approx(float(poly_mmd(x, y)), rel=1e-10)


def test_unbiased_estimate_is_zero_in_the_mean_and_the_v_statistic_is_not():
    unbiased = [mmd(gaussian(20, 5, seed), gaussian(30, 5, seed + 500)) for seed in range(200)]
    biased = [mmd(gaussian(20, 5, seed), gaussian(30, 5, seed + 500), unbiased=False) for seed in range(200)]
    error = np.std(unbiased) / np.sqrt(len(unbiased))
    assert abs(np.mean(unbiased)) < 3 * error
    assert np.mean(biased) > 10 * error


def test_permutation_p_is_a_loop_over_shuffled_labels():
    x, y = gaussian(9, 3, 1), gaussian(7, 3, 2, 0.5)
    generator = torch.Generator().manual_seed(5)
    pooled, observed = torch.cat([x, y]), mmd(x, y)
    higher = 0
    for _ in range(50):
        order = torch.zeros(16, dtype=torch.bool)
        order[torch.randperm(16, generator=generator)[:9]] = True
        higher += mmd(pooled[order], pooled[~order]) >= observed - 1e-12
    p = mmd_permutation_p(x, y, generator=torch.Generator().manual_seed(5), permutations=50)
    assert p == pytest.approx((1 + higher) / 51)


def test_permutation_p_of_far_sets_is_the_smallest_possible():
    p = mmd_permutation_p(
        gaussian(20, 3, 1),
        gaussian(20, 3, 2, 5.0),
        generator=torch.Generator().manual_seed(0),
        permutations=99,
    )
    assert p == pytest.approx(0.01)


def manifold_by_loops(x, y, k):
    def distance(a, b):
        return np.linalg.norm(a - b)

    def radius(z, i):
        return sorted(distance(z[i], other) for other in z)[k]

    rx, ry = [radius(x, i) for i in range(len(x))], [radius(y, j) for j in range(len(y))]
    precision = np.mean([any(distance(a, b) < r for b, r in zip(y, ry, strict=True)) for a in x])
    recall = np.mean([any(distance(a, b) < r for a, r in zip(x, rx, strict=True)) for b in y])
    density = np.mean([sum(distance(a, b) < r for b, r in zip(y, ry, strict=True)) for a in x]) / k
    coverage = np.mean([any(distance(a, b) < r for a in x) for b, r in zip(y, ry, strict=True)])
    return precision, recall, density, coverage


@given(st.integers(0, 10**6), st.floats(0, 3))
@settings(max_examples=15, deadline=None)
def test_manifold_measures_are_their_definitions(seed, shift):
    x, y = gaussian(12, 3, seed), gaussian(15, 3, seed + 1, shift)
    measured = precision_recall_density_coverage(x, y, neighbours=3)
    assert tuple(measured) == pytest.approx(manifold_by_loops(x.numpy(), y.numpy(), 3))


def test_manifold_measures_of_equal_and_of_far_sets():
    x = gaussian(30, 4, 1)
    assert precision_recall_density_coverage(x, x)[:2] == (1.0, 1.0)
    assert precision_recall_density_coverage(x, x)[3] == 1.0
    assert precision_recall_density_coverage(x, x + 100) == (0.0, 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="neighbours need more"):
        precision_recall_density_coverage(x[:5], x)


def test_mean_pairwise_distance_is_a_loop():
    x = gaussian(6, 4, 1)
    unit = x / x.norm(dim=1, keepdim=True)
    pairs = [1 - float(unit[i] @ unit[j]) for i in range(6) for j in range(6) if i != j]
    assert mean_pairwise_distance(x) == pytest.approx(np.mean(pairs))
    assert mean_pairwise_distance(x[:1].repeat(4, 1)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("pair", [(A[:1], B), (A, B[:1])])
def test_one_sample_is_refused(pair):
    with pytest.raises(ValueError, match="at least 2"):
        mmd(*pair)
