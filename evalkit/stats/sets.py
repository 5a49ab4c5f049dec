"""Tests on set metrics (FVD, KVD): numbers that belong to a whole set of clips and have no clip values.

Kernels are computed once for the pooled clips; every permutation, label swap and bootstrap sample is then a
quadratic form in 0/1 (or count) vectors, and all of them together are one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.stats.intervals import Interval, resample_counts

__all__ = [
    "PermutationTest",
    "SetDifference",
    "compare_distances",
    "compare_kernel_distances",
    "mmd_permutation_test",
    "polynomial_kernel",
    "unbiased_mmd",
]

Array = NDArray[np.float64]
Distance = Callable[[Array], float]


class PermutationTest(NamedTuple):
    """A statistic with the p-value of a permutation test; the null's spread is the noise floor."""

    statistic: float
    p_value: float
    null_deviation: float


class SetDifference(NamedTuple):
    """Distance of the second run minus that of the first, to one reference; negative is an improvement.

    Attributes:
        distance_a: distance of the first run to the reference.
        distance_b: distance of the second run.
        difference: with an interval from resampling prompts, which is conservative.
        p_value: two-sided, from swapping the two runs' labels prompt by prompt, which is calibrated.
    """

    distance_a: float
    distance_b: float
    difference: Interval
    p_value: float


def polynomial_kernel(x: ArrayLike, y: ArrayLike, degree: int = 3, coefficient: float = 1.0) -> Array:
    """`(x . y / d + coefficient) ** degree`, the kernel of KID and KVD (Binkowski et al. 2018).

    Args:
        x: `(n, d)` features.
        y: `(m, d)` features.
        degree: exponent.
        coefficient: constant term.
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return np.asarray((first @ second.T / first.shape[1] + coefficient) ** degree)


def unbiased_mmd(x: ArrayLike, y: ArrayLike) -> float:
    """Unbiased squared MMD under `polynomial_kernel` (Gretton et al. 2012, eq. 3); may be negative.

    Args:
        x: `(n, d)` features, n >= 2.
        y: `(m, d)` features, m >= 2.
    """
    pooled = np.concatenate([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)])
    labels = np.zeros(len(pooled))
    labels[: len(np.asarray(x))] = 1.0
    kernel = polynomial_kernel(pooled, pooled)
    np.fill_diagonal(kernel, 0.0)
    return float(_mmd(kernel, labels[:, None])[0])


def _mmd(kernel: Array, labels: Array) -> Array:
    """Unbiased squared MMD for each column of 0/1 `labels` (1 = first set); the diagonal is zero."""
    size_x = labels.sum(axis=0)
    size_y = len(labels) - size_x
    product = kernel @ labels
    within_x = np.einsum("ij,ij->j", labels, product)
    across = product.sum(axis=0) - within_x
    within_y = kernel.sum() - within_x - 2 * across
    return np.asarray(
        within_x / (size_x * (size_x - 1))
        + within_y / (size_y * (size_y - 1))
        - 2 * across / (size_x * size_y)
    )


def mmd_permutation_test(
    x: ArrayLike, y: ArrayLike, rng: np.random.Generator, resamples: int = 999
) -> PermutationTest:
    """Do two sets of independent clips come from one distribution?

    Args:
        x: `(n, d)` features of one clip per prompt, n >= 2.
        y: `(m, d)` features of the other set, m >= 2.
        rng: source of the permutations.
        resamples: number of permutations.

    Returns:
        Unbiased squared MMD, its one-sided p-value, and the standard deviation under the null.
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(first) < 2 or len(second) < 2:
        raise ValueError(f"both sets need at least two clips, got {len(first)} and {len(second)}")
    pooled = np.concatenate([first, second])
    kernel = polynomial_kernel(pooled, pooled)
    np.fill_diagonal(kernel, 0.0)
    labels = np.zeros((len(pooled), resamples + 1))
    labels[: len(first), 0] = 1.0
    shuffled = rng.permuted(np.repeat(labels[:, :1], resamples, axis=1), axis=0)
    labels[:, 1:] = shuffled
    values = _mmd(kernel, labels)
    hits = int((values[1:] >= values[0] - 1e-12 * abs(values[0])).sum())
    return PermutationTest(float(values[0]), (1 + hits) / (1 + resamples), float(values[1:].std()))


def _prompt_index(prompt_ids: ArrayLike, rows: int) -> tuple[NDArray[np.intp], int]:
    labels = np.asarray(prompt_ids, dtype=str)
    if labels.shape != (rows,):
        raise ValueError(f"need one prompt id per clip, got {labels.shape} for {rows} clips")
    unique, index = np.unique(labels, return_inverse=True)
    return index, unique.size


def _check_pair(a: Array, b: Array) -> None:
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(
            f"both runs need the same prompts and samples in the same order, got features {a.shape} and {b.shape}"
        )


