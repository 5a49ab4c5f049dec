"""How published FVD numbers were computed: presets that name the network as well."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PRESETS", "Preset"]


class Preset(NamedTuple):
    """A peer's protocol.

    Args:
        description: its preprocessing in words.
        ddof: its covariance divides by n - ddof.
        network: the video network that it uses.
    """

    description: str
    ddof: int
    network: str = "i3d"


PRESETS = {
    "stylegan-v": Preset("resized inside the network, pixels 0..255", 0),
    "videogpt": Preset("shorter side 224 and centre crop, pixels -1..1", 1),
    "cd-fvd": Preset("squeezed to 224 x 224, pixels -1..1", 0),
    "cd-fvd-videomae": Preset("squeezed to 224 x 224, pixels 0..1, 16 frames", 0, "videomae-v2-g"),
}
