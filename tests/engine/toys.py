"""Small models for tests of the engine: importable by worker processes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from evalkit.models.protocol import GenerationFailure, GenerationRequest, ModelInfo
from evalkit.suites.prompt import FrozenMapping
from evalkit.video import Video

DEFAULTS = FrozenMapping({"num_frames": 6, "height": 32, "width": 48, "fps": "8"})


class Toy:
    """Seeded noise drifting over a gradient; counts its calls in `calls`, one file a clip."""

    ignored_params = frozenset({"style"})

    def __init__(self, calls: Path | None = None, batch_size: int = 2) -> None:
        self.calls, self.batch_size, self.loaded = calls, batch_size, False

    @property
    def info(self) -> ModelInfo:
        return ModelInfo("toy", "v1", batch_size=self.batch_size, defaults=DEFAULTS, licence="CC0-1.0")

    def load(self, device: str) -> None:
        self.loaded = True

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        assert self.loaded
        return [self.clip(request) for request in requests]

    def clip(self, request: GenerationRequest) -> Video | GenerationFailure:
        if self.calls is not None:
            path = self.calls / f"{request.prompt_id}-{request.sample_index}-{time.monotonic_ns()}"
            path.write_text(str(os.getpid()))
        generator = torch.Generator().manual_seed(request.seed)
        noise = torch.randint(
            0, 256, (3, request.height, request.width), generator=generator, dtype=torch.uint8
        )
        frames = torch.stack([noise.roll(t, dims=-1) for t in range(request.num_frames)])
        return Video(frames, request.fps)


class Deaf(Toy):
    """Makes the same whatever is asked beyond the shape."""

    ignored_params = frozenset({"seed", "negative_prompt", "prompt_weights", "camera"})


class Unruly(Toy):
    """Misbehaves on the prompt named by each rule: `p0001` raises, `p0002` returns the wrong thing, ..."""

    def clip(self, request: GenerationRequest) -> Video | GenerationFailure:
        match request.prompt_id:
            case "p0001":
                raise RuntimeError("out of ideas")
            case "p0002":
                return "a string"  # type: ignore[return-value]
            case "p0003":
                return Video(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), request.fps)
            case "p0004":
                return GenerationFailure("the prompt was refused")
        return super().clip(request)


class Fickle(Toy):
    """Fails transiently the first two times it is asked for a clip."""

    def clip(self, request: GenerationRequest) -> Video | GenerationFailure:
        assert self.calls is not None
        before = len(list(self.calls.glob(f"{request.prompt_id}-{request.sample_index}-*")))
        video = super().clip(request)
        return video if before >= 2 else GenerationFailure("busy, try again", permanent=False)


class HangsOnce(Toy):
    """Hangs the first time it is asked for `p0001`."""

    def clip(self, request: GenerationRequest) -> Video | GenerationFailure:
        assert self.calls is not None
        if request.prompt_id == "p0001" and not (self.calls / "hung").exists():
            (self.calls / "hung").touch()
            time.sleep(3600)
        return super().clip(request)


class Unloadable(Toy):
    """Cannot be loaded."""

    def load(self, device: str) -> None:
        raise OSError("weights are gone")
