"""Kernel distances of two feature sets (KVD, JEDi) and manifold measures (precision, recall, density, coverage)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "ManifoldScores",
    "mean_pairwise_distance",
    "mmd",
    "mmd_permutation_p",
    "polynomial_kernel",
    "precision_recall_density_coverage",
]


def polynomial_kernel(
    x: Tensor, y: Tensor, *, degree: int = 3, gamma: float | None = None, offset: float = 1.0
) -> Tensor:
    """`(gamma x'y + offset) ** degree`, float64 `(n, m)`; gamma is 1/D unless given.

    Example:
        >>> import torch
        >>> polynomial_kernel(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 1.0], [1.0, -1.0]])).tolist()
        [[8.0, 1.0]]
    """
    gamma = 1 / x.shape[1] if gamma is None else gamma
    return (gamma * (x.double() @ y.double().T) + offset) ** degree


def _mmd_of_kernel(kernel: Tensor, n: int, unbiased: bool) -> Tensor:
    """Squared MMD from the pooled kernel matrix whose first n rows are the first set."""
    within_x, within_y, between = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    m = len(kernel) - n
    if unbiased:
        mean_x = (within_x.sum() - within_x.diagonal().sum()) / (n * (n - 1))
        mean_y = (within_y.sum() - within_y.diagonal().sum()) / (m * (m - 1))
    else:
        mean_x, mean_y = within_x.mean(), within_y.mean()
    return mean_x + mean_y - 2 * between.mean()


def mmd(
    x: Tensor,
    y: Tensor,
    *,
    degree: int = 3,
    gamma: float | None = None,
    offset: float = 1.0,
    unbiased: bool = True,
) -> float:
    """Squared maximum mean discrepancy with a polynomial kernel, on all samples.

    The defaults are KVD's (and KID's) kernel `(x'y / D + 1)^3` as a U-statistic, whose mean is zero when both
    sets come from one distribution, so that it may be slightly negative. JEDi uses `degree=2, offset=0` and the
    V-statistic (`unbiased=False`), which is never negative but grows as samples get fewer.

    Args:
        x, y: features `(n, D)`, `(m, D)`; n, m >= 2.

    Raises:
        ValueError: fewer than two samples on a side.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0], [-1.0]])
        >>> mmd(x, x + 2, degree=1, gamma=1.0, offset=0.0, unbiased=False)
        4.0
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"the sets have {len(x)} and {len(y)} samples; the estimate needs at least 2")
    pooled = torch.cat([x, y]).double()
    kernel = polynomial_kernel(pooled, pooled, degree=degree, gamma=gamma, offset=offset)
    return float(_mmd_of_kernel(kernel, len(x), unbiased))


def mmd_permutation_p(
    x: Tensor,
    y: Tensor,
    *,
    generator: torch.Generator,
    permutations: int = 1000,
    degree: int = 3,
    gamma: float | None = None,
    offset: float = 1.0,
) -> float:
    """How often shuffled labels give at least the observed unbiased MMD: a permutation p-value.

    One pooled kernel serves all permutations: with `a` the 0/1 label vectors as columns, all block sums come
    from one product `K a`.

    Returns:
        `(1 + #{permuted >= observed}) / (permutations + 1)`, exact under the null hypothesis.

    Example:
        >>> import torch
        >>> x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
        >>> round(mmd_permutation_p(x, x + 5, generator=torch.Generator().manual_seed(1), permutations=99), 4)
        0.01
    """
    pooled = torch.cat([x, y]).double()
    n, total = len(x), len(x) + len(y)
    kernel = polynomial_kernel(pooled, pooled, degree=degree, gamma=gamma, offset=offset)
    kernel = kernel - torch.diag(kernel.diagonal())
    labels = torch.zeros(total, permutations + 1, dtype=torch.float64)
    labels[:n, 0] = 1
    for column in range(1, permutations + 1):
        labels[torch.randperm(total, generator=generator)[:n], column] = 1
    product = kernel @ labels
    within_x = (labels * product).sum(0)
    between = product.sum(0) - within_x
    within_y = kernel.sum() - within_x - 2 * between
    m = total - n
    values = within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * between / (n * m)
    # Permutations that only exchange equal samples give the observed value up to rounding.
    at_least = values[1:] >= values[0] - 1e-12 * values.abs().max()
    return float((1 + at_least.sum()) / (permutations + 1))


class ManifoldScores(NamedTuple):
    """Share of samples that lie where the other set lies; each in 0..1 except density, which may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(
    generated: Tensor, reference: Tensor, *, neighbours: int = 5
) -> ManifoldScores:
    """Manifold measures of Kynkaanniemi et al. (2019) and Naeem et al. (2020).

    A set's manifold is the union of balls around its samples that reach to the k-th nearest neighbour. Precision:
    share of generated samples in the reference's manifold. Recall: share of reference samples in the generated
    one. Density: mean number of reference balls a generated sample lies in, over k. Coverage: share of reference
    balls that hold a generated sample.

    Args:
        generated, reference: features `(n, D)`, `(m, D)`; both longer than `neighbours`.
        neighbours: k; 5 as in Naeem et al.

    Raises:
        ValueError: not more samples than neighbours.

    Example:
        >>> import torch
        >>> line = torch.arange(10.0)[:, None]
        >>> precision_recall_density_coverage(line + 0.5, line, neighbours=2)
        ManifoldScores(precision=1.0, recall=1.0, density=1.05, coverage=1.0)
    """
    if min(len(generated), len(reference)) <= neighbours:
        raise ValueError(
            f"the sets have {len(generated)} and {len(reference)} samples; {neighbours} neighbours need more"
        )
    x, y = generated.double(), reference.double()

    def radius(z: Tensor) -> Tensor:
        # The nearest "neighbour" of a sample is itself, hence k + 1.
        return (
            torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")
            .kthvalue(neighbours + 1, dim=1)
            .values
        )

    between = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    in_reference = between < radius(y)[None, :]
    in_generated = between < radius(x)[:, None]
    return ManifoldScores(
        precision=float(in_reference.any(1).double().mean()),
        recall=float(in_generated.any(0).double().mean()),
        density=float(in_reference.double().sum(1).mean() / neighbours),
        coverage=float(in_reference.any(0).double().mean()),
    )


def mean_pairwise_distance(x: Tensor) -> float:
    """Mean cosine distance `1 - cos` over all pairs of rows of `x` `(n, D)`, n >= 2.

    Example:
        >>> import torch
        >>> mean_pairwise_distance(torch.eye(3))
        1.0
    """
    unit = torch.nn.functional.normalize(x.double(), dim=-1)
    n = len(unit)
    return float(1 - (unit.sum(0).square().sum() - n) / (n * (n - 1)))
