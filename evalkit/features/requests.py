"""The requests that several metrics share, written once so that equal requests are equal."""

from __future__ import annotations

from evalkit.features.protocol import FeatureRequest

__all__ = ["FLOW", "FRAMES", "LUMA", "image_request"]

FRAMES = FeatureRequest("frames")
LUMA = FeatureRequest("luma")
FLOW = FeatureRequest("flow")


def image_request(
    network: str = "efficientnet-lite0",
    checkpoint: str | None = None,
    region: str = "frame",
    preprocess: str = "own",
) -> FeatureRequest:
    """The request of an image feature, without parameters at their default, so that equal requests are equal."""
    given = {"network": network, "checkpoint": checkpoint, "region": region, "preprocess": preprocess}
    default = {
        "network": "efficientnet-lite0",
        "checkpoint": None,
        "region": "frame",
        "preprocess": "own",
    }
    return FeatureRequest.of("image", **{key: value for key, value in given.items() if value != default[key]})
