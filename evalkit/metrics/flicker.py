"""`temporal.flicker`: oscillation that motion does not explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.errors import NotApplicable
from evalkit.metrics.base import FLOW, LUMA, BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures, FeatureRequest

__all__ = ["Flicker"]


class Flicker(BaseMetric):
    """Motion-compensated alternation of local brightness, colour and contrast."""

    spec = MetricSpec(
        id="temporal.flicker",
        version="2",
        title="Flicker",
        description="Brightness, colour or texture pulses from frame to frame where nothing moves to explain it.",
        direction="lower",
        unit="%",
        range=(0.0, None),
        min_frames=3,
        series="transition",
        formula=(
            "amplitude a(P) = |P[t] - (W P[t-1] + W P[t+1]) / 2| / 2 along the flow, summed over pixels visible in "
            "all three frames; 100 [sum a(local luma) / sum (luma + 16) + sum |a(local chroma)| / sum (luma + 16) "
            "+ sum a(local contrast) / sum (contrast + 1)]; local = Gaussian, sigma 3 px of a 256 px high picture"
        ),
        invariant_to=("time reversal", "mirroring", "steady fades", "noise of single pixels"),
        limits=(
            "Where the flow fails nothing is counted: temporal.coherence says how much that is. Regular motion "
            "faster than half a period a frame looks like flicker, to people as well."
        ),
        evidence="measured",
        leaf="temporal.flicker",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (LUMA, FLOW)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Amplitude of alternation in percent."""
        from evalkit.metrics.functional.flicker import flicker

        result = flicker(
            clip.tensor(LUMA, "luma"),
            clip.tensor(LUMA, "chroma"),
            clip.tensor(FLOW, "forward"),
            clip.tensor(FLOW, "backward"),
        )
        if result.value != result.value:
            raise NotApplicable(
                "under 1% of the picture can be followed over three frames, so alternation cannot be told from "
                "change; see temporal.coherence"
            )
        return ClipScore(result.value, result.per_transition.tolist())
