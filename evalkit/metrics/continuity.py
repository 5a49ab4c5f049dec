"""Does everything that changes follow from the motion, and does everything stay where it is?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.metrics.base import FLOW, LUMA, BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    import torch

    from evalkit.features.protocol import ClipFeatures, FeatureRequest

__all__ = ["Discontinuity", "Vanishing"]

_CHANGE = (
    "c[t] = F[t+1] minus its prediction from F[t] by the motion before, or F[t] minus its prediction from F[t+1] by "
    "the motion after, whichever is smaller; F luma and chroma, smoothed by sigma 3 px of a 256 px high picture; "
    "<a, b> = mean of a b within a glance (2 of the 19 degrees that the picture is high)"
)


def _change(clip: ClipFeatures) -> torch.Tensor:
    import torch

    from evalkit.metrics.functional.continuity import unexplained_change

    planes = torch.cat([clip.tensor(LUMA, "luma")[..., None], clip.tensor(LUMA, "chroma")], -1)
    return unexplained_change(planes, clip.tensor(FLOW, "forward"), clip.tensor(FLOW, "backward"))


class Discontinuity(BaseMetric):
    """Change that neither the motion before a transition nor the motion after it explains."""

    spec = MetricSpec(
        id="temporal.discontinuity",
        version="1",
        title="Discontinuity",
        description="Something jumps, pops up or is exchanged from one frame to the next.",
        direction="lower",
        unit="levels",
        range=(0.0, None),
        min_frames=4,
        series="transition",
        formula=f"mean over transitions of the mean of the largest 5% of sqrt(<c, c>); {_CHANGE}",
        invariant_to=("mirroring", "steady motion of any speed"),
        limits=(
            "Fast, irregular motion, water, fire and cuts are discontinuous in real footage as well: compare on equal "
            "prompts, and read the course within the clip. Contrast counts: a jump in the dark weighs little."
        ),
        evidence="measured",
        leaf="physics.mechanics",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (LUMA, FLOW)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean unexplained change; the series holds it per transition."""
        from evalkit.metrics.functional.continuity import discontinuity

        series = discontinuity(_change(clip))
        return ClipScore(float(series.mean()), series.tolist())


class Vanishing(BaseMetric):
    """Unexplained change that a later one takes back: what is gone, or there, only for a while."""

    spec = MetricSpec(
        id="temporal.vanishing",
        version="1",
        title="Vanishing",
        description="Something is gone for a while and comes back, or is there for a while only.",
        direction="lower",
        unit="levels",
        range=(0.0, None),
        min_frames=4,
        series="frame",
        formula=(
            "mean over pairs of transitions i, j with j >= i + 2 of the mean of the largest 5% of "
            f"max(0, -<c[i], c[j]>) / sqrt(max(<c[i], c[i]>, <c[j], c[j]>)); {_CHANGE}; the series is 0 but for the "
            "frames between the pair that undoes most, which have what it undoes"
        ),
        invariant_to=("mirroring",),
        limits=(
            "Things that pass quickly, lights that go on and off and shakes of the camera take changes back honestly. "
            "The time it takes grows with the square of the number of frames."
        ),
        evidence="measured",
        default=False,
        leaf="physics.permanence",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (LUMA, FLOW)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean change that is taken back; the series marks the frames in between."""
        from evalkit.metrics.functional.continuity import taken_back

        result = taken_back(_change(clip))
        series = [
            result.strength if result.first <= frame <= result.last else 0.0
            for frame in range(clip.record.num_frames)
        ]
        return ClipScore(result.value, series)
