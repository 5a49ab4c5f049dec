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
    frechet_distance,
    frechet_distance_from_statistics,
    principal_axes,
)
from evalkit.metrics.functional.kernels import (  # noqa: E402
    mean_pairwise_distance,
    mmd,
    precision_recall_density_coverage,
)

__all__ = [
    "FrechetMotionDistance",
    "FrechetVideoDistance",
    "KernelVideoDistance",
    "ProjectedFrechetDistance",
    "SeedDiversity",
    "TemporalFlicker",
    "VideoManifold",
]

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


class FrechetMotionDistance(FrechetVideoDistance):
    """FVMD: `update` takes uint8 clips `(N, T, 3, H, W)` of at least 16 frames, which are tracked on the CPU.

    Args:
        parity: histogram the velocity twice, as the published code does.
    """

    def __init__(self, parity: bool = False, **options: Any) -> None:
        self.parity = parity
        super().__init__(self._rows, feature_dim=1024, **options)

    def _rows(self, clips: Tensor) -> Tensor:
        from evalkit.features.flow import dis_flow
        from evalkit.features.pixels import planes_of
        from evalkit.features.requests import FLOW
        from evalkit.features.tracks import Tracks
        from evalkit.metrics.functional.tracks import motion_histogram, motion_vectors

        _check_clips(clips)
        rows = []
        for clip in clips.cpu():
            forward, backward = dis_flow(planes_of(clip, 256)[..., 0].contiguous())
            tracks = Tracks().extract("", {FLOW: {"forward": forward, "backward": backward}})
            vectors = motion_vectors(tracks["positions"], parity=self.parity)
            rows.append(torch.cat([motion_histogram(part) for part in vectors], 1))
        return torch.cat(rows)


class _Rows(Metric):  # type: ignore[misc]
    """Keeps the feature rows of both sets.

    Args:
        feature: network from a batch of clips to `(clips, D)`; None when `update` gets feature rows.
    """

    is_differentiable = False
    full_state_update = False
    real: list[Tensor]
    generated: list[Tensor]

    def __init__(self, feature: Feature | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.feature = feature
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("generated", [], dist_reduce_fx="cat")

    def update(self, clips: Tensor, real: bool) -> None:
        """Add a batch of clips (or feature rows) to the real or the generated set."""
        (self.real if real else self.generated).append(_features(self.feature, clips))

    def _sets(self) -> tuple[Tensor, Tensor]:
        """Generated and real rows."""
        return dim_zero_cat(self.generated), dim_zero_cat(self.real)


class KernelVideoDistance(_Rows):
    """KVD: squared MMD with `(x'y / D + 1)^3`.

    Args:
        feature: network from a batch of clips to `(clips, D)`; None when `update` gets feature rows.
        degree, offset: of the kernel.
        unbiased: the U-statistic, whose mean is 0 for equal distributions; False gives the V-statistic.
        scale: factor; JEDi is `degree=2, offset=0, scale=100`, as published with `unbiased=False`.
    """

    higher_is_better = False

    def __init__(
        self,
        feature: Feature | None = None,
        *,
        degree: int = 3,
        offset: float = 1.0,
        unbiased: bool = True,
        scale: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(feature, **options)
        self.degree, self.offset, self.unbiased, self.scale = degree, offset, unbiased, scale

    def compute(self) -> Tensor:
        """The distance, a float64 scalar; may be slightly negative when unbiased."""
        value = mmd(*self._sets(), degree=self.degree, offset=self.offset, unbiased=self.unbiased)
        return torch.tensor(self.scale * value, dtype=torch.float64)


class ProjectedFrechetDistance(_Rows):
    """Frechet distance on the real set's first principal axes: `set.frechet` for any features.

    Args:
        feature: network from a batch of clips to `(clips, D)`; None when `update` gets feature rows.
        components: axes that are kept.
    """

    higher_is_better = False

    def __init__(self, feature: Feature | None = None, *, components: int = 24, **options: Any) -> None:
        super().__init__(feature, **options)
        self.components = components

    def compute(self) -> Tensor:
        """The distance, a float64 scalar."""
        generated, real = self._sets()
        project = principal_axes(real, self.components)
        return torch.tensor(frechet_distance(project(generated), project(real)), dtype=torch.float64)


class VideoManifold(_Rows):
    """Precision, recall, density and coverage.

    Args:
        feature: network from a batch of clips to `(clips, D)`; None when `update` gets feature rows.
        neighbours: a ball reaches to this nearest neighbour.
    """

    higher_is_better = True

    def __init__(self, feature: Feature | None = None, *, neighbours: int = 5, **options: Any) -> None:
        super().__init__(feature, **options)
        self.neighbours = neighbours

    def compute(self) -> dict[str, Tensor]:
        """The four measures by name, float64 scalars."""
        found = precision_recall_density_coverage(*self._sets(), neighbours=self.neighbours)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in found._asdict().items()}


class SeedDiversity(Metric):  # type: ignore[misc]
    """Mean over prompts of the mean `1 - cos` between a prompt's samples.

    Args:
        feature: network from a batch of clips to `(clips, D)`; None when `update` gets feature rows.

    Example:
        >>> import torch
        >>> metric = SeedDiversity()
        >>> metric.update(torch.eye(3), prompts=torch.tensor([7, 7, 8]))
        >>> float(metric.compute())
        1.0
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    rows: list[Tensor]
    prompts: list[Tensor]

    def __init__(self, feature: Feature | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.feature = feature
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("prompts", [], dist_reduce_fx="cat")

    def update(self, clips: Tensor, prompts: Tensor) -> None:
        """Add a batch of clips (or feature rows) and the number of each one's prompt, int64 `(clips,)`.

        Raises:
            ValueError: another number of prompts than clips.
        """
        added = _features(self.feature, clips)
        if prompts.shape != (len(added),):
            raise ValueError(
                f"prompts have shape {tuple(prompts.shape)}; expected ({len(added)},), one a clip"
            )
        self.rows.append(added)
        self.prompts.append(prompts.long())

    def compute(self) -> Tensor:
        """Mean diversity, a float64 scalar.

        Raises:
            ValueError: no prompt has two clips.
        """
        rows, prompts = dim_zero_cat(self.rows), dim_zero_cat(self.prompts)
        members = [rows[prompts == prompt] for prompt in prompts.unique()]
        values = [mean_pairwise_distance(each) for each in members if len(each) > 1]
        if not values:
            raise ValueError("no prompt has two clips; diversity is measured between samples of one prompt")
        return torch.tensor(sum(values) / len(values), dtype=torch.float64)


def _check_clips(clips: Tensor) -> None:
    if clips.ndim != 5 or clips.dtype != torch.uint8 or clips.shape[2] != 3:
        raise ValueError(f"clips are {clips.dtype} {tuple(clips.shape)}; expected uint8 (N, T, 3, H, W)")


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

        _check_clips(clips)
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
