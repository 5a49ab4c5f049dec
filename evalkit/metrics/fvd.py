"""FVD, and FVD extrapolated to infinitely many clips."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from evalkit.errors import EvalkitError, NotApplicable
from evalkit.metrics.sets import GROUPS, T_975, SetBase
from evalkit.metrics.spec import MetricSpec, SetScore

if TYPE_CHECKING:
    import torch

    from evalkit.metrics.functional.frechet import FrechetStatistics

__all__ = ["FVD", "FVDInfinity"]


class _VideoFrechet(SetBase):
    """Frechet distance of video features, by evalkit's or a peer's protocol."""

    def __init__(
        self,
        network: str = "world",
        checkpoint: str | None = None,
        preset: Literal["stylegan-v", "videogpt", "cd-fvd", "cd-fvd-videomae"] | None = None,
        frames: int = 16,
        stride: int = 1,
        ddof: int | None = None,
    ) -> None:
        from evalkit.features.presets import PRESETS

        if preset is not None and preset not in PRESETS:
            raise EvalkitError(f"{self.spec.id}: unknown preset {preset!r}; use one of {', '.join(PRESETS)}")
        super().__init__(PRESETS[preset].network if preset else network, checkpoint, frames, stride)
        self.preset = preset
        self.ddof = ddof if ddof is not None else PRESETS[preset].ddof if preset else 1

    def _options(self) -> dict[str, str | int | float | bool | None]:
        return super()._options() | ({"preset": self.preset} if self.preset else {})

    def _suffix(self) -> str:
        return f"/ddof{self.ddof}"

    def distance(self, generated: torch.Tensor, reference: torch.Tensor) -> float:
        """Frechet distance."""
        from evalkit.metrics.functional.frechet import frechet_distance

        return frechet_distance(generated, reference, ddof=self.ddof)


class FVD(_VideoFrechet):
    """Frechet distance of video-classifier features.

    Args:
        network: `world`, `i3d`, or another video network.
        checkpoint: a weights file of the user's own.
        preset: `stylegan-v`, `videogpt`, `cd-fvd` or `cd-fvd-videomae`: a peer's network, preprocessing and divisor.
        frames: length of the window.
        stride: distance of its frames.
        ddof: covariance over n - 1 (1) or n (0).
    """

    family = "fvd"
    spec = MetricSpec(
        id="set.fvd",
        version="1",
        title="FVD",
        description="The clips as a set look and move unlike the reference clips.",
        direction="lower",
        range=(0.0, None),
        formula="|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2) of video features, in Procrustes form, float64",
        invariant_to=("order of clips", "rotation of the feature space"),
        limits=(
            "Biased upwards by small samples: compare only at one N, and read it against the noise floor. The "
            "world encoder knows only the reference world; use a video network for other clips."
        ),
        citation="Unterthiner et al., Towards accurate generative models of video, 2018",
    )

    def score_statistics(
        self, generated: torch.Tensor, reference: FrechetStatistics, *, seed: int
    ) -> SetScore:
        """Distance to a reference of which only the statistics are known.

        The interval is the jackknife's over the generated side alone; there is no noise floor, because the
        reference cannot be halved.

        Raises:
            NotApplicable: a side has fewer than two clips.
        """
        import torch

        from evalkit.metrics.functional.frechet import FrechetStatistics, frechet_distance_from_statistics

        if min(len(generated), reference.count) < self.min_clips:
            raise NotApplicable(
                f"{self.spec.id} needs at least {self.min_clips} clips on each side; there are {len(generated)} "
                f"generated ones and {reference.count} in the reference"
            )

        def distance(rows: torch.Tensor) -> float:
            return frechet_distance_from_statistics(FrechetStatistics.of(rows), reference, ddof=self.ddof)

        value, interval = distance(generated), None
        if len(generated) >= 2 * GROUPS:
            generator = torch.Generator().manual_seed(seed)
            width = T_975 * self.jackknife(generated, distance, generator) ** 0.5
            interval = (value - width, value + width)
        protocol = self.protocol(len(generated), reference.count)
        return SetScore(value, interval, None, protocol, len(generated), reference.count)


class FVDInfinity(_VideoFrechet):
    """FVD extrapolated to infinitely many generated clips, where that is honest.

    Args:
        network: `world`, `i3d`, or another video network.
        checkpoint: a weights file of the user's own.
        preset: `stylegan-v`, `videogpt`, `cd-fvd` or `cd-fvd-videomae`: a peer's network, preprocessing and divisor.
        frames: length of the window.
        stride: distance of its frames.
        ddof: covariance over n - 1 (1) or n (0).
    """

    family = "fvd-infinity"
    spec = MetricSpec(
        id="set.fvd_infinity",
        version="1",
        title="FVD, extrapolated",
        description="The clips as a set look and move unlike the reference clips.",
        direction="lower",
        formula="intercept of FVD over 1/n, 15 subsets of n/2 to n clips evenly spaced in 1/n; interval: fit error",
        invariant_to=("order of clips",),
        limits=(
            "Only from n = 2 D clips on: below, the bias is not linear in 1/n. Takes the small-sample bias of the "
            "generated side away, not that of the reference. May be negative by its error."
        ),
        citation="Chong & Forsyth, Effectively unbiased FID and Inception Score, CVPR 2020",
        default=False,
    )
    _points: ClassVar[int] = 15

    def score(self, generated: torch.Tensor, reference: torch.Tensor, *, seed: int) -> SetScore:
        """Intercept and 95% interval of the fit.

        Raises:
            NotApplicable: fewer than 2 D generated clips.
        """
        import torch

        from evalkit.metrics.functional.frechet import frechet_infinity

        # Subsets are drawn from rows in an order of their own, so that the clips' order does not count.
        order = torch.argsort(generated.double().sum(1), stable=True)
        generator = torch.Generator().manual_seed(seed)
        try:
            value, error = frechet_infinity(
                generated[order], reference, generator=generator, points=self._points, ddof=self.ddof
            )
        except ValueError as problem:
            raise NotApplicable(f"{self.spec.id}: {problem}") from problem
        width = 2.160 * error  # 97.5% quantile of Student's t with 13 degrees of freedom
        sizes = (len(generated), len(reference))
        return SetScore(value, (value - width, value + width), None, self.protocol(*sizes), *sizes)

    def distance(self, generated: torch.Tensor, reference: torch.Tensor) -> float:
        """The intercept."""
        return self.score(generated, reference, seed=0).value
