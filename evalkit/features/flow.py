"""Optical flow between neighbouring frames, forward and backward, at a bounded working size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from evalkit.errors import EvalkitError, NotApplicable
from evalkit.features.device import Placed, kind_of, on_device
from evalkit.features.pixels import bounded_size
from evalkit.features.protocol import ExtractorSpec, FeatureRequest
from evalkit.features.requests import LUMA

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["Flow", "FlowLeap", "dis_flow"]

_PRESETS = ("ultrafast", "fast", "medium")


class Flow(Placed):
    """Dense flow by OpenCV's DIS on luma (default), or by torchvision's RAFT on RGB.

    Args:
        network: `"dis"`, `"raft_small"` or `"raft_large"`; the RAFT networks need weights.
        preset: of DIS: `"ultrafast"`, `"fast"` or `"medium"` (four times the time of `"fast"`, but what can be
            followed agrees better with what people see: see benchmarks/validity).
        short_side: flow is computed with the shorter side reduced to this many pixels.
        checkpoint: a RAFT weights file of the user's own.
    """

    def __init__(
        self,
        network: Literal["dis", "raft_small", "raft_large"] = "dis",
        preset: str = "medium",
        short_side: int = 256,
        checkpoint: str | None = None,
    ) -> None:
        if network not in ("dis", "raft_small", "raft_large"):
            raise EvalkitError(f"flow: unknown network {network!r}; use 'dis', 'raft_small' or 'raft_large'")
        if preset not in _PRESETS:
            raise EvalkitError(f"flow: unknown DIS preset {preset!r}; use one of {', '.join(_PRESETS)}")
        self.network, self.preset, self.short_side, self.checkpoint = network, preset, short_side, checkpoint

    @property
    def requires(self) -> tuple[FeatureRequest, ...]:
        """Luma of the same size, for DIS."""
        if self.network != "dis":
            return ()
        return (LUMA,) if self.short_side == 256 else (FeatureRequest.of("luma", short_side=self.short_side),)

    @cached_property
    def _raft(self) -> tuple[Any, str]:
        from evalkit.features.networks.raft import load_raft

        return load_raft(self.network, self.checkpoint)

    @cached_property
    def _network(self) -> Callable[..., list[torch.Tensor]]:
        return on_device(self._raft[0], self._raft[0], self.device)

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads RAFT's weights.

        Raises:
            MissingWeights: RAFT was asked for and its weights are not at hand.
        """
        dis = self.network == "dis"
        return ExtractorSpec(
            id="flow",
            version="1",
            subject="clip",
            title=f"optical flow, OpenCV DIS {self.preset}"
            if dis
            else f"optical flow, torchvision {self.network}",
            weights_digest="" if dis else self._raft[1],
            preprocessing=f"{'8-bit luma' if dis else 'RGB -1..1'}, short side {self.short_side}",
            cached=False,
            citation=(
                "Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016"
                if dis
                else "Teed & Deng, RAFT, ECCV 2020"
            ),
            device="cpu" if dis else kind_of(self.device),
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """`{"forward", "backward"}`: float32 `(T-1, 2, h, w)`, (x, y) displacement in working pixels.

        `forward[t]` at a pixel of frame t leads to its place in frame t+1; `backward[t]` is at a pixel of
        frame t+1 and leads to its place in frame t.

        Raises:
            NotApplicable: the clip has one frame, or is under 16 pixels on a side.
        """
        assert not isinstance(subject, str)
        if self.network == "dis":
            luma = inputs[self.requires[0]]["luma"]
            _check_flow_size(luma)
            forward, backward = dis_flow(luma, self.preset)
            return {"forward": forward, "backward": backward}
        from evalkit.features.networks.raft import raft_flow

        _check_flow_size(subject.frames[:, 0])
        height, width = subject.frames.shape[-2:]
        size = bounded_size(height, width, self.short_side)
        pixels = torch.nn.functional.interpolate(subject.frames.float(), size=size, mode="area")
        forward, backward = raft_flow(pixels, self._network)
        return {"forward": forward, "backward": backward}


class FlowLeap:
    """Flow from every even frame to the next even one, forward only: what interpolation needs.

    `{"forward": float32 ((T-1) // 2, 2, h, w)}`.
    """

    requires: ClassVar[tuple[FeatureRequest, ...]] = (LUMA,)
    spec = ExtractorSpec(
        id="flow_leap",
        version="1",
        subject="clip",
        title="optical flow over two frames, OpenCV DIS medium",
        preprocessing="8-bit luma, short side 256",
        cached=False,
        citation="Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016",
    )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Flow between even frames.

        Raises:
            NotApplicable: fewer than three frames, or under 16 pixels on a side.
        """
        luma = inputs[LUMA]["luma"][::2]
        _check_flow_size(luma)
        return {"forward": dis_flow(luma, both=False)[0]}


def _check_flow_size(luma: torch.Tensor) -> None:
    frames, height, width = luma.shape
    if frames < 2:
        raise NotApplicable("the clip has too few frames; motion needs two")
    if min(height, width) < 16:
        raise NotApplicable(f"the clip is {width}x{height}; optical flow needs at least 16 pixels a side")


def dis_flow(
    luma: torch.Tensor, preset: str = "medium", *, both: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """DIS flow of neighbouring frames: forward and (if `both`) backward, each `(T-1, 2, h, w)`."""
    import cv2

    code = {
        "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
        "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
        "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    }[preset]
    gray = luma.round().clamp(0, 255).to(torch.uint8).numpy()
    count, height, width = gray.shape
    forward = np.empty((count - 1, 2, height, width), dtype=np.float32)
    backward = np.zeros_like(forward)
    for t in range(count - 1):
        # A fresh instance a pair: DIS keeps buffers of the previous call, and no pair may depend on another.
        engine = cv2.DISOpticalFlow.create(code)
        forward[t] = np.moveaxis(engine.calc(gray[t], gray[t + 1], None), -1, 0)
        if both:
            backward[t] = np.moveaxis(engine.calc(gray[t + 1], gray[t], None), -1, 0)
    return torch.from_numpy(forward), torch.from_numpy(backward)
