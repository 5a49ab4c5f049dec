"""Frame embeddings by an image network: of whole frames, or of the background with the moving subject taken out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch

from evalkit.errors import EvalkitError, NotApplicable
from evalkit.features.device import Placed, kind_of, on_device
from evalkit.features.networks.image import ImageNetwork, load_image_network, prepare
from evalkit.features.pixels import bounded_size
from evalkit.features.protocol import ExtractorSpec, FeatureRequest
from evalkit.features.requests import FLOW

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["Image", "background_frames"]

# Frames a forward pass. Small enough for a convolutional network's activations to stay in a core's cache: on
# EfficientNet-Lite0, 4 frames a pass take two thirds of the time of 16.
_BATCH = 4
# A GPU is idle between passes rather than short of cache.
_GPU_BATCH = 64

# Short side at which the colours around a hole are averaged: they are blurred over an eighth of the picture, so that
# they have no detail to lose. Clips of the reference world are not above it and keep every bit.
_AROUND = 128


class Image(Placed):
    """Embeds every frame.

    Args:
        network: name of an image network, see `evalkit.features.networks.image`.
        checkpoint: a weights file of the user's own.
        region: `"frame"`, or `"background"`: what moves against the camera is filled in from around it, so
            that only the scene is compared.
        preprocess: `"own"`, or `"vbench"` for VBench's resize.
    """

    def __init__(
        self,
        network: str = "efficientnet-lite0",
        checkpoint: str | None = None,
        region: Literal["frame", "background"] = "frame",
        preprocess: Literal["own", "vbench"] = "own",
    ) -> None:
        if region not in ("frame", "background"):
            raise EvalkitError(f"image: unknown region {region!r}; use 'frame' or 'background'")
        if preprocess not in ("own", "vbench"):
            raise EvalkitError(f"image: unknown preprocess {preprocess!r}; use 'own' or 'vbench'")
        self.network, self.checkpoint, self.region, self.preprocess = network, checkpoint, region, preprocess

    @property
    def requires(self) -> tuple[FeatureRequest, ...]:
        """Flow, where the background must be found."""
        return (FLOW,) if self.region == "background" else ()

    @cached_property
    def _loaded(self) -> ImageNetwork:
        return load_image_network(self.network, self.checkpoint, vbench=self.preprocess == "vbench")

    @property
    def _kind(self) -> str:
        """The kind of device the network computes on: the processor where its loader names no module to move."""
        return "cpu" if self._loaded.module is None else kind_of(self.device)

    @property
    def _pass(self) -> int:
        """Frames a pass."""
        return _BATCH if self._kind == "cpu" else _GPU_BATCH

    @cached_property
    def _forward(self) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
        loaded = self._loaded
        return (
            loaded.forward if loaded.module is None else on_device(loaded.module, loaded.forward, self.device)
        )

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network.

        Raises:
            MissingWeights: its weights are not at hand.
        """
        loaded = self._loaded
        return ExtractorSpec(
            id="image",
            version="2" if self.region == "background" else "1",
            subject="clip",
            title=loaded.title,
            weights_digest=loaded.digest,
            preprocessing=f"{self.region}; {loaded.preprocessing}",
            citation=loaded.citation,
            device=self._kind,
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """`{"features": float32 (T, D)}`, and `{"logits": (T, classes)}` of a classifier.

        Raises:
            NotApplicable: the moving subject fills the picture, so there is no background.
        """
        frames = self._seen(subject, inputs)
        loaded = self._loaded
        with torch.inference_mode():
            parts = [self._forward(prepare(batch, loaded)) for batch in torch.split(frames, self._pass)]
        return {name: torch.cat([part[name] for part in parts]).float().cpu().clone() for name in parts[0]}

    def extract_many(
        self,
        subjects: Sequence[Video | str],
        inputs: Sequence[Mapping[FeatureRequest, Mapping[str, torch.Tensor]]],
    ) -> list[Mapping[str, torch.Tensor] | Exception]:
        """`extract` of several clips, whose frames of one size share passes.

        A frame's features depend on its neighbours in a pass by rounding only; scores agree within 1e-6.
        """
        results: list[Mapping[str, torch.Tensor] | Exception] = []
        sizes: dict[torch.Size, list[tuple[int, torch.Tensor]]] = {}
        for position, (subject, needs) in enumerate(zip(subjects, inputs, strict=True)):
            try:
                frames = prepare(self._seen(subject, needs), self._loaded)
            except Exception as error:
                results.append(error)
                continue
            results.append({})
            sizes.setdefault(frames.shape[1:], []).append((position, frames))
        for members in sizes.values():
            lengths = [len(frames) for _, frames in members]
            passes = torch.split(torch.cat([frames for _, frames in members]), self._pass)
            with torch.inference_mode():
                parts = [self._forward(batch) for batch in passes]
            for name in parts[0]:
                rows = torch.cat([part[name] for part in parts]).float().cpu()
                for (position, _), own in zip(members, torch.split(rows, lengths), strict=True):
                    results[position] = {
                        **cast("Mapping[str, torch.Tensor]", results[position]),
                        name: own.clone(),
                    }
        return results

    def _seen(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> torch.Tensor:
        """The frames that the network is shown, uint8 `(T, 3, H, W)`."""
        assert not isinstance(subject, str)
        if self.region == "background":
            return background_frames(subject.frames, inputs[FLOW]["forward"], inputs[FLOW]["backward"])
        return subject.frames


def background_frames(frames: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """Frames with the moving subject replaced by the colours around it.

    The colours around are averaged at a short side of at most 128 pixels; against averaging at full size the filled-in
    pixels of larger clips differ by one level at most. All other pixels stay as they are.

    Args:
        frames: uint8 `(T, 3, H, W)`.
        forward, backward: flow at working size, `(T-1, 2, h, w)`.

    Raises:
        NotApplicable: more than 80% of the pictures move against the camera.
    """
    import cv2

    from evalkit.metrics.functional.motion import moving_mask

    mask = moving_mask(forward, backward)
    share = float(mask.float().mean())
    if share > 0.8:
        raise NotApplicable(
            f"the moving subject fills {share:.0%} of the picture, so there is no background to compare"
        )
    height, width = frames.shape[-2:]
    filled = []
    for frame, moving in zip(frames.permute(0, 2, 3, 1).numpy(), mask.numpy(), strict=True):
        # A margin of 2% of the picture: flow is soft at the subject's edge, and so is its shadow.
        margin = max(1, round(0.02 * min(moving.shape)))
        grown = cv2.dilate(moving.astype(np.uint8), np.ones((2 * margin + 1,) * 2, np.uint8))
        hole = cv2.resize(grown, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.float32)
        picture = frame.astype(np.float32)
        known = 1.0 - hole
        around = _around(picture, known)
        mixed = picture * known[..., None] + around * hole[..., None]
        filled.append(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
    return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2)


def _around(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Normalised convolution: every pixel `(H, W, 3)` is the mean of the known pixels around it."""
    import cv2

    height, width = known.shape
    size = bounded_size(height, width, _AROUND)
    colours = picture * known[..., None]
    small = size != (height, width)
    if small:
        colours, known = (
            cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA) for plane in (colours, known)
        )
    sigma = max(size) / 8
    weight = cv2.GaussianBlur(known, (0, 0), sigma)[..., None]
    mean: np.ndarray = cv2.GaussianBlur(colours, (0, 0), sigma) / np.maximum(weight, 1e-6)
    return cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR) if small else mean
