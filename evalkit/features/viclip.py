"""ViCLIP's view of a clip and of a text, as VBench asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch

from evalkit.features.device import Placed, kind_of, on_device
from evalkit.features.networks.image import OPENAI_CLIP, scaled_without_antialiasing
from evalkit.features.protocol import ExtractorSpec, FeatureRequest
from evalkit.weights import file_digest, locate

if TYPE_CHECKING:
    from evalkit.features.networks.viclip import ViClip
    from evalkit.video import Video

__all__ = ["ViClipText", "ViClipVideo"]

_WEIGHTS = "viclip"
_CITATION = "Wang et al., InternVid, ICLR 2024; preprocessing of VBench 0.1.5"


class _Tower(Placed):
    """One tower of ViCLIP.

    Args:
        checkpoint: a file of the published layout.
    """

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()
    tower: ClassVar[str]

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    @cached_property
    def _loaded(self) -> tuple[ViClip, str]:
        from evalkit.features.networks.viclip import load_viclip

        path = locate(_WEIGHTS, self.checkpoint)
        return load_viclip(path), file_digest(path)

    @cached_property
    def _forward(self) -> Callable[[torch.Tensor], torch.Tensor]:
        tower = getattr(self._loaded[0], self.tower)
        return on_device(tower, tower, self.device)


class ViClipVideo(_Tower):
    """Embeds eight frames, the middle ones of as many equal parts: `{"features": float32 (1, D)}`."""

    tower = "vision_encoder"

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network.

        Raises:
            MissingWeights: its weights are not at hand.
        """
        network, digest = self._loaded
        return ExtractorSpec(
            id="viclip",
            version="1",
            subject="clip",
            title="ViCLIP (InternVid-10M-FLT), video tower",
            weights_digest=digest,
            preprocessing=(
                f"{network.sizes.frames} middle frames, short side {network.side} bicubic on 8 bits without "
                "antialiasing, centre crop, CLIP's mean and std"
            ),
            citation=_CITATION,
            device=kind_of(self.device),
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Embed one clip."""
        from evalkit.metrics.functional.vbench import middle_frames

        assert not isinstance(subject, str)
        network = self._loaded[0]
        frames = subject.frames[middle_frames(len(subject.frames), network.sizes.frames)]
        with torch.inference_mode():
            return {"features": self._forward(prepared(frames, network.side)).float().cpu().clone()}


def prepared(frames: torch.Tensor, side: int) -> torch.Tensor:
    """uint8 frames `(T, 3, H, W)` as ViCLIP takes them in VBench, float32 `(1, 3, T, side, side)`."""
    height, width = frames.shape[-2:]
    short = min(height, width)
    size = (side * height // short, side * width // short)
    if size != (height, width):
        # These frames come as 8 bits, so that torchvision rounds what it makes of them.
        frames = scaled_without_antialiasing(frames, size, bicubic=True).clamp(0, 255).round()
    top, left = round((size[0] - side) / 2), round((size[1] - side) / 2)
    pixels = frames[..., top : top + side, left : left + side].float() / 255
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in OPENAI_CLIP)
    return ((pixels - mean) / std).transpose(0, 1)[None]


class ViClipText(_Tower):
    """Embeds a prompt, cut at 32 word pieces: `{"features": float32 (D,)}`."""

    tower = "text_encoder"

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network.

        Raises:
            MissingWeights: its weights are not at hand.
        """
        network, digest = self._loaded
        return ExtractorSpec(
            id="viclip_text",
            version="1",
            subject="text",
            title="ViCLIP (InternVid-10M-FLT), text tower",
            weights_digest=digest,
            preprocessing=f"CLIP's word pieces, cut at {network.sizes.words}",
            citation=_CITATION,
            device=kind_of(self.device),
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Embed one text."""
        from evalkit.features.networks.viclip import tokenise

        tokens = tokenise(str(subject), self._loaded[0].sizes.words)
        with torch.inference_mode():
            return {"features": self._forward(tokens)[0].float().cpu().clone()}
