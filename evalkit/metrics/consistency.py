"""Does the subject stay the same, does the background, and can the picture be followed?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.errors import NotApplicable
from evalkit.metrics.base import FLOW, LUMA, BaseMetric, image_request
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures, FeatureRequest

__all__ = [
    "BackgroundConsistency",
    "ClipConsistency",
    "Coherence",
    "SubjectConsistency",
    "WarpError",
]

_CONSISTENCY = "mean over t >= 1 of 1/2 [max(0, cos(f[t-1], f[t])) + max(0, cos(f[0], f[t]))]"


class _Consistency(BaseMetric):
    """Consistency of frame features of one region."""

    region: ClassVar[str] = "frame"

    def __init__(self, network: str = "efficientnet-lite0", checkpoint: str | None = None) -> None:
        self.network, self.checkpoint = network, checkpoint

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Frame features of the network."""
        return (image_request(self.network, self.checkpoint, self.region),)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean consistency; the series holds it per transition."""
        from evalkit.metrics.functional.consistency import feature_consistency

        series = feature_consistency(clip.tensor(self.requires()[0], "features"))
        return ClipScore(float(series.mean()), series.tolist())


class SubjectConsistency(_Consistency):
    """Likeness of every frame to its predecessor and to the first frame, by an image network.

    Args:
        network: image network; reports name it, and `compare` refuses to mix networks.
        checkpoint: a weights file of the user's own.
    """

    spec = MetricSpec(
        id="temporal.subject_consistency",
        version="1",
        title="Subject consistency",
        description="The subject changes what it is or looks like while the clip runs.",
        direction="higher",
        range=(0.0, 1.0),
        min_frames=2,
        series="transition",
        formula=f"{_CONSISTENCY}; f = image features of whole frames",
        invariant_to=("fps", "mild compression"),
        limits=(
            "A still clip is perfectly consistent: read it next to motion.dynamic_degree. An ImageNet classifier "
            "(the embedded default) sees a change of kind better than a change of identity; DINO sees both."
        ),
        citation="Formula of VBench (Huang et al., CVPR 2024), which uses DINO ViT-B/16",
        leaf="identity.character",
    )


class BackgroundConsistency(_Consistency):
    """The same on the scene alone: what moves against the camera is filled in from around it.

    Args:
        network: image network.
        checkpoint: a weights file of the user's own.
    """

    region = "background"
    spec = MetricSpec(
        id="temporal.background_consistency",
        version="1",
        title="Background consistency",
        description="The scene behind the subject changes while the clip runs.",
        direction="higher",
        range=(0.0, 1.0),
        min_frames=2,
        series="transition",
        formula=(
            f"{_CONSISTENCY}; f = image features of frames whose moving subject (residual flow r to the camera's "
            "motion with |r|^2 > .01 |f|^2 + .5) is replaced by the colours around it"
        ),
        invariant_to=("fps", "mild compression"),
        limits="A subject that does not move counts as background; a camera move brings a new background in.",
        citation="Formula of VBench (Huang et al., CVPR 2024), which uses CLIP ViT-B/32 on whole frames",
        leaf="temporal.background",
    )


class ClipConsistency(_Consistency):
    """Cosine of neighbouring frames' features.

    Args:
        network: image network.
        checkpoint: a weights file of the user's own.
    """

    spec = MetricSpec(
        id="temporal.clip_consistency",
        version="1",
        title="Frame-to-frame consistency",
        description="What is seen changes from one frame to the next.",
        direction="higher",
        range=(-1.0, 1.0),
        min_frames=2,
        series="transition",
        formula="mean over transitions of cos(f[t], f[t+1]); f = image features of whole frames",
        invariant_to=("time reversal",),
        limits="Slow drift goes unseen: see temporal.long_drift.",
        citation="CLIP-temp of EvalCrafter (Liu et al., CVPR 2024), there with CLIP on frames without normalisation",
        default=False,
        leaf="identity.character",
    )

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean cosine of neighbouring frames."""
        from evalkit.metrics.functional.consistency import clip_consistency

        series = clip_consistency(clip.tensor(self.requires()[0], "features"))
        return ClipScore(float(series.mean()), series.tolist())


class Coherence(BaseMetric):
    """Share of the picture that optical flow can follow into the next frame and back."""

    spec = MetricSpec(
        id="temporal.coherence",
        version="1",
        title="Temporal coherence",
        description="Things dissolve, jump or are redrawn, so that the eye cannot follow them between frames.",
        direction="higher",
        range=(0.0, 1.0),
        min_frames=2,
        series="transition",
        formula=(
            "share of pixels with |f + b|^2 <= .01 (|f|^2 + |b|^2) + .5 among those whose motion stays in the "
            "picture; f forward flow, b backward flow at its end, in pixels of a picture at most 256 high"
        ),
        invariant_to=("brightness", "contrast", "mirroring"),
        limits=(
            "Motion blur, motion faster than the flow's search range and water or fire cannot be followed in real "
            "footage either; a cut shows as one incoherent transition. A still clip is coherent."
        ),
        evidence="measured",
        citation="Forward-backward check of Sundaram et al., Dense point trajectories, ECCV 2010; flow DIS",
        leaf="temporal.morph",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FLOW,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Share of the picture that can be followed, mean over transitions."""
        from evalkit.metrics.functional.coherence import coherence

        series = coherence(clip.tensor(FLOW, "forward"), clip.tensor(FLOW, "backward"))
        return ClipScore(float(series.mean()), series.tolist())


class WarpError(BaseMetric):
    """Masked mean squared difference of motion-compensated neighbours."""

    spec = MetricSpec(
        id="temporal.warp_error",
        version="1",
        title="Warp error",
        description="Along the motion, pixels change their colour.",
        direction="lower",
        range=(0.0, 1.0),
        min_frames=2,
        series="transition",
        formula=(
            "mean over visible pixels of (F[t] - W F[t+1])^2, frames (luma) in [0,1]; visible: passes the "
            "forward-backward check, on no motion boundary, not leaving the picture; mean over transitions"
        ),
        invariant_to=("mirroring",),
        limits="Fades and moving light count as error. EvalCrafter sums over channels and feeds its RAFT [0,1].",
        citation="Lai et al., Learning blind video temporal consistency, ECCV 2018; EvalCrafter, CVPR 2024",
        leaf="temporal.morph",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (LUMA, FLOW)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean error over the transitions of which anything is visible."""
        from evalkit.metrics.functional.coherence import warp_error

        error, share = warp_error(
            clip.tensor(LUMA, "luma") / 255, clip.tensor(FLOW, "forward"), clip.tensor(FLOW, "backward")
        )
        seen = share > 0
        if not bool(seen.any()):
            raise NotApplicable("no pixel is visible in two frames running, so there is nothing to compare")
        # A transition without visible pixels (a cut) says nothing of its own; it gets the clip's mean.
        mean = error[seen].mean()
        return ClipScore(float(mean), error.where(seen, mean).tolist())
