"""A small model that keeps every rule, and what the tests break in it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from evalkit.models import GenerationFailure, GenerationRequest, ModelInfo
from evalkit.suites.prompt import FrozenMapping
from evalkit.video import Video


def request(prompt: str = "a red ball", **changes: Any) -> GenerationRequest:
    shape = {"num_frames": 4, "height": 16, "width": 24, "fps": Fraction(8)}
    return GenerationRequest(**{"prompt": prompt, "seed": 1, "prompt_id": "ball", **shape, **changes})


class NoiseModel:
    """Noise from the request's seed; at least 8x8 pixels."""

    def __init__(self, *, revision: str = "v1", amplitude: float = 1.0) -> None:
        self.revision, self.amplitude = revision, amplitude
        self._ignored: set[str] = set()

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            id="noise",
            revision=self.revision,
            config=FrozenMapping({"amplitude": self.amplitude}),
            batch_size=2,
            defaults=FrozenMapping({"num_frames": 4, "height": 16, "width": 24, "fps": "8"}),
        )

    @property
    def ignored_params(self) -> frozenset[str]:
        return frozenset(self._ignored)

    def load(self, device: str) -> None:
        self.device = device

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        return [self.make(one) for one in requests]

    def make(self, one: GenerationRequest) -> Video | GenerationFailure:
        self._ignored.update(one.params)
        if min(one.height, one.width) < 8:
            return GenerationFailure(f"{one.width}x{one.height} is smaller than 8x8")
        generator = torch.Generator().manual_seed(one.seed)
        shape = (one.num_frames, 3, one.height, one.width)
        return Video(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator), one.fps)
