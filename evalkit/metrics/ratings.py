"""Frames as learned heads rate them, in evalkit's own units and in VBench's."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.features.protocol import FeatureRequest
from evalkit.metrics.base import BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec
from evalkit.metrics.vbench import VBENCH

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures

__all__ = ["Aesthetic", "AestheticQuality", "ImagingQuality", "Quality"]


class _Rating(BaseMetric):
    """Mean over frames of an extractor's `ratings`, divided by `scale`."""

    scale: ClassVar[float] = 1.0

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean rating; the series holds it per frame."""
        ratings = clip.tensor(self.requires()[0], "ratings").double() / self.scale
        return ClipScore(float(ratings.mean()), ratings.tolist())


class Quality(_Rating):
    """Technical quality by MUSIQ.

    Args:
        checkpoint: a MUSIQ file of the user's own; SPAQ's where left out.
    """

    preprocess: ClassVar[str] = "own"
    spec = MetricSpec(
        id="visual.quality",
        version="1",
        title="Picture quality (MUSIQ)",
        description="Frames are noisy, blurred, badly exposed or broken by compression.",
        direction="higher",
        unit="points of 100",
        series="frame",
        formula="mean over frames of MUSIQ trained on SPAQ; frames above 512 pixels reduced to that longer side",
        invariant_to=("order of frames",),
        limits=(
            "Learned from photographs of phones: drawn styles and generated artefacts are outside of what it has seen, "
            "and anatomy or meaning do not count."
        ),
        citation="Ke et al., MUSIQ, ICCV 2021; Fang et al., SPAQ, CVPR 2020",
        default=False,
        leaf="visual.distortion",
    )

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    def requires(self) -> tuple[FeatureRequest, ...]:
        """MUSIQ's ratings."""
        given = {"checkpoint": self.checkpoint} if self.checkpoint else {}
        own = {} if self.preprocess == "own" else {"preprocess": self.preprocess}
        return (FeatureRequest.of("quality", **given, **own),)


class ImagingQuality(Quality):
    """VBench's imaging quality: MUSIQ-SPAQ / 100.

    Args:
        checkpoint: VBench's file at another place.
    """

    scale, preprocess = 100.0, "vbench"
    spec = MetricSpec(
        id="vbench.imaging_quality",
        version="2",
        title="VBench imaging quality",
        description="Frames are noisy, blurred, badly exposed or broken by compression.",
        direction="higher",
        series="frame",
        formula="mean over frames of MUSIQ trained on SPAQ / 100; longer side at most 512, bilinear without antialiasing",
        limits="As visual.quality. VBench's per-clip files hold 0..100; its totals and this metric 0..1.",
        citation=VBENCH,
        default=False,
        leaf="visual.distortion",
    )


class Aesthetic(_Rating):
    """Aesthetics by LAION's head on CLIP ViT-L/14.

    Args:
        checkpoint: a head of the user's own.
        network: open_clip model that the head was trained on.
        network_checkpoint: a weights file of that model.
    """

    preprocess: ClassVar[str] = "own"
    spec = MetricSpec(
        id="visual.aesthetic",
        version="1",
        title="Aesthetics",
        description="People would find the frames ugly or plain.",
        direction="higher",
        unit="points of 10",
        series="frame",
        formula="mean over frames of w cos-normalised CLIP ViT-L/14 features + b, trained on ratings of 1 to 10",
        invariant_to=("order of frames",),
        limits="The taste of those who rated pictures for LAION; likes painterly pictures, ignores motion and prompt.",
        citation="Schuhmann et al., LAION-5B, NeurIPS 2022, aesthetic predictor",
        default=False,
    )

    def __init__(
        self,
        checkpoint: str | None = None,
        network: str = "ViT-L-14",
        network_checkpoint: str | None = None,
    ) -> None:
        self.checkpoint, self.network, self.network_checkpoint = checkpoint, network, network_checkpoint

    def requires(self) -> tuple[FeatureRequest, ...]:
        """The head's ratings."""
        given = {
            "checkpoint": self.checkpoint,
            "network": None if self.network == "ViT-L-14" else self.network,
            "network_checkpoint": self.network_checkpoint,
            "preprocess": None if self.preprocess == "own" else self.preprocess,
        }
        return (
            FeatureRequest.of(
                "aesthetic", **{name: value for name, value in given.items() if value is not None}
            ),
        )


class AestheticQuality(Aesthetic):
    """VBench's aesthetic quality: LAION's rating / 10.

    Args:
        checkpoint: a head of the user's own.
        network: open_clip model that the head was trained on.
        network_checkpoint: a weights file of that model.
    """

    scale, preprocess = 10.0, "vbench"
    spec = MetricSpec(
        id="vbench.aesthetic_quality",
        version="2",
        title="VBench aesthetic quality",
        description="People would find the frames ugly or plain.",
        direction="higher",
        series="frame",
        formula="mean over frames of LAION's linear head on unit CLIP ViT-L/14 features / 10",
        limits="As visual.aesthetic.",
        citation=VBENCH,
        default=False,
    )
