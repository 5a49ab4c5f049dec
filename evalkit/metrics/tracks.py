"""What paths of points tell: FVMD of two sets, and jerk of one clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.features.protocol import FeatureRequest
from evalkit.metrics.base import BaseMetric
from evalkit.metrics.sets import SetBase
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    import torch

    from evalkit.features.protocol import ClipFeatures

__all__ = ["FVMD", "Jerk"]

TRACKS = FeatureRequest("tracks")


class FVMD(SetBase):
    """Frechet distance of motion histograms.

    Args:
        parity: histogram the velocity twice, as the published code does, instead of velocity and acceleration.
    """

    family = "fvmd"
    spec = MetricSpec(
        id="set.fvmd",
        version="1",
        title="FVMD",
        description="Things move at other speeds, or with other jolts, than in the reference clips.",
        direction="lower",
        range=(0.0, None),
        min_frames=16,
        formula=(
            "Frechet distance of 1024-d rows, one a window of 16 frames: histograms of velocity and acceleration of "
            "20 x 20 tracks over 8 directions, weighted by ceil(log2(|v| + 1)) / 8, in cells of 4 frames and 5 x 5 "
            "tracks; pixels of a 256 x 256 picture"
        ),
        invariant_to=("order of clips", "colour of the clips"),
        limits=(
            "1024 dimensions: below some thousand windows mostly bias, so compare at one N and read the noise floor. "
            "Tracks ride on DIS flow, the published code's on PIPs++. Its acceleration is a copy of its velocity "
            "(parity=true); ours is one."
        ),
        citation="Liu et al., Frechet video motion distance, ICML 2024 workshop; DSL-Lab code commit 4d592d9",
        default=False,
        leaf="temporal.jitter",
    )

    def __init__(self, parity: bool = False) -> None:
        self.parity = parity

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Tracks of the clip."""
        return (TRACKS,)

    def vector(self, clip: ClipFeatures) -> torch.Tensor:
        """One row a window, `(windows, 1024)`."""
        import torch

        from evalkit.metrics.functional.tracks import motion_histogram, motion_vectors

        vectors = motion_vectors(clip.tensor(TRACKS, "positions"), parity=self.parity)
        return torch.cat([motion_histogram(part) for part in vectors], 1)

    def feature_protocol(self) -> str:
        """Tracks, and what of them is counted."""
        return f"{super().feature_protocol()}/{'velocity twice' if self.parity else 'velocity+acceleration'}"

    def distance(self, generated: torch.Tensor, reference: torch.Tensor) -> float:
        """Frechet distance."""
        from evalkit.metrics.functional.frechet import frechet_distance

        return frechet_distance(generated, reference)


class Jerk(BaseMetric):
    """How abruptly the acceleration of tracked points changes."""

    spec = MetricSpec(
        id="temporal.jerk",
        version="1",
        title="Jerk",
        description="Motion jerks instead of speeding up and slowing down smoothly.",
        direction="lower",
        unit="% of the picture",
        range=(0.0, None),
        min_frames=16,
        formula=(
            "mean over 20 x 20 tracks and time of |x[t+3] - 3 x[t+2] + 3 x[t+1] - x[t]|, in percent of the picture's "
            "side; tracks start anew every 15 frames"
        ),
        invariant_to=("brightness", "size", "steady motion", "steady acceleration"),
        limits="Hits and bounces jerk honestly. A track that loses its point jumps; see temporal.coherence.",
        citation="Minimum-jerk principle of Flash & Hogan, J. Neuroscience 1985, as a measure of smoothness",
        default=False,
        leaf="temporal.jitter",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (TRACKS,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean jerk."""
        from evalkit.features.tracks import TRACK_SIZE
        from evalkit.metrics.functional.tracks import jerk

        return ClipScore(float(jerk(clip.tensor(TRACKS, "positions")).mean()) * 100 / TRACK_SIZE)
