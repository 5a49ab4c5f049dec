"""The JSON that programs and services are asked with, the same for both."""

from __future__ import annotations

from typing import Any

from evalkit.models.protocol import GenerationRequest
from evalkit.suites.prompt import thaw

__all__ = ["WIRE_VERSION", "request_json"]

WIRE_VERSION = 1


def request_json(request: GenerationRequest) -> dict[str, Any]:
    """A request as plain data. The prompt's `expect` stays here: whoever makes the clip must not see the answers."""
    return {
        "version": WIRE_VERSION,
        "prompt_id": request.prompt_id,
        "sample_index": request.sample_index,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "num_frames": request.num_frames,
        "height": request.height,
        "width": request.width,
        "fps": str(request.fps),
        "params": thaw(request.params),
    }
