"""Features exactly as VBench and EvalCrafter compute them, flaws included: for their formulas alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from evalkit.errors import NotApplicable
from evalkit.features.device import Placed, kind_of, on_device
from evalkit.features.protocol import ExtractorSpec, FeatureRequest

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["EvalCrafterClip", "EvalCrafterWarp", "VBenchMotion"]

_RAFT = "raft_things"
_UPDATES = 20
# Peers' RAFT works on any size; torchvision's port refuses pictures whose correlation pyramid would vanish.
_SMALLEST = 128


class _Raft(Placed):
    """RAFT-large as trained on FlyingThings, 20 updates, on pictures padded to multiples of 8.

    Args:
        checkpoint: a file of torchvision's layout.
    """

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()
    id: ClassVar[str]
    title: ClassVar[str]
    preprocessing: ClassVar[str]

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    @cached_property
    def _loaded(self) -> tuple[Any, str]:
        from evalkit.features.networks.raft import load_raft

        return load_raft("raft_large", self.checkpoint, weights=_RAFT)

    @cached_property
    def _network(self) -> Callable[..., list[torch.Tensor]]:
        return on_device(self._loaded[0], self._loaded[0], self.device)

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network.

        Raises:
            MissingWeights: its weights are not at hand.
        """
        return ExtractorSpec(
            id=self.id,
            version="1",
            subject="clip",
            title=self.title,
            weights_digest=self._loaded[1],
            preprocessing=self.preprocessing,
            citation="Teed & Deng, RAFT, ECCV 2020; weights raft-things through torchvision",
            device=kind_of(self.device),
        )

    def _padded(self, frames: torch.Tensor) -> torch.Tensor:
        """Border repeated on all sides up to multiples of 8, the odd row below and to the right."""
        height, width = frames.shape[-2:]
        if min(height, width) < _SMALLEST - 7:
            raise NotApplicable(
                f"RAFT needs {_SMALLEST} pixels a side here, the picture has {width}x{height}"
            )
        down, across = -height % 8, -width % 8
        pads = (across // 2, across - across // 2, down // 2, down - down // 2)
        return torch.nn.functional.pad(frames, pads, mode="replicate")

    def _flow(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Flow of pictures on the scale that the peer feeds, `(1, 2, h, w)`; RAFT itself maps 0..255 to -1..1."""
        with torch.inference_mode():
            flow: torch.Tensor = self._network(
                first / 127.5 - 1, second / 127.5 - 1, num_flow_updates=_UPDATES
            )[-1]
        return flow.cpu().clone()


class VBenchMotion(_Raft):
    """What VBench's dynamic degree looks at: `{"largest": float32 (n,)}`, mean of the largest 5% of flow magnitudes.

    Frames are thinned to every `round(fps / 8)`-th; n is the number of kept transitions.
    """

    id, title = "vbench_motion", "RAFT flow magnitudes as VBench takes them"
    preprocessing = "native size, 0..255, every round(fps/8)-th frame"

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Magnitudes of one clip.

        Raises:
            NotApplicable: one kept frame, or pictures smaller than RAFT can take.
        """
        assert not isinstance(subject, str)
        kept = subject.frames[:: max(1, round(float(subject.fps) / 8))]
        if len(kept) < 2:
            raise NotApplicable("the clip has one frame left when thinned to 8 a second; motion needs two")
        padded, largest = self._padded(kept.float()), []
        for t in range(len(padded) - 1):
            size = self._flow(padded[t : t + 1], padded[t + 1 : t + 2])[0].square().sum(0).sqrt().flatten()
            largest.append(size.topk(max(1, int(len(size) * 0.05))).values.mean())
        return {"largest": torch.stack(largest).float()}


class EvalCrafterWarp(_Raft):
    """What EvalCrafter's warping error looks at: `{"error": float32 (T-1,)}`.

    Frames are halved and fed as 0..1 to a RAFT that expects 0..255; squared differences are summed over channels.
    """

    id, title = "evalcrafter_warp", "warping error along RAFT flow as EvalCrafter computes it"
    preprocessing = "half size bilinear, 0..1 (not 0..255), sum over channels"

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Errors of one clip.

        Raises:
            NotApplicable: one frame, or pictures smaller than RAFT can take.
        """
        from evalkit.metrics.functional.flow import evalcrafter_error

        assert not isinstance(subject, str)
        if len(subject.frames) < 2:
            raise NotApplicable("the clip has one frame; warping needs two")
        halved = torch.nn.functional.interpolate(
            subject.frames.float() / 255, scale_factor=0.5, mode="bilinear"
        )
        padded, errors = self._padded(halved), []
        for t in range(len(padded) - 1):
            here, there = padded[t : t + 1], padded[t + 1 : t + 2]
            errors.append(evalcrafter_error(here, there, self._flow(here, there), self._flow(there, here)))
        return {"error": torch.cat(errors).float()}


class EvalCrafterClip(Placed):
    """CLIP features of frames as EvalCrafter feeds them: squeezed to 224 x 224, 0..255, not normalised.

    `{"features": float32 (T, D)}`.

    Args:
        network: open_clip model; EvalCrafter uses CLIP ViT-B/32.
        checkpoint: a weights file of the user's own.
        rounded: resize as OpenCV does on 8-bit frames (CLIP score) instead of in float (CLIP temp).
    """

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()

    def __init__(
        self, network: str = "ViT-B-32", checkpoint: str | None = None, rounded: bool = False
    ) -> None:
        self.network, self.checkpoint, self.rounded = network, checkpoint, rounded

    @cached_property
    def _loaded(self) -> tuple[Any, str]:
        from evalkit.features.networks.image import load_clip

        return load_clip(self.network, self.checkpoint)

    @cached_property
    def _forward(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return on_device(self._loaded[0], self._loaded[0].encode_image, self.device)

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network.

        Raises:
            MissingWeights: its weights are not at hand.
        """
        return ExtractorSpec(
            id="evalcrafter_clip",
            version="1",
            subject="clip",
            title=f"CLIP {self.network} as EvalCrafter feeds it",
            weights_digest=self._loaded[1],
            preprocessing=f"squeezed, bilinear{' on 8 bits' if self.rounded else ''}, 0..255 without normalisation",
            citation="Liu et al., EvalCrafter, CVPR 2024, code commit 1275bda",
            device=kind_of(self.device),
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Embed every frame of one clip."""
        assert not isinstance(subject, str)
        size = self._loaded[0].visual.image_size
        side: int = size[0] if isinstance(size, tuple) else size
        if self.rounded:
            import cv2

            pictures = subject.frames.permute(0, 2, 3, 1).numpy()
            pixels = np.stack(
                [cv2.resize(np.ascontiguousarray(picture), (side, side)) for picture in pictures]
            )
            frames = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
        else:
            frames = torch.nn.functional.interpolate(
                subject.frames.float(), (side, side), mode="bilinear", align_corners=False
            )
        with torch.inference_mode():
            parts = [self._forward(part) for part in torch.split(frames, 4)]
        return {"features": torch.cat(parts).float().cpu().clone()}
