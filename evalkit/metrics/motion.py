"""How much moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.metrics.base import FLOW, BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures, FeatureRequest

__all__ = ["DynamicDegree", "Magnitude"]

_PEER = "VBench (Huang et al., CVPR 2024), there on RAFT; flow here is OpenCV DIS"


class DynamicDegree(BaseMetric):
    """Whether anything moves: 1 or 0."""

    spec = MetricSpec(
        id="motion.dynamic_degree",
        version="1",
        title="Dynamic degree",
        description="The clip is a still picture.",
        direction="higher",
        range=(0.0, 1.0),
        min_frames=2,
        formula=(
            "frames thinned to about 8 a second; r = mean of the largest 5% of flow magnitudes; 1 if at least "
            "round(4 T / 16) transitions have r > 6 min(h, w) / 256, else 0"
        ),
        invariant_to=("brightness", "mirroring"),
        limits="Camera motion and flicker of texture count as motion; a yes-or-no answer, see motion.magnitude.",
        citation=_PEER,
        leaf="temporal.frozen",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FLOW,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """1.0 when the clip moves, else 0.0."""
        from evalkit.metrics.functional.motion import dynamic_degree

        _, moving = dynamic_degree(clip.tensor(FLOW, "forward"), float(clip.record.fps))
        return ClipScore(float(moving))


class Magnitude(BaseMetric):
    """How fast the fastest twentieth of the picture moves."""

    spec = MetricSpec(
        id="motion.magnitude",
        version="1",
        title="Motion magnitude",
        description="Little moves, or everything races.",
        direction="higher",
        unit="% of the short side a second",
        range=(0.0, None),
        min_frames=2,
        series="transition",
        formula="mean of the largest 5% of flow magnitudes / short side, times 100 fps; mean over transitions",
        invariant_to=("size", "brightness", "mirroring"),
        limits="More is not always better: read it as a description, and against what the prompt asks for.",
        citation=_PEER,
        leaf="temporal.frozen",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FLOW,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean speed of the fastest twentieth."""
        from evalkit.metrics.functional.motion import largest_motion

        flow = clip.tensor(FLOW, "forward")
        speed = largest_motion(flow) / min(flow.shape[-2:]) * 100 * float(clip.record.fps)
        return ClipScore(float(speed.mean()), speed.tolist())
