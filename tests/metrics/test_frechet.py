"""The Frechet distance against 50-digit truth, other formulas and its own laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.metrics.functional import frechet, frechet_distance
from evalkit.metrics.functional.frechet import (
    FrechetStatistics,
    frechet_distance_from_statistics,
    frechet_infinity,
)


def gaussian(n, dimension, seed, *, scale=1.0, offset=0.0, rank=None):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, rank or dimension, generator=generator, dtype=torch.float64)
    if rank is not None:
        x = x @ torch.randn(rank, dimension, generator=generator, dtype=torch.float64)
    return x * scale + offset


def truth(x, y, ddof=1, digits=50):
    """|m1-m2|^2 + tr S1 + tr S2 - 2 sum of the singular values of A B', in `digits` digits."""
    import mpmath

    with mpmath.workdps(digits):

        def centred(z):
            matrix = mpmath.matrix(z.tolist())
            means = [mpmath.fsum(matrix[:, column]) / matrix.rows for column in range(matrix.cols)]
            for row in range(matrix.rows):
                for column in range(matrix.cols):
                    matrix[row, column] -= means[column]
            return matrix / mpmath.sqrt(matrix.rows - ddof), means

        (a, mean_a), (b, mean_b) = centred(x), centred(y)
        gap = mpmath.fsum((p - q) ** 2 for p, q in zip(mean_a, mean_b, strict=True))
        traces = mpmath.fsum(value**2 for value in a) + mpmath.fsum(value**2 for value in b)
        nuclear = mpmath.fsum(mpmath.svd_r(a * b.T, compute_uv=False))
        return float(gap + traces - 2 * nuclear)


@pytest.mark.parametrize(
    ("x", "y", "tolerance"),
    [
        pytest.param(gaussian(14, 4, 1), gaussian(12, 4, 2, scale=2.0, offset=1.0), 1e-12, id="full-rank"),
        pytest.param(gaussian(6, 9, 1), gaussian(5, 9, 2), 1e-12, id="fewer-samples-than-features"),
        pytest.param(gaussian(12, 6, 1, rank=2), gaussian(12, 6, 2, rank=3), 1e-12, id="rank-deficient"),
        pytest.param(gaussian(10, 4, 1, offset=1e5), gaussian(11, 4, 2, offset=1e5 + 1), 1e-12, id="offset"),
        pytest.param(
            gaussian(10, 4, 1), gaussian(10, 4, 1) + 1e-6 * gaussian(10, 4, 3), 1e-10, id="nearly-equal"
        ),
        pytest.param(gaussian(5, 8, 1), gaussian(5, 8, 1) * (1 + 1e-5), 1e-10, id="nearly-equal-deficient"),
    ],
)
@pytest.mark.parametrize("ddof", [0, 1])
def test_against_fifty_digits(x, y, tolerance, ddof):
    assert frechet_distance(x, y, ddof=ddof) == pytest.approx(truth(x, y, ddof), rel=tolerance)


