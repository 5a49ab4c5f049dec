"""Learned ratings of single frames: aesthetics on CLIP features, technical quality by MUSIQ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from evalkit.errors import EvalkitError
from evalkit.features.device import Placed, kind_of, on_device
from evalkit.features.protocol import ExtractorSpec, FeatureRequest
from evalkit.features.requests import image_request
from evalkit.weights import file_digest, load_state, locate

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["Aesthetic", "Quality"]

_AESTHETIC = "laion-aesthetic-vit-l-14"
_LONGER_SIDE = 512


class Aesthetic:
    """LAION's linear head on CLIP ViT-L/14: `{"ratings": float32 (T,)}` on a scale of about 1..10.

    Args:
        checkpoint: a file of the head's layout, `weight` `(1, D)` and `bias` `(1,)`.
        network: open_clip model of the features it was trained on.
        network_checkpoint: a weights file of that model.
        preprocess: `"own"`, or `"vbench"` for VBench's resize.
    """

    def __init__(
        self,
        checkpoint: str | None = None,
        network: str = "ViT-L-14",
        network_checkpoint: str | None = None,
        preprocess: Literal["own", "vbench"] = "own",
    ) -> None:
        self.checkpoint, self.network, self.network_checkpoint = checkpoint, network, network_checkpoint
        self.preprocess = preprocess

    @property
    def requires(self) -> tuple[FeatureRequest, ...]:
        """CLIP features of the frames."""
        return (image_request(f"clip:{self.network}", self.network_checkpoint, preprocess=self.preprocess),)

    @cached_property
    def _loaded(self) -> tuple[torch.Tensor, torch.Tensor, str]:
        path = locate(_AESTHETIC, self.checkpoint)
        state = load_state(path)
        if set(state) != {"weight", "bias"} or state["weight"].shape[0] != 1:
            raise EvalkitError(
                f"{path}: holds {', '.join(sorted(state))[:120]}, not the `weight` (1, D) and `bias` of LAION's linear "
                "head; is it the right file?"
            )
        return state["weight"][0].float(), state["bias"].float(), file_digest(path)

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the head.

        Raises:
            MissingWeights: the head is not at hand.
        """
        return ExtractorSpec(
            id="aesthetic",
            version="1",
            subject="clip",
            title="LAION aesthetic predictor (linear head on CLIP)",
            weights_digest=self._loaded[2],
            preprocessing="features of unit length",
            citation="Schuhmann et al., LAION-5B, NeurIPS 2022",
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Rate every frame.

        Raises:
            EvalkitError: the head was trained on features of another width.
        """
        weight, bias, _ = self._loaded
        features = torch.nn.functional.normalize(inputs[self.requires[0]]["features"].float(), dim=-1)
        if features.shape[1] != len(weight):
            raise EvalkitError(
                f"aesthetic: the head reads {len(weight)} features, {self.network} gives {features.shape[1]}; "
                "use the head trained on this network"
            )
        return {"ratings": features @ weight + bias}


class Quality(Placed):
    """Technical quality by MUSIQ: `{"ratings": float32 (T,)}` on the scale of its training set.

    Frames whose longer side exceeds 512 are reduced to it, as VBench does.

    Args:
        checkpoint: a MUSIQ file of the user's own; SPAQ's (0..100) where left out.
        preprocess: `"own"`, or `"vbench"` to reduce without antialiasing, as VBench's code does.
    """

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()

    def __init__(self, checkpoint: str | None = None, preprocess: Literal["own", "vbench"] = "own") -> None:
        if preprocess not in ("own", "vbench"):
            raise EvalkitError(f"quality: unknown preprocess {preprocess!r}; use 'own' or 'vbench'")
        self.checkpoint, self.preprocess = checkpoint, preprocess

    @cached_property
    def _loaded(self) -> tuple[Any, str]:
        from evalkit.features.networks.musiq import load_musiq

        path = locate("musiq-spaq", self.checkpoint)
        return load_musiq(path), file_digest(path)

    @cached_property
    def _forward(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return on_device(self._loaded[0], self._loaded[0], self.device)

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network.

        Raises:
            MissingWeights: its weights are not at hand.
        """
        return ExtractorSpec(
            id="quality",
            version="1",
            subject="clip",
            title="MUSIQ, technical quality",
            weights_digest=self._loaded[1],
            preprocessing=(
                f"longer side at most {_LONGER_SIDE}, bilinear{'' if self.preprocess == 'vbench' else ' antialiased'}, float32"
            ),
            citation="Ke et al., MUSIQ, ICCV 2021; converted weights of IQA-PyTorch",
            device=kind_of(self.device),
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Rate every frame."""
        assert not isinstance(subject, str)
        height, width = subject.frames.shape[-2:]
        scale = _LONGER_SIDE / max(height, width)
        ratings = []
        with torch.inference_mode():
            for frame in torch.split(subject.frames, 1):
                pixels = frame.float()
                if scale < 1:
                    size = (int(scale * height), int(scale * width))
                    pixels = torch.nn.functional.interpolate(
                        pixels, size, mode="bilinear", antialias=self.preprocess == "own"
                    )
                ratings.append(self._forward(pixels / 255))
        return {"ratings": torch.cat(ratings).float().cpu().clone()}