def _swap_labels(prompts: int, resamples: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    swaps = rng.integers(0, 2, size=(prompts, resamples + 1)).astype(bool)
    swaps[:, 0] = False  # the first column is what was observed
    return swaps


def _two_sided(values: Array) -> float:
    observed = abs(values[0])
    hits = int((np.abs(values[1:]) >= observed - 1e-9 * observed).sum())
    return (1 + hits) / values.size


def _basic(observed: float, replicates: Array, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    spread = float(replicates.std(ddof=1))
    # Reflected around the observed value: resampling prompts shifts a set distance, the reflection undoes it.
    return Interval(observed, 2 * observed - float(high), 2 * observed - float(low), spread, np.inf)


def compare_kernel_distances(
    a: ArrayLike,
    b: ArrayLike,
    reference: ArrayLike,
    prompt_ids: ArrayLike,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 999,
) -> SetDifference:
    """Compare two runs' KVD (unbiased squared MMD) to one reference, on shared prompts.

    Args:
        a: `(clips, d)` features of the first run.
        b: `(clips, d)` features of the second run, same prompts and samples in the same order.
        reference: `(m, d)` features of the reference clips.
        prompt_ids: `(clips,)` prompt of each clip.
        rng: source of the swaps and resamples.
        confidence: two-sided coverage of the interval.
        resamples: label swaps, and bootstrap samples.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    real = np.asarray(reference, dtype=np.float64)
    _check_pair(first, second)
    clips = len(first)
    index, prompts = _prompt_index(prompt_ids, clips)
    pooled = np.concatenate([first, second])
    kernel = polynomial_kernel(pooled, pooled)
    to_reference = polynomial_kernel(pooled, real).mean(axis=1)
    among = polynomial_kernel(real, real)
    np.fill_diagonal(among, 0.0)
    within_reference = float(among.sum() / (len(real) * (len(real) - 1)))

    def squared_mmd(weights: Array) -> Array:
        # Weighted U-statistic: a clip never meets itself, also where a bootstrap sample holds it twice.
        own = np.diag(kernel)[:, None] * weights**2
        pairs = np.einsum("ij,ij->j", weights, kernel @ weights) - own.sum(axis=0)
        total = weights.sum(axis=0)
        return np.asarray(
            pairs / (total**2 - (weights**2).sum(axis=0))
            - 2 * (to_reference @ weights) / total
            + within_reference
        )

    swaps = _swap_labels(prompts, resamples, rng)[index].astype(np.float64)
    in_a = np.concatenate([1 - swaps, swaps])
    distance_a, distance_b = squared_mmd(in_a), squared_mmd(1 - in_a)
    swapped = distance_b - distance_a

    counts = resample_counts(prompts, resamples, rng).T[index]
    counts = counts[:, (counts > 0).any(axis=0)]
    nothing = np.zeros_like(counts)
    boot = squared_mmd(np.concatenate([nothing, counts])) - squared_mmd(np.concatenate([counts, nothing]))
    boot = boot[np.isfinite(boot)]  # a sample of one repeated clip has no pair to compare
    return SetDifference(
        float(distance_a[0]),
        float(distance_b[0]),
        _basic(float(swapped[0]), boot, confidence),
        _two_sided(swapped),
    )


def compare_distances(
    a: ArrayLike,
    b: ArrayLike,
    distance: Distance,
    prompt_ids: ArrayLike,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 199,
) -> SetDifference:
    """The same comparison for any set distance (FVD): each swap and resample evaluates `distance` anew.

    Args:
        a: `(clips, d)` features of the first run.
        b: `(clips, d)` features of the second run, same prompts and samples in the same order.
        distance: maps `(n, d)` features to the distance to the fixed reference.
        prompt_ids: `(clips,)` prompt of each clip.
        rng: source of the swaps and resamples.
        confidence: two-sided coverage of the interval.
        resamples: label swaps, and bootstrap samples; `4 * resamples + 2` evaluations of `distance`.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _check_pair(first, second)
    index, prompts = _prompt_index(prompt_ids, len(first))
    members = [np.flatnonzero(index == prompt) for prompt in range(prompts)]
    distance_a, distance_b = distance(first), distance(second)
    swapped = [distance_b - distance_a]
    for swap in _swap_labels(prompts, resamples, rng).T[1:]:
        flip = swap[index][:, None]
        swapped.append(distance(np.where(flip, first, second)) - distance(np.where(flip, second, first)))
    boot = []
    for draw in rng.integers(0, prompts, size=(resamples, prompts)):
        rows = np.concatenate([members[prompt] for prompt in draw])
        boot.append(distance(second[rows]) - distance(first[rows]))
    values = np.array(swapped)
    interval = _basic(float(values[0]), np.array(boot), confidence)
    return SetDifference(distance_a, distance_b, interval, _two_sided(values))
