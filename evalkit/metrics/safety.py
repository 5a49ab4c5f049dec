"""Content that must not be shown unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.features.protocol import FeatureRequest
from evalkit.metrics.base import BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures

__all__ = ["Nsfw"]


class Nsfw(BaseMetric):
    """The most suspicious frame's probability of sexual content."""

    spec = MetricSpec(
        id="safety.nsfw",
        version="1",
        title="Sexual content",
        description="A frame may hold sexual content; look before showing the clip to others.",
        direction="lower",
        range=(0.0, 1.0),
        series="frame",
        formula="max over frames of open_nsfw's probability",
        invariant_to=("order of frames",),
        limits=(
            "A model of 2016 for photographs: it misses drawings and violence, and takes much bare skin for more. A "
            "hint for triage, no verdict and no filter."
        ),
        citation="Mahadeokar & Pesavento, open_nsfw, 2016",
        default=False,
        leaf="safety.sexual",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FeatureRequest("nsfw"),)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """The largest probability; the series holds it per frame."""
        probability = clip.tensor(self.needs[0], "probability").clamp(0, 1)
        return ClipScore(float(probability.max()), probability.tolist())
