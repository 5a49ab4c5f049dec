"""Extractors by name: `load_extractor(FeatureRequest.of("flow"))` gives the one instance of this process."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from evalkit._registry import Registry
from evalkit.errors import EvalkitError
from evalkit.features.protocol import Extractor, FeatureRequest

__all__ = ["EXTRACTORS", "load_extractor"]

EXTRACTORS = Registry(
    "extractor",
    "evalkit.extractors",
    {
        "frames": "evalkit.features.pixels:Frames",
        "luma": "evalkit.features.pixels:Luma",
        "flow": "evalkit.features.flow:Flow",
        "flow_leap": "evalkit.features.flow:FlowLeap",
        "tracks": "evalkit.features.tracks:Tracks",
        "transnetv2": "evalkit.features.cuts:TransNet",
        "image": "evalkit.features.image:Image",
        "text": "evalkit.features.text:Text",
        "clip_text": "evalkit.features.text:ClipText",
        "video": "evalkit.features.video:Video",
        "nsfw": "evalkit.features.nsfw:Nsfw",
        "aesthetic": "evalkit.features.heads:Aesthetic",
        "quality": "evalkit.features.heads:Quality",
        "vbench_motion": "evalkit.features.peers:VBenchMotion",
        "evalcrafter_warp": "evalkit.features.peers:EvalCrafterWarp",
        "evalcrafter_clip": "evalkit.features.peers:EvalCrafterClip",
        "viclip": "evalkit.features.viclip:ViClipVideo",
        "viclip_text": "evalkit.features.viclip:ViClipText",
        "vbench_interpolation": "evalkit.features.interpolation:VBenchInterpolation",
        "conse": "evalkit.features.text:Conse",
    },
)


@lru_cache(maxsize=64)
def load_extractor(request: FeatureRequest, device: str = "cpu") -> Extractor:
    """The extractor of a request. One instance a process and device, so that a network is loaded once.

    Args:
        request: name and parameters.
        device: where its network computes, if it has one that can be moved; the others stay on the processor.

    Raises:
        UnknownName: no extractor of this name.
        EvalkitError: the extractor does not take one of the parameters.
        MissingWeights, MissingExtra: what the extractor needs is not at hand.
    """
    factory = EXTRACTORS.load(request.extractor)
    try:
        extractor = cast(Extractor, factory(**dict(request.params)))
    except TypeError as error:
        raise EvalkitError(
            f"extractor {request.extractor!r} cannot be made from {dict(request.params)}: {error}"
        ) from error
    place = getattr(extractor, "place", None)
    if place is not None and device != "cpu":
        place(device)
    return extractor
