"""Bars 4 and 5: the Frechet distance, the bootstrap and the permutation test against the usual ways."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.perf.measure import Bar, Clock, alternate

D, N = 2048, 512


def _features(n: int, dimension: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Correlated features: a random mixture of half as many sources as dimensions."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randn(n, dimension // 2, generator=generator, dtype=torch.float64)
    mixing = torch.randn(
        dimension // 2, dimension, generator=torch.Generator().manual_seed(99), dtype=torch.float64
    )
    return sources @ mixing / dimension**0.5 + shift


def by_sqrtm(x: torch.Tensor, y: torch.Tensor) -> float:
    """cd-fvd's way, written anew: raw moments in float64 divided by n, and the square root of a matrix."""
    import scipy.linalg

    def moments(features: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        values = features.numpy()
        mean = values.sum(0) / len(values)
        return mean, values.T @ values / len(values) - np.outer(mean, mean)

    (m1, s1), (m2, s2) = moments(x), moments(y)
    root = scipy.linalg.sqrtm(s1 @ s2)
    return float(np.square(m1 - m2).sum() + np.trace(s1 + s2 - 2 * root).real)


class Rows(torch.nn.Module):
    """What torchmetrics takes for a feature network: features come as they are."""

    num_features = D

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows


def by_torchmetrics(x: torch.Tensor, y: torch.Tensor) -> float:
    """The class of torchmetrics over features that are there: eigenvalues of the product of covariances."""
    from evalkit import _torchvision

    _torchvision.ensure()
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(Rows()).set_dtype(torch.float64)
    metric.update(x, real=True)
    metric.update(y, real=False)
    return float(metric.compute())


def exact(x: torch.Tensor, y: torch.Tensor) -> float:
    """The distance in 50 digits. The nuclear norm of `A B'` is the sum of roots of eigenvalues of a small matrix."""
    import mpmath

    mpmath.mp.dps = 50

    def matrix(values: torch.Tensor) -> mpmath.matrix:
        return mpmath.matrix(values.tolist())

    def centred(values: mpmath.matrix) -> tuple[list[mpmath.mpf], mpmath.matrix]:
        means = [mpmath.fsum(values[:, j]) / values.rows for j in range(values.cols)]
        deviations = mpmath.matrix(values.rows, values.cols)
        for i in range(values.rows):
            for j in range(values.cols):
                deviations[i, j] = (values[i, j] - means[j]) / mpmath.sqrt(values.rows - 1)
        return means, deviations

    m1, a = centred(matrix(x))
    m2, b = centred(matrix(y))
    cross = a * b.T
    eigenvalues = mpmath.eigsy(cross * cross.T, eigvals_only=True)
    nuclear = mpmath.fsum(mpmath.sqrt(max(value, 0)) for value in eigenvalues)
    squares = mpmath.fsum(v**2 for v in a) + mpmath.fsum(v**2 for v in b)
    means = mpmath.fsum((one - other) ** 2 for one, other in zip(m1, m2, strict=True))
    return float(means + squares - 2 * nuclear)


def frechet(rounds: int, quick: bool) -> list[Bar]:
    """Speed at the size of FVD with I3D's successors, and digits against 50-digit arithmetic."""
    from evalkit import _torchvision
    from evalkit.metrics.functional.frechet import frechet_distance

    _torchvision.ensure()
    x, y = _features(N, D, 1), _features(N, D, 2, 0.1)
    product = (x - x.mean(0)) @ (y - y.mean(0)).T
    close = x + 1e-3 * _features(N, D, 3)
    clock = alternate(
        {
            "evalkit": lambda: frechet_distance(x, y),
            "the singular value decomposition in it alone": lambda: torch.linalg.svd(product),
            "evalkit on nearly equal sets": lambda: frechet_distance(x, close),
        },
        max(5, rounds),
    )
    sqrtm, eigvals = (
        _once("cd-fvd's", lambda: by_sqrtm(x, y)),
        _once("torchmetrics'", lambda: by_torchmetrics(x, y)),
    )
    mine = clock.median("evalkit")
    size = f"D={D}, n={N}"
    least_time = 1000 * clock.median("the singular value decomposition in it alone")
    reason = (
        f"LAPACK's singular value decomposition of the {N} x {N} product alone takes {least_time:.3g} ms, which no "
        "form that keeps all digits goes without."
    )
    small, other = _features(12, 40, 3), _features(14, 40, 4, 0.1)
    error = abs(frechet_distance(small, other) / exact(small, other) - 1)
    errors_near = {}
    for gap in (1e-4, 1e-5, 1e-6):
        near = small + gap * _features(12, 40, 5)
        errors_near[gap] = abs(frechet_distance(small, near) / exact(small, near) - 1)
    least = min(
        frechet_distance(_features(8, 32, seed), _features(8, 32, seed) * (1 + 1e-9 * seed))
        for seed in range(50)
    )
    return [
        Bar("4a", f"Frechet distance, cd-fvd's form with scipy's sqrtm / evalkit ({size})",
            sqrtm.median("cd-fvd's") / mine, 100, "at least", detail=f"{sqrtm.ms()}, {clock.ms()}", reason=reason),
        Bar("4b", f"Frechet distance, torchmetrics' class (eigenvalues) / evalkit ({size})",
            eigvals.median("torchmetrics'") / mine, 25, "at least", detail=eigvals.ms(), reason=reason),
        Bar("4c", "Frechet distance, relative error against 50 digits, n < D", error, 1e-12, "at most", unit=""),
        Bar("4d", "the same for sets that differ by 1e-5 of their spread", errors_near[1e-5], 1e-10, "at most",
            unit="", detail=", ".join(f"by {gap:g}: {one:.1e}" for gap, one in errors_near.items())),
        Bar("4e", "smallest distance of 50 nearly equal pairs", least, 0.0, "at least", unit=""),
    ]  # fmt: skip


def _once(name: str, run: Callable[[], object]) -> Clock:
    """One timing without a warm-up call: half a minute each is enough for a ratio of a hundred."""
    start = time.process_time()
    run()
    return Clock({name: [time.process_time() - start]})


def resampling(rounds: int, quick: bool) -> list[Bar]:
    """Bootstrap of 20 metrics over 1,000 prompts, and 1,000 permutations of MMD."""
    import scipy.stats

    from evalkit.metrics.functional.kernels import mmd, mmd_permutation_p
    from evalkit.stats.intervals import resample_means, studentized_intervals

    prompts, metrics, resamples = 1000, 20, 10_000
    values = np.random.default_rng(0).normal(size=(prompts, metrics))

    def percentile() -> np.ndarray:
        means = resample_means(values, resamples, np.random.default_rng(1))
        return np.quantile(means, [0.025, 0.975], axis=0)

    def drawn() -> np.ndarray:
        return np.random.default_rng(1).integers(0, prompts, size=(resamples, prompts), dtype=np.uint16)

    def scipys(batch: int | None = None) -> np.ndarray:
        found = scipy.stats.bootstrap(
            (values,), np.mean, axis=0, n_resamples=resamples, method="percentile", vectorized=True,
            batch=batch, random_state=np.random.default_rng(2),
        )  # fmt: skip
        return np.array(found.confidence_interval)

    clock = alternate(
        {
            "scipy": scipys,
            "scipy in batches of 200": lambda: scipys(200),
            "evalkit, same intervals": percentile,
            "drawing the resamples alone": drawn,
            "evalkit, bootstrap-t": lambda: studentized_intervals(
                values, np.random.default_rng(1), resamples=resamples
            ),
        },
        rounds,
    )
    apart = float(np.abs(percentile() - scipys(200)).max() * math.sqrt(prompts))
    n, dimension, permutations = 500, 128, 1000
    x, y = _features(n, dimension, 1), _features(n, dimension, 2, 0.02)
    loops = 5 if quick else 10
    pooled = torch.cat([x, y])

    def loop() -> None:
        generator = torch.Generator().manual_seed(0)
        for _ in range(loops):
            order = torch.randperm(2 * n, generator=generator)
            mmd(pooled[order[:n]], pooled[order[n:]])

    permuted = alternate(
        {
            "loop": loop,
            "evalkit": lambda: mmd_permutation_p(
                x, y, generator=torch.Generator().manual_seed(0), permutations=permutations
            ),
        },
        rounds,
    )
    ratio = permuted.ratio("loop", "evalkit") * permutations / loops
    return [
        Bar("5a", f"bootstrap, scipy / evalkit ({resamples:,} x {prompts:,} prompts x {metrics} metrics)",
            clock.ratio("scipy", "evalkit, same intervals"), 15, "at least",
            detail=f"{clock.ms()}; ends differ by {apart:.2f} standard errors",
            reason=f"Drawing {resamples * prompts:,} prompts alone takes "
            f"{1000 * clock.median('drawing the resamples alone'):.3g} ms."),
        Bar("5b", f"{permutations:,} MMD permutations, loop / evalkit (n = m = {n}, D = {dimension})", ratio, 100,
            "at least", detail=f"{loops} of the loop in {1000 * permuted.median('loop'):.3g} ms, {permuted.ms('evalkit')}"),
    ]  # fmt: skip


def bars(rounds: int, quick: bool) -> list[Bar]:
    return [*frechet(rounds, quick), *resampling(rounds, quick)]
