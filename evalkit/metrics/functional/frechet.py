"""The Frechet distance of two feature sets, exact where others lose digits.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2)

is, with `A` and `B` centred features divided by `sqrt(n - ddof)`, the Procrustes distance

    |m1 - m2|^2 + min over rotations Q of |A - Q B|_F^2.

That form is a sum of squares: it is never negative, exact on rank-deficient covariances, and does not cancel when the
sets are nearly equal, where the textbook form through `sqrtm` loses every digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "FrechetStatistics",
    "frechet_distance",
    "frechet_distance_from_statistics",
    "frechet_infinity",
    "principal_axes",
]


def _matrix(x: Tensor, name: str) -> Tensor:
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; expected (n, D) with n >= 2")
    return x.detach().to(torch.float64)


def _centred(x: Tensor, offset: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Mean of `x - offset`, and the deviations from it; what is not finite shows in the mean."""
    deviations = x - offset
    mean = deviations.mean(0)
    if not bool(mean.isfinite().all()):
        raise ValueError(f"{name} holds values that are not finite")
    return mean, deviations.sub_(mean)


def _reduced(centred: Tensor) -> Tensor:
    """A matrix with the same Gram matrix `X' X` and at most D rows."""
    return torch.linalg.qr(centred, mode="r").R if len(centred) > centred.shape[1] else centred


def frechet_distance(x: Tensor, y: Tensor, *, ddof: int = 1) -> float:
    """Frechet distance of the Gaussians fitted to two sets of feature vectors.

    Args:
        x, y: `(n, D)` and `(m, D)`, any float type; computed in float64. n, m >= 2.
        ddof: 1 divides covariances by n - 1 (common-metrics), 0 by n (StyleGAN-V, cd-fvd).

    Returns:
        The distance, >= 0.

    Raises:
        ValueError: wrong shapes, or values that are not finite.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> frechet_distance(x, x + 3.0)
        9.0
    """
    x, y = _matrix(x, "x"), _matrix(y, "y")
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"x has {x.shape[1]} features and y has {y.shape[1]}; both must come from one extractor"
        )
    # A common offset keeps the means' digits when features lie far from zero.
    offset = x[0].clone()
    mean_x, deviations_x = _centred(x, offset, "x")
    mean_y, deviations_y = _centred(y, offset, "y")
    a = _reduced(deviations_x).div_((len(x) - ddof) ** 0.5)
    b = _reduced(deviations_y).div_((len(y) - ddof) ** 0.5)
    return float((mean_x - mean_y).square().sum()) + _procrustes(a, b)


def _procrustes(a: Tensor, b: Tensor) -> float:
    """`min over Q of |A - Q B|_F^2`, A `(p, D)`, B `(q, D)`; the shorter one is padded with zero rows.

    The minimum is `|A|^2 + |B|^2 - 2 * (the singular values of A B')`. Where that difference does not cancel it is
    taken as it is, which saves a quarter of the time; else Q is applied and the squares are summed.
    """
    if len(a) < len(b):
        a, b = b, a
    u, singular, vh = torch.linalg.svd(a @ b.T, full_matrices=False)
    squares = float(a.square().sum() + b.square().sum())
    difference = squares - 2 * float(singular.sum())
    if difference > _cancelled(squares, len(b), a.shape[1]) / _DIGITS:
        return difference
    # The zero rows that would pad B take no part: rotate B into A's rows with a (p, q) isometry.
    residual = torch.addmm(a, u @ vh, b, alpha=-1.0).flatten()
    return float(residual @ residual)


_DIGITS = 1e-12
"""Relative error of a Frechet distance that is not nearly zero."""


def _cancelled(squares: float, rank: int, dimension: int) -> float:
    """Rounding error of `squares - 2 * (singular values)`, with `squares = |A|^2 + |B|^2`.

    An inner product of D terms is off by `sqrt(D) u` of its terms' size (root mean square; Higham & Mary 2019), which
    makes `A B'` off by at most `sqrt(D) u |A| |B|` in Frobenius norm and the sum of its `rank` singular values by
    `sqrt(rank)` times that (Mirsky 1960); LAPACK's own error is a few u of the largest, for each of them. With
    `2 |A| |B| <= squares` both together are below this.
    """
    unit = torch.finfo(torch.float64).eps / 2
    return unit * squares * (math.sqrt(rank * dimension) + 4 * rank)


def principal_axes(reference: Tensor, components: int) -> Callable[[Tensor], Tensor]:
    """Projection of feature rows onto the first principal axes of a reference set, float64.

    Args:
        reference: `(m, D)`.
        components: axes that are kept; at most min(m, D) exist.

    Example:
        >>> import torch
        >>> project = principal_axes(torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.1]]), 1)
        >>> project(torch.tensor([[2.0, 9.0], [3.0, 9.0]])).diff(dim=0).abs().round(decimals=2).item()
        1.0
    """
    centre = reference.double().mean(0)
    axes = torch.linalg.svd(reference.double() - centre, full_matrices=False).Vh[:components]
    return lambda rows: (rows.double() - centre) @ axes.T


