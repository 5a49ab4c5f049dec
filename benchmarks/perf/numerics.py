"""Bars 4 and 5: the Frechet distance, the bootstrap and the permutation test against the usual ways."""

from __future__ import annotations

import math

import numpy as np
import torch

from benchmarks.perf.measure import Bar, alternate

D, N = 2048, 512


def _features(n: int, dimension: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Correlated features: a random mixture of half as many sources as dimensions."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randn(n, dimension // 2, generator=generator, dtype=torch.float64)
    mixing = torch.randn(
        dimension // 2, dimension, generator=torch.Generator().manual_seed(99), dtype=torch.float64
    )
    return sources @ mixing / dimension**0.5 + shift


def _moments(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    values = x.numpy()
    return values.mean(0), np.cov(values, rowvar=False)


def by_sqrtm(x: torch.Tensor, y: torch.Tensor) -> float:
    """The form of pytorch-fid and cd-fvd."""
    import scipy.linalg

    (m1, s1), (m2, s2) = _moments(x), _moments(y)
    root = scipy.linalg.sqrtm(s1 @ s2)
    return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * np.trace(root.real))


def by_eigvals(x: torch.Tensor, y: torch.Tensor) -> float:
    """The form of torchmetrics."""
    (m1, s1), (m2, s2) = _moments(x), _moments(y)
    roots = torch.linalg.eigvals(torch.from_numpy(s1 @ s2)).sqrt().real.sum()
    return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * roots)


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
    from evalkit.metrics.functional.frechet import frechet_distance

    dimension, n = D, N
    x, y = _features(n, dimension, 1), _features(n, dimension, 2, 0.1)
    clock = alternate({"evalkit": lambda: frechet_distance(x, y)}, rounds)
    sqrtm = _once("sqrtm", lambda: by_sqrtm(x, y))
    eigvals = _once("eigvals", lambda: by_eigvals(x, y))
    mine = clock.median("evalkit")
    size = f"D={dimension}, n={n}"
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
        Bar("4a", f"Frechet distance, scipy sqrtm / evalkit ({size})", sqrtm.median("sqrtm") / mine,
            100, "at least", detail=f"{sqrtm.ms()}, {clock.ms()}"),
        Bar("4b", f"Frechet distance, eigenvalues / evalkit ({size})", eigvals.median("eigvals") / mine,
            25, "at least", detail=eigvals.ms()),
        Bar("4c", "Frechet distance, relative error against 50 digits, n < D", error, 1e-12, "at most", unit=""),
        Bar("4d", "the same for sets that differ by 1e-5 of their spread", errors_near[1e-5], 1e-10, "at most",
            unit="", detail=", ".join(f"by {gap:g}: {one:.1e}" for gap, one in errors_near.items())),
        Bar("4e", "smallest distance of 50 nearly equal pairs", least, 0.0, "at least", unit=""),
    ]  # fmt: skip


def _once(name: str, run: object) -> object:
    """One timing without a warm-up call: half a minute each is enough for a ratio of a hundred."""
    import time

    from benchmarks.perf.measure import Clock

    start = time.process_time()
    run()  # type: ignore[operator]
    return Clock({name: [time.process_time() - start]})


def resampling(rounds: int, quick: bool) -> list[Bar]:
    """Bootstrap of 20 metrics over 1,000 prompts, and 1,000 permutations of MMD."""
    import scipy.stats

    from evalkit.metrics.functional.kernels import mmd, mmd_permutation_p
    from evalkit.stats.intervals import resample_counts, studentized_intervals

    prompts, metrics, resamples = 1000, 20, 10_000
    values = np.random.default_rng(0).normal(size=(prompts, metrics))

    def percentile() -> np.ndarray:
        means = resample_counts(prompts, resamples, np.random.default_rng(1)) @ values / prompts
        return np.quantile(means, [0.025, 0.975], axis=0)

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
            "evalkit, bootstrap-t": lambda: studentized_intervals(
                values, np.random.default_rng(1), resamples=resamples
            ),
        },
        1 if quick else rounds,
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
            detail=f"{clock.ms()}; ends differ by {apart:.2f} standard errors"),
        Bar("5b", f"{permutations:,} MMD permutations, loop / evalkit (n = m = {n}, D = {dimension})", ratio, 100,
            "at least", detail=f"{loops} of the loop's in {permuted.ms('loop')}, evalkit {permuted.ms('evalkit')}"),
    ]  # fmt: skip


def bars(rounds: int, quick: bool) -> list[Bar]:
    return [*frechet(rounds, quick), *resampling(rounds, quick)]