@given(
    st.integers(2, 40),
    st.integers(2, 40),
    st.integers(1, 60),
    st.floats(-8, 1).map(lambda power: 10.0**power),
    st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_cheap_form_is_only_taken_where_it_keeps_its_digits(n, m, dimension, gap, seed):
    """Wherever the difference of sums is returned, it equals the sum of squares to the digits that are promised."""
    x = gaussian(n, dimension, seed)
    y = x[torch.arange(m) % n] + gap * gaussian(m, dimension, seed + 1)
    value = frechet_distance(x, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frechet, "_DIGITS", 1e-300)  # nothing is exact enough: always the sum of squares
        squares = frechet_distance(x, y)
    assert value == pytest.approx(squares, rel=1e-12, abs=1e-300)


def test_the_two_forms_at_the_size_of_features(monkeypatch):
    x, y = gaussian(96, 512, 1, rank=200), gaussian(128, 512, 2, rank=200, offset=0.1)
    calls = []
    monkeypatch.setattr(torch, "addmm", lambda *a, real=torch.addmm, **k: calls.append(1) or real(*a, **k))
    far, near = frechet_distance(x, y), frechet_distance(x, x * (1 + 1e-6))
    assert len(calls) == 1, "sums of squares are for sets that are nearly equal alone"
    monkeypatch.setattr(frechet, "_DIGITS", 1e-300)
    assert far == pytest.approx(frechet_distance(x, y), rel=1e-12)
    # Scaling by 1 + e moves every deviation by e, and the mean too: the distance is e^2 times their squares.
    covariance = float((x - x.mean(0)).square().sum()) / 95
    assert near == pytest.approx(1e-12 * (covariance + float(x.mean(0).square().sum())), rel=1e-8)


def test_against_sqrtm_where_that_is_well_conditioned():
    from scipy.linalg import sqrtm

    x, y = gaussian(300, 8, 1).numpy(), gaussian(200, 8, 2, scale=1.5, offset=0.3).numpy()
    covariance_x, covariance_y = np.cov(x.T), np.cov(y.T)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(
        covariance_x + covariance_y - 2 * sqrtm(covariance_x @ covariance_y).real
    )
    assert frechet_distance(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected, rel=1e-10)


def test_closed_form_of_two_isotropic_gaussians():
    """Whitened samples have exactly unit covariance: the distance is |shift|^2 + D (s - 1)^2."""
    x = gaussian(500, 5, 1)
    x = x - x.mean(0)
    factor = torch.linalg.cholesky(x.T @ x / (len(x) - 1))
    white = torch.linalg.solve_triangular(factor, x.T, upper=False).T
    assert frechet_distance(white, 3 * white + 2) == pytest.approx(5 * 4 + 5 * 4, rel=1e-12)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 8), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_laws(n, m, dimension, seed):
    x, y = gaussian(n, dimension, seed), gaussian(m, dimension, seed + 1, scale=2.0)
    value = frechet_distance(x, y)
    assert value >= 0
    assert frechet_distance(y, x) == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert frechet_distance(x, x) <= 1e-20
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert frechet_distance(x[order], y) == pytest.approx(value, rel=1e-11, abs=1e-13)
    rotation = torch.linalg.qr(gaussian(dimension, dimension, seed + 2)).Q
    assert frechet_distance(x @ rotation, y @ rotation) == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_shards_and_batches_give_the_same_statistics():
    x, y = gaussian(97, 7, 1, offset=1e4), gaussian(64, 7, 2, offset=1e4)
    whole = FrechetStatistics.of(x)
    merged = FrechetStatistics.empty(7)
    for part in (x[60:], x[:1], x[1:33], x[33:60]):
        merged = merged.merge(FrechetStatistics.of(part))
    assert merged.count == 97
    assert (merged.scatter - whole.scatter).abs().max() <= 1e-12 * whole.scatter.trace()
    reference = FrechetStatistics.of(y)
    value = frechet_distance_from_statistics(merged, reference)
    assert value == pytest.approx(frechet_distance_from_statistics(whole, reference), rel=1e-12)
    assert value == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_statistics_alone_survive_rank_deficiency():
    x, y = gaussian(20, 10, 1, rank=3), gaussian(30, 10, 2, rank=4)
    value = frechet_distance_from_statistics(FrechetStatistics.of(x), FrechetStatistics.of(y))
    assert value == pytest.approx(frechet_distance(x, y), rel=1e-6)


def test_bias_shrinks_with_samples_and_extrapolation_removes_it():
    reference = gaussian(4000, 8, 1)
    x = gaussian(400, 8, 2)
    plain = frechet_distance(x, reference)
    intercept, error = frechet_infinity(x, reference, generator=torch.Generator().manual_seed(0))
    assert abs(intercept) < plain / 2
    assert 0 < error < plain
    with pytest.raises(ValueError, match="2 D = 16"):
        frechet_infinity(x[:15], reference, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (torch.zeros(1, 3), torch.zeros(4, 3), "n >= 2"),
        (torch.zeros(4), torch.zeros(4, 3), "expected"),
        (torch.full((4, 3), float("nan")), torch.zeros(4, 3), "not finite"),
        (torch.zeros(4, 2), torch.zeros(4, 3), "one extractor"),
    ],
)
def test_wrong_input_is_named(x, y, words):
    with pytest.raises(ValueError, match=words):
        frechet_distance(x, y)


def test_common_metrics_zeros_against_ones():
    """With equal rows both covariances vanish and the distance is the squared gap of the means."""
    assert frechet_distance(torch.zeros(8, 30), torch.ones(8, 30)) == 30.0
