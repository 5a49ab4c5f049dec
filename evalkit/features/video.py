"""Clip embeddings by a video network, of one window of frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch

from evalkit.errors import EvalkitError, NotApplicable
from evalkit.features.device import Placed, kind_of, on_device
from evalkit.features.networks.video import VideoNetwork, load_video_network, prepare_window
from evalkit.features.protocol import ExtractorSpec, FeatureRequest

if TYPE_CHECKING:
    from evalkit.video import Video as Clip

__all__ = ["Video"]


class Video(Placed):
    """Embeds the first `frames` frames, every `stride`-th: `{"features": float32 (1, D)}`.

    Args:
        network: name of a video network, see `evalkit.features.networks.video`.
        checkpoint: a weights file of the user's own.
        preset: of `i3d`: the peer whose preprocessing is used.
        frames: length of the window; 16 is what the peers use.
        stride: distance of the frames.
    """

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()

    def __init__(
        self,
        network: str = "i3d",
        checkpoint: str | None = None,
        preset: str | None = None,
        frames: int = 16,
        stride: int = 1,
    ) -> None:
        if frames < 1 or stride < 1:
            raise EvalkitError(f"video: frames is {frames} and stride {stride}; both must be at least 1")
        self.network, self.checkpoint, self.preset = network, checkpoint, preset
        self.frames, self.stride = frames, stride

    @cached_property
    def loaded(self) -> VideoNetwork:
        """The network; loaded on first use."""
        return load_video_network(self.network, self.checkpoint, self.preset)

    @cached_property
    def _forward(self) -> Callable[[torch.Tensor], torch.Tensor]:
        module, forward = self.loaded.module, self.loaded.forward
        return forward if module is None else on_device(module, forward, self.device)

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network."""
        return ExtractorSpec(
            id="video",
            version="2",
            subject="clip",
            title=self.loaded.title,
            weights_digest=self.loaded.digest,
            preprocessing=f"{self.loaded.name}/{self.loaded.preprocessing}/{self.frames}f-s{self.stride}-first",
            citation=self.loaded.citation,
            device="cpu" if self.loaded.module is None else kind_of(self.device),
        )

    def extract(
        self, subject: Clip | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Embed one clip.

        Raises:
            NotApplicable: the clip is shorter than the window; padding it would change what is measured.
        """
        assert not isinstance(subject, str)
        needed = (self.frames - 1) * self.stride + 1
        if len(subject.frames) < needed:
            raise NotApplicable(
                f"the window of {self.frames} frames at stride {self.stride} needs {needed} frames, the clip has "
                f"{len(subject.frames)}"
            )
        window = subject.frames[: needed : self.stride]
        with torch.inference_mode():
            return {"features": self._forward(prepare_window(window, self.loaded)).float().cpu().clone()}