@dataclass(frozen=True)
class FrechetStatistics:
    """Count, mean and scatter of a feature set, mergeable in any order (Chan et al., 1983). float64.

    Args:
        count: vectors seen.
        mean: `(D,)`.
        scatter: `(D, D)`, sum of outer products of deviations from the mean.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def empty(cls, dimension: int) -> FrechetStatistics:
        """Statistics of no vectors."""
        zeros = torch.zeros(dimension, dtype=torch.float64)
        return cls(0, zeros, torch.zeros(dimension, dimension, dtype=torch.float64))

    @classmethod
    def of(cls, x: Tensor) -> FrechetStatistics:
        """Statistics of `x`, `(n, D)`."""
        x = x.detach().to(torch.float64)
        mean = x.mean(0)
        centred = x - mean
        return cls(len(x), mean, centred.T @ centred)

    def merge(self, other: FrechetStatistics) -> FrechetStatistics:
        """Statistics of both sets together."""
        if self.count == 0 or other.count == 0:
            return other if self.count == 0 else self
        total = self.count + other.count
        delta = other.mean - self.mean
        share = self.count * other.count / total
        return FrechetStatistics(
            total,
            self.mean + delta * (other.count / total),
            self.scatter + other.scatter + share * torch.outer(delta, delta),
        )


def frechet_distance_from_statistics(x: FrechetStatistics, y: FrechetStatistics, *, ddof: int = 1) -> float:
    """Frechet distance where only statistics exist.

    Loses about half the digits on rank-deficient or nearly equal sets; prefer `frechet_distance` on features.

    Raises:
        ValueError: a side has fewer than two vectors.

    Example:
        >>> import torch
        >>> x = FrechetStatistics.of(torch.tensor([[0.0], [2.0]]))
        >>> y = FrechetStatistics.of(torch.tensor([[3.0], [5.0]]))
        >>> frechet_distance_from_statistics(x, y)
        9.0
    """
    if min(x.count, y.count) < 2:
        raise ValueError(f"the sets have {x.count} and {y.count} vectors; a covariance needs at least 2")
    a = _factor(x.scatter / (x.count - ddof))
    b = _factor(y.scatter / (y.count - ddof))
    return float((x.mean - y.mean).square().sum()) + _procrustes(a, b)


def _factor(covariance: Tensor) -> Tensor:
    """`F` with `F' F = covariance`: Cholesky, or eigenvectors trimmed at D machine epsilons where it fails."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed) == 0:
        triangle: Tensor = factor.T
        return triangle
    values, vectors = torch.linalg.eigh(covariance)
    floor = values[-1] * len(values) * torch.finfo(torch.float64).eps
    kept = values > floor
    trimmed: Tensor = (vectors[:, kept] * values[kept].sqrt()).T
    return trimmed


def frechet_infinity(
    x: Tensor, y: Tensor, *, generator: torch.Generator, points: int = 15, ddof: int = 1
) -> tuple[float, float]:
    """Frechet distance extrapolated to infinitely many samples: the intercept over 1/n.

    Args:
        x: generated features `(n, D)`.
        y: reference features `(m, D)`, all used at every point.
        generator: draws the subsets.
        points: sizes from n/2 to n, evenly spaced in 1/n.
        ddof: as in `frechet_distance`.

    Returns:
        The intercept, and the standard error of the straight line's fit.

    Raises:
        ValueError: n < 2 D. The bias is only linear in 1/n from about n > D on, and the smallest subset has n/2.

    Example:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> x, y = torch.randn(2, 500, 2, generator=generator)
        >>> value, error = frechet_infinity(x, y, generator=generator)
        >>> abs(value) < 0.05, error < 0.01
        (True, True)
    """
    if len(x) < 2 * x.shape[1]:
        raise ValueError(
            f"extrapolation needs at least 2 D = {2 * x.shape[1]} samples, there are {len(x)}: below, the bias is "
            "not yet linear in 1/n and the intercept means nothing"
        )
    inverse = torch.linspace(1 / len(x), 2 / len(x), points, dtype=torch.float64)
    sizes = (1 / inverse).round().long()
    values = torch.tensor(
        [
            frechet_distance(x[torch.randperm(len(x), generator=generator)[:size]], y, ddof=ddof)
            for size in sizes.tolist()
        ],
        dtype=torch.float64,
    )
    design = torch.stack([torch.ones(points, dtype=torch.float64), 1 / sizes.double()], 1)
    coefficients = torch.linalg.lstsq(design, values[:, None]).solution[:, 0]
    residual = values - design @ coefficients
    variance = residual.square().sum() / (points - 2) * torch.linalg.inv(design.T @ design)[0, 0]
    return float(coefficients[0]), float(variance.sqrt())
