"""VBench's own formulas, flaws included, so that published scores can be reproduced."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.features.protocol import FeatureRequest
from evalkit.metrics.base import FRAMES, BaseMetric, image_request
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures

__all__ = ["BackgroundConsistency", "DynamicDegree", "SubjectConsistency", "TemporalFlickering"]

VBENCH = "Huang et al., VBench, CVPR 2024; formulas as of Vchitect/VBench commit 45e79ec and of release 0.1.5"


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


class _Consistency(BaseMetric):
    """Likeness to the predecessor and to the first frame, by VBench's network and resize."""

    network: ClassVar[str]

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Features of whole frames."""
        return (image_request(self.network, self.checkpoint, preprocess="vbench"),)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean over the frames after the first."""
        from evalkit.metrics.functional.consistency import feature_consistency

        series = feature_consistency(clip.tensor(self.requires()[0], "features"))
        return ClipScore(float(series.mean()), series.tolist())


_FORMULA = "mean over t >= 1 of 1/2 [max(0, cos(f[t-1], f[t])) + max(0, cos(f[0], f[t]))]"


class SubjectConsistency(_Consistency):
    """VBench's subject consistency, by DINO ViT-B/16.

    Args:
        checkpoint: DINO's file at another place.
    """

    network = "dino_vitb16"
    spec = MetricSpec(
        id="vbench.subject_consistency",
        version="2",
        title="VBench subject consistency",
        description="The subject changes what it looks like while the clip runs.",
        direction="higher",
        range=(0.0, 1.0),
        min_frames=2,
        series="transition",
        formula=f"{_FORMULA}; f = DINO ViT-B/16 of whole frames, short side 224, no crop",
        limits=(
            "Rewards stillness. VBench weighs clips by their frames in one process and equally in several; evalkit's "
            "means weigh clips equally."
        ),
        citation=VBENCH,
        default=False,
        leaf="identity.character",
    )


class BackgroundConsistency(_Consistency):
    """VBench's background consistency, by CLIP ViT-B/32 on whole frames.

    Args:
        checkpoint: CLIP's file at another place.
    """

    network = "clip:ViT-B-32"
    spec = MetricSpec(
        id="vbench.background_consistency",
        version="2",
        title="VBench background consistency",
        description="The scene changes while the clip runs.",
        direction="higher",
        range=(0.0, 1.0),
        min_frames=2,
        series="transition",
        formula=f"{_FORMULA}; f = CLIP ViT-B/32 of whole frames, short side 224, centre crop",
        limits="Masks nothing: a subject that changes counts as background. See temporal.background_consistency.",
        citation=VBENCH,
        default=False,
        leaf="temporal.background",
    )


class DynamicDegree(BaseMetric):
    """VBench's dynamic degree, by RAFT.

    Args:
        checkpoint: RAFT's file (torchvision's layout) at another place.
    """

    spec = MetricSpec(
        id="vbench.dynamic_degree",
        version="1",
        title="VBench dynamic degree",
        description="The clip is a still picture.",
        direction="higher",
        range=(0.0, 1.0),
        min_frames=2,
        formula=(
            "frames thinned to about 8 a second; r = mean of the largest 5% of RAFT flow magnitudes; 1 if at least "
            "round(4 T / 16) transitions have r > max(1, 8 / fps) 6 min(h, w) / 256, else 0"
        ),
        limits="Camera motion and flicker of texture count as motion; a clip of one or two kept frames always moves.",
        citation=VBENCH,
        default=False,
        leaf="temporal.frozen",
    )

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    def requires(self) -> tuple[FeatureRequest, ...]:
        """RAFT's largest magnitudes."""
        given = {"checkpoint": self.checkpoint} if self.checkpoint else {}
        return (FeatureRequest.of("vbench_motion", **given),)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """1.0 when the clip moves, else 0.0."""
        largest = clip.tensor(self.requires()[0], "largest")
        record = clip.record
        threshold = max(1.0, 8 / float(record.fps)) * 6.0 * min(record.height, record.width) / 256.0
        needed = round(4 * (len(largest) + 1) / 16)
        return ClipScore(float(int((largest > threshold).sum()) >= needed))
