"""`temporal.flicker`: oscillation that motion does not explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.errors import NotApplicable
from evalkit.features.protocol import FeatureRequest
from evalkit.metrics.base import LUMA, BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures

__all__ = ["Flicker"]

FLOW = FeatureRequest("flow")


class Flicker(BaseMetric):
    """Motion-compensated alternation of brightness, per transition."""

    spec = MetricSpec(
        id="temporal.flicker",
        version="1",
        title="Flicker",
        description="Brightness or texture pulses from frame to frame where nothing moves to explain it.",
        direction="lower",
        unit="levels",
        range=(0.0, 255.0),
        min_frames=3,
        series="transition",
        formula="mean over visible pixels of |F[t] - (W F[t-1] + W F[t+1]) / 2|, luma 0..255",
        invariant_to=("time reversal", "mirroring", "slow fades"),
        limits="Where the flow fails (fast or deforming motion), what remains of motion counts as flicker.",
        leaf="temporal.flicker",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (LUMA, FLOW)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean alternation in levels of 255."""
        from evalkit.metrics.functional.flicker import flicker

        series = flicker(
            clip.tensor(LUMA, "luma"), clip.tensor(FLOW, "forward"), clip.tensor(FLOW, "backward")
        )
        if not bool(series.isfinite().all()):
            raise NotApplicable(
                "no frame shares a tenth of its picture with both neighbours, so nothing can alternate"
            )
        return ClipScore(float(series.mean()), series.tolist())
