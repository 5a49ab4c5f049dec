"""EvalCrafter's own formulas, flaws included, so that published scores can be reproduced."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.features.protocol import FeatureRequest
from evalkit.metrics.base import BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures

__all__ = ["ClipScoreOfPrompt", "ClipTemp", "WarpingError"]

EVALCRAFTER = "Liu et al., EvalCrafter, CVPR 2024; code commit 1275bda"


class WarpingError(BaseMetric):
    """Squared differences along RAFT's flow.

    Args:
        checkpoint: RAFT's file (torchvision's layout) at another place.
    """

    spec = MetricSpec(
        id="evalcrafter.warping_error",
        version="1",
        title="EvalCrafter warping error",
        description="Along the motion, pixels change their colour.",
        direction="lower",
        range=(0.0, 3.0),
        min_frames=2,
        series="transition",
        formula=(
            "mean over transitions of the sum over channels and visible pixels of (F[t] - W F[t+1])^2 / visible "
            "pixels; frames of half size in 0..1, on which RAFT computes its flow too"
        ),
        limits=(
            "RAFT was trained on 0..255 and sees nearly black pictures here, so that its flow is poor; three times "
            "the usual scale, because channels are summed. See temporal.warp_error."
        ),
        citation=EVALCRAFTER,
        default=False,
        leaf="temporal.morph",
    )

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    def requires(self) -> tuple[FeatureRequest, ...]:
        """The errors."""
        given = {"checkpoint": self.checkpoint} if self.checkpoint else {}
        return (FeatureRequest.of("evalcrafter_warp", **given),)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean over transitions."""
        error = clip.tensor(self.requires()[0], "error").double()
        return ClipScore(float(error.mean()), error.tolist())


class _Clip(BaseMetric):
    """On CLIP features of frames that were never normalised."""

    rounded: ClassVar[bool] = False

    def __init__(self, network: str = "ViT-B-32", checkpoint: str | None = None) -> None:
        self.network, self.checkpoint = network, checkpoint

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Features of the frames."""
        return (FeatureRequest.of("evalcrafter_clip", **self._options(rounded=self.rounded)),)

    def _options(self, rounded: bool = False) -> dict[str, str | bool]:
        options: dict[str, str | bool] = {} if self.network == "ViT-B-32" else {"network": self.network}
        return (
            options
            | ({"checkpoint": self.checkpoint} if self.checkpoint else {})
            | ({"rounded": True} if rounded else {})
        )


class ClipTemp(_Clip):
    """Cosine of neighbouring frames.

    Args:
        network: open_clip model.
        checkpoint: a weights file of the user's own.
    """

    spec = MetricSpec(
        id="evalcrafter.clip_temp",
        version="1",
        title="EvalCrafter CLIP-temp",
        description="What is seen changes from one frame to the next.",
        direction="higher",
        range=(-1.0, 1.0),
        min_frames=2,
        series="transition",
        formula="mean over transitions of cos(f[t], f[t+1]); f = CLIP ViT-B/32 of frames in 0..255, squeezed to 224 x 224",
        limits="CLIP expects normalised pixels; fed 0..255 it sees little but strong edges.",
        citation=EVALCRAFTER,
        default=False,
        leaf="identity.character",
    )

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean cosine."""
        from evalkit.metrics.functional.consistency import clip_consistency

        series = clip_consistency(clip.tensor(self.requires()[0], "features"))
        return ClipScore(float(series.mean()), series.tolist())


class ClipScoreOfPrompt(_Clip):
    """Cosine of frames and prompt.

    Args:
        network: open_clip model.
        checkpoint: a weights file of the user's own.
    """

    rounded = True
    spec = MetricSpec(
        id="evalcrafter.clip_score",
        version="1",
        title="EvalCrafter CLIP-score",
        description="The frames show something else than the prompt says.",
        direction="higher",
        range=(-1.0, 1.0),
        series="frame",
        formula="mean over frames of cos(f[t], text(prompt)); f = CLIP ViT-B/32 of frames in 0..255, squeezed to 224 x 224",
        limits="CLIP expects normalised pixels; fed 0..255 it sees little but strong edges. See alignment.clip.",
        citation=EVALCRAFTER,
        default=False,
        leaf="prompt.object",
    )

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Features of the frames and of the prompt."""
        return (*super().requires(), FeatureRequest.of("clip_text", **self._options()))

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean cosine."""
        from evalkit.metrics.functional.consistency import prompt_similarity

        frames, prompt = (clip.tensor(request, "features") for request in self.requires())
        series = prompt_similarity(frames, prompt) / 100
        return ClipScore(float(series.mean()), series.tolist())
