"""RAFT optical flow through torchvision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from evalkit import _torchvision
from evalkit.features.networks.image import load_into
from evalkit.weights import file_digest, locate

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load_raft", "raft_flow"]

# RAFT correlates at an eighth of the size over four halvings, which needs sides of at least 128 in multiples of 8.
_MULTIPLE, _SMALLEST = 8, 128


def load_raft(
    name: str, checkpoint: str | None = None, weights: str | None = None
) -> tuple[torch.nn.Module, str]:
    """`raft_small` or `raft_large` and the digest of its weights.

    Args:
        name: the architecture.
        checkpoint: a weights file of the user's own.
        weights: name of other published weights of this architecture (`raft_things`).

    Raises:
        MissingWeights: the weights are not at hand.
        EvalkitError: the file has another layout.
    """
    path = locate(weights or name, checkpoint)
    _torchvision.ensure()
    from torchvision.models import optical_flow

    return load_into(getattr(optical_flow, name)(weights=None), path, name), file_digest(path)


def raft_flow(frames: Tensor, network: Callable[[Tensor, Tensor], list[Tensor]]) -> tuple[Tensor, Tensor]:
    """Forward and backward flow of neighbouring frames, each float32 `(T-1, 2, h, w)`.

    Args:
        frames: RGB `(T, 3, h, w)` in 0..255 at the working size. They are scaled to -1..1, as RAFT was trained; sides
            are padded by repeating the border.
    """
    height, width = frames.shape[-2:]
    padded_size = [max(_SMALLEST, -(-side // _MULTIPLE) * _MULTIPLE) for side in (height, width)]
    padding = (0, padded_size[1] - width, 0, padded_size[0] - height)
    scaled = torch.nn.functional.pad(frames.float() / 127.5 - 1, padding, mode="replicate")
    flows: tuple[list[Tensor], list[Tensor]] = ([], [])
    with torch.inference_mode():
        for t in range(len(scaled) - 1):
            here, there = scaled[t : t + 1], scaled[t + 1 : t + 2]
            for direction, pair in enumerate(((here, there), (there, here))):
                flows[direction].append(network(*pair)[-1][..., :height, :width].cpu().clone())
    return torch.cat(flows[0]), torch.cat(flows[1])
