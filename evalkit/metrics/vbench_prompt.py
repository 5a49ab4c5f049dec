"""VBench's dimensions that compare a clip with its prompt, and its motion smoothness, on the networks it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.features.protocol import FeatureRequest
from evalkit.metrics.base import BaseMetric, image_request
from evalkit.metrics.spec import ClipScore, MetricSpec
from evalkit.metrics.vbench import VBENCH

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures, ClipRecord

__all__ = ["AppearanceStyle", "MotionSmoothness", "OverallConsistency", "TemporalStyle"]


def _other_dimension(record: ClipRecord, dimension: str) -> str | None:
    """Why VBench would not ask this dimension of a clip: its prompts name the dimensions that they are made for."""
    if record.prompt is None:
        return "the clip has no prompt"
    named = [tag for tag in record.prompt.tags if tag.startswith("vbench.")]
    if named and f"vbench.{dimension}" not in named:
        return f"VBench asks this of other prompts; this one is made for {', '.join(named)}"
    return None


class OverallConsistency(BaseMetric):
    """Cosine of ViCLIP's embeddings of clip and prompt.

    Args:
        checkpoint: ViCLIP's file at another place.
    """

    dimension: ClassVar[str] = "overall_consistency"
    spec = MetricSpec(
        id="vbench.overall_consistency",
        version="1",
        title="VBench overall consistency",
        description="The clip shows something else than the prompt says.",
        direction="higher",
        range=(-1.0, 1.0),
        formula=(
            "cos(ViCLIP(clip), ViCLIP(prompt)); the middle frames of 8 equal parts, short side 224 bicubic without "
            "antialiasing, centre crop; text cut at 32 word pieces"
        ),
        limits="Published models lie within .18 and .29: a small cosine is no bad clip. Long prompts lose their end.",
        citation=f"{VBENCH}; ViCLIP: Wang et al., InternVid, ICLR 2024",
        default=False,
    )

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Embeddings of the clip and of the prompt."""
        given = {"checkpoint": self.checkpoint} if self.checkpoint else {}
        return FeatureRequest.of("viclip", **given), FeatureRequest.of("viclip_text", **given)

    def not_for(self, record: ClipRecord) -> str | None:
        """No prompt, or a prompt that VBench made for other dimensions."""
        return _other_dimension(record, self.dimension)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """The cosine."""
        from evalkit.metrics.functional.consistency import prompt_similarity

        seen, said = (clip.tensor(request, "features") for request in self.requires())
        return ClipScore(float(prompt_similarity(seen, said)[0]) / 100)


class TemporalStyle(OverallConsistency):
    """The same on the prompts that name a style of motion or camera.

    Args:
        checkpoint: ViCLIP's file at another place.
    """

    dimension = "temporal_style"
    spec = MetricSpec(
        id="vbench.temporal_style",
        version="1",
        title="VBench temporal style",
        description="Camera and motion are not in the style that the prompt asks for.",
        direction="higher",
        range=(-1.0, 1.0),
        formula="as vbench.overall_consistency, on prompts with the tag vbench.temporal_style",
        limits="The same cosine as overall consistency: what it sees of time is what ViCLIP sees in eight frames.",
        citation=f"{VBENCH}; ViCLIP: Wang et al., InternVid, ICLR 2024",
        default=False,
    )

    def not_for(self, record: ClipRecord) -> str | None:
        """A prompt that does not ask for a temporal style."""
        if record.prompt is not None and "vbench.temporal_style" not in record.prompt.tags:
            return "the prompt is not tagged vbench.temporal_style: only VBench's own prompts say that they ask for one"
        return super().not_for(record)


class AppearanceStyle(BaseMetric):
    """Cosine of the frames and the name of the style that the prompt asks for, by CLIP ViT-B/32.

    Args:
        network: open_clip model.
        checkpoint: a weights file of the user's own.
    """

    spec = MetricSpec(
        id="vbench.appearance_style",
        version="1",
        title="VBench appearance style",
        description="The clip is not in the style that the prompt asks for.",
        direction="higher",
        range=(-1.0, 1.0),
        series="frame",
        formula=(
            "mean over frames of cos(f[t], text(style)); f = CLIP ViT-B/32, short side 224 bicubic antialiased, centre "
            "crop; style = the prompt's expect.style"
        ),
        limits=(
            "VBench multiplies by CLIP's learned scale and divides by 100; that scale is 100. Its overall score weighs "
            "clips by their frames."
        ),
        citation=VBENCH,
        default=False,
    )

    def __init__(self, network: str = "ViT-B-32", checkpoint: str | None = None) -> None:
        self.network, self.checkpoint = network, checkpoint

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Features of the frames, and the text tower."""
        text = {} if self.network == "ViT-B-32" else {"network": self.network}
        text |= {"checkpoint": self.checkpoint} if self.checkpoint else {}
        frames = image_request(f"clip:{self.network}", self.checkpoint)
        return frames, FeatureRequest.of("clip_text", **text)

    def not_for(self, record: ClipRecord) -> str | None:
        """A prompt that names no style, or that VBench made for other dimensions."""
        if record.prompt is not None and not record.prompt.expect.get("style"):
            return "the prompt asks for no style (expect.style)"
        return _other_dimension(record, "appearance_style")

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean cosine."""
        from evalkit.features.registry import load_extractor
        from evalkit.metrics.functional.consistency import prompt_similarity

        frames, text = self.requires()
        assert clip.record.prompt is not None
        style = load_extractor(text).extract(str(clip.record.prompt.expect["style"]), {})["features"]
        series = prompt_similarity(clip.tensor(frames, "features"), style) / 100
        return ClipScore(float(series.mean()), series.tolist())


class MotionSmoothness(BaseMetric):
    """VBench's motion smoothness, by AMT-S.

    Args:
        checkpoint: a TorchScript export of AMT-S, see docs/how-to/use-a-peers-networks.md.
    """

    spec = MetricSpec(
        id="vbench.motion_smoothness",
        version="1",
        title="VBench motion smoothness",
        description="Motion stutters: frames do not lie where their neighbours lead.",
        direction="higher",
        range=(0.0, 1.0),
        min_frames=3,
        formula=(
            "(255 - mean over odd frames of mean |F[t] - AMT-S(F[t-1], F[t+1])|) / 255, pixels 0..255, native size"
        ),
        limits=(
            "Rewards stillness. On a GPU VBench shrinks pictures that its memory does not hold; here they keep their "
            "size, as VBench does on a processor. See temporal.motion_smoothness."
        ),
        citation=f"{VBENCH}; AMT: Li et al., CVPR 2023",
        default=False,
    )

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Differences to the interpolated frames."""
        given = {"checkpoint": self.checkpoint} if self.checkpoint else {}
        return (FeatureRequest.of("vbench_interpolation", **given),)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean over the odd frames."""
        difference = clip.tensor(self.requires()[0], "difference").double()
        return ClipScore((255 - float(difference.mean())) / 255)
