"""torchmetrics classes for training loops: the harness's own mathematics with mergeable float64 states.

    fvd = FrechetVideoDistance(feature=network, feature_dim=400)
    fvd.update(real_clips, real=True)
    fvd.update(generated_clips, real=False)
    fvd.compute()

States add up over processes (`dist_reduce_fx`), so the value does not depend on how clips were sharded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from evalkit import _torchvision

_torchvision.ensure()

from torchmetrics import Metric  # noqa: E402  (torchvision must be made importable first)
from torchmetrics.utilities import dim_zero_cat  # noqa: E402

from evalkit.metrics.functional.frechet import (  # noqa: E402
    FrechetStatistics,
    frechet_distance_from_statistics,
)
from evalkit.metrics.functional.kernels import mmd  # noqa: E402

__all__ = ["FrechetVideoDistance", "KernelVideoDistance", "TemporalFlicker"]

Feature = Callable[[Tensor], Tensor]


def _features(feature: Feature | None, clips: Tensor) -> Tensor:
    rows = clips if feature is None else feature(clips)
    if rows.ndim != 2:
        raise ValueError(
            f"features have shape {tuple(rows.shape)}; expected (clips, D). Without `feature`, update() takes "
            "feature rows themselves"
        )
    return rows.detach().double()


def _merge_statistics(stacked: Tensor) -> Tensor:
    """Merge packed statistics of several processes: `(processes, 1 + D + D * D)` to `(1 + D + D * D,)`."""
    merged = _unpack(stacked[0])
    for row in stacked[1:]:
        merged = merged.merge(_unpack(row))
    return _pack(merged)


def _pack(statistics: FrechetStatistics) -> Tensor:
    count = torch.tensor([statistics.count], dtype=torch.float64, device=statistics.mean.device)
    return torch.cat([count, statistics.mean, statistics.scatter.flatten()])


def _unpack(packed: Tensor) -> FrechetStatistics:
    # 1 + D + D^2 numbers: D is the root of the count before rounding.
    dimension = int((packed.numel() - 1) ** 0.5)
    mean, scatter = packed[1 : 1 + dimension], packed[1 + dimension :]
    return FrechetStatistics(int(packed[0]), mean, scatter.reshape(dimension, dimension))


class FrechetVideoDistance(Metric):  # type: ignore[misc]
    """FVD with mean and covariance kept as mergeable statistics: memory does not grow with clips.

    Args:
        feature: network from a batch of clips to `(clips, feature_dim)`; None when `update` gets feature rows.
        feature_dim: D.
        ddof: covariance over n - 1 (1) or n (0).

    The value is that of `frechet_distance_from_statistics`; where all features fit into memory, `set.fvd` is exact
    on rank-deficient sets too.

    Example:
        >>> import torch
        >>> metric = FrechetVideoDistance(feature_dim=2)
        >>> rows = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
        >>> metric.update(rows, real=True); metric.update(rows + 1, real=False)
        >>> round(float(metric.compute()), 6)
        2.0
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(
        self, feature: Feature | None = None, *, feature_dim: int, ddof: int = 1, **options: Any
    ) -> None:
        super().__init__(**options)
        self.feature, self.feature_dim, self.ddof = feature, feature_dim, ddof
        empty = _pack(FrechetStatistics.empty(feature_dim))
        self.add_state("real", empty.clone(), dist_reduce_fx=_merge_statistics)
        self.add_state("generated", empty.clone(), dist_reduce_fx=_merge_statistics)
        self.set_dtype(torch.float64)

    def update(self, clips: Tensor, real: bool) -> None:
        """Add a batch of clips (or feature rows) to the real or the generated set."""
        added = FrechetStatistics.of(_features(self.feature, clips))
        name = "real" if real else "generated"
        setattr(self, name, _pack(_unpack(getattr(self, name)).merge(added)))

    def compute(self) -> Tensor:
        """The distance, a float64 scalar.

        Raises:
            ValueError: a side has fewer than two clips.
        """
        value = frechet_distance_from_statistics(_unpack(self.generated), _unpack(self.real), ddof=self.ddof)
        return torch.tensor(value, dtype=torch.float64)


class KernelVideoDistance(Metric):  # type: ignore[misc]
    """KVD: unbiased squared MMD with `(x'y / D + 1)^3`; keeps all feature rows.

    Args:
        feature: network from a batch of clips to `(clips, D)`; None when `update` gets feature rows.
        degree, offset: of the kernel; JEDi is `degree=2, offset=0`.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    real: list[Tensor]
    generated: list[Tensor]

    def __init__(
        self, feature: Feature | None = None, *, degree: int = 3, offset: float = 1.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.feature, self.degree, self.offset = feature, degree, offset
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("generated", [], dist_reduce_fx="cat")

    def update(self, clips: Tensor, real: bool) -> None:
        """Add a batch of clips (or feature rows) to the real or the generated set."""
        (self.real if real else self.generated).append(_features(self.feature, clips))

    def compute(self) -> Tensor:
        """The distance, a float64 scalar; may be slightly negative."""
        generated, real = dim_zero_cat(self.generated), dim_zero_cat(self.real)
        return torch.tensor(mmd(generated, real, degree=self.degree, offset=self.offset), dtype=torch.float64)


class TemporalFlicker(Metric):  # type: ignore[misc]
    """Mean `temporal.flicker` of clips, in percent.

    `update` takes uint8 clips `(N, T, 3, H, W)`; clips of which nothing can be followed are counted in
    `not_applicable` and left out of the mean.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    total: Tensor
    count: Tensor
    not_applicable: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("not_applicable", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.set_dtype(torch.float64)

    def update(self, clips: Tensor) -> None:
        """Add clips.

        Raises:
            ValueError: the clips are not uint8 `(N, T, 3, H, W)`.
        """
        from evalkit.features.flow import dis_flow
        from evalkit.features.pixels import planes_of
        from evalkit.metrics.functional.flicker import flicker

        if clips.ndim != 5 or clips.dtype != torch.uint8 or clips.shape[2] != 3:
            raise ValueError(f"clips are {clips.dtype} {tuple(clips.shape)}; expected uint8 (N, T, 3, H, W)")
        for clip in clips.cpu():
            planes = planes_of(clip, 256)
            luma, chroma = planes[..., 0].contiguous(), planes[..., 1:].contiguous()
            value = flicker(luma, chroma, *dis_flow(luma)).value
            if value == value:
                self.total += value
                self.count += 1
            else:
                self.not_applicable += 1

    def compute(self) -> Tensor:
        """Mean flicker of the clips, a float64 scalar.

        Raises:
            ValueError: no clip could be scored.
        """
        if self.count == 0:
            raise ValueError("no clip could be scored; call update() with clips that can be followed")
        return self.total / self.count
