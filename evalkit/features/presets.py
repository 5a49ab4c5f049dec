"""How published FVD numbers were computed: presets that need no network to be named."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PRESETS", "Preset"]


class Preset(NamedTuple):
    """A peer's protocol around the same I3D.

    Args:
        description: its preprocessing in words.
        ddof: its covariance divides by n - ddof.
    """

    description: str
    ddof: int


PRESETS = {
    "stylegan-v": Preset("resized inside the network, pixels 0..255", 0),
    "videogpt": Preset("shorter side 224 and centre crop, pixels -1..1", 1),
    "cd-fvd": Preset("squeezed to 224 x 224, pixels -1..1", 0),
}
