"""VBench's own formulas, flaws included, so that published scores can be reproduced."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.metrics.base import FRAMES, BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures, FeatureRequest

__all__ = ["TemporalFlickering"]

VBENCH = "Huang et al., VBench, CVPR 2024; formulas as of Vchitect/VBench commit 45e79ec"


class TemporalFlickering(BaseMetric):
    """VBench's temporal flickering: `(255 - mean |F[t+1] - F[t]|) / 255` at native size."""

    spec = MetricSpec(
        id="vbench.temporal_flickering",
        version="1",
        title="VBench temporal flickering",
        description="Neighbouring frames differ: flicker, but any motion as well.",
        direction="higher",
        range=(0.0, 1.0),
        min_frames=2,
        series="transition",
        formula="(255 - mean over transitions, pixels and channels of |F[t+1] - F[t]|) / 255, pixels 0..255",
        invariant_to=("time reversal", "mirroring"),
        limits=(
            "Rewards stillness and heavier compression: motion costs as much as flicker, and published models "
            "lie within .976 and .997. VBench filters moving clips out before; use temporal.flicker to judge "
            "clips that move."
        ),
        evidence="measured",
        citation=VBENCH,
        leaf="temporal.flicker",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FRAMES,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Score in 0..1; the series holds the same formula per transition."""
        from evalkit.metrics.functional.frames import frame_differences

        per_transition = (255.0 - frame_differences(clip.tensor(FRAMES, "frames"))) / 255.0
        return ClipScore(float(per_transition.mean()), per_transition.tolist())
