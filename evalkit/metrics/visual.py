"""Quality of the pictures themselves, frame by frame and without a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.metrics.base import FRAMES, BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures, FeatureRequest

__all__ = ["Sharpness"]


class Sharpness(BaseMetric):
    """Perceptual sharpness: how much of the edge strength a further blur would take away."""

    spec = MetricSpec(
        id="visual.sharpness",
        version="1",
        title="Sharpness",
        description="Edges are soft; the picture looks out of focus or smeared.",
        direction="higher",
        range=(0.0, 1.0),
        series="frame",
        formula="min over axes of sum max(0, |sobel(Y)| - |sobel(blur11(Y))|) / sum |sobel(Y)|; mean over frames",
        invariant_to=("contrast", "brightness away from clipping"),
        limits="Noise and ringing count as sharpness; wanted depth of field counts as blur; depends on the size.",
        citation="Crete et al., The blur effect: perception and estimation with a new no-reference metric, SPIE 2007",
        leaf="visual.blur",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FRAMES,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean sharpness of the frames."""
        from evalkit.metrics.functional.picture import sharpness

        per_frame = sharpness(clip.tensor(FRAMES, "frames"))
        return ClipScore(float(per_frame.mean()), per_frame.tolist())
