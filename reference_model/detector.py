"""The analytic probe as a detector of evalkit: what a clip shows, and which promises of a prompt that keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from evalkit.features.protocol import ExtractorSpec, FeatureRequest

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from evalkit.video import Video

_TRACKS = ("x", "y", "radius")

# The world is drawn at 64 and 128 pixels, and the probe's thresholds are of that size; more only costs time.
_SHORT_SIDE = 128


class WorldDetector:
    """Observes a clip (`extract`) and compares the observation with a prompt's `expect` (`judge`)."""

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()
    spec = ExtractorSpec(
        id="world.detector",
        version="3",
        subject="clip",
        title="Analytic probe of the reference world",
        preprocessing=f"native pixels, above a short side of {_SHORT_SIDE} reduced to it by area averaging",
        citation="reference_model/README.md, section Probe",
    )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Any]
    ) -> Mapping[str, torch.Tensor]:
        """`facts`: JSON as uint8; `x`, `y`, `radius`: float64 (objects, T), NaN where an object is not seen."""
        import numpy as np
        import torch

        from reference_model.probe import observe

        assert not isinstance(subject, str)
        seen = observe(_bounded(subject.frames.permute(0, 2, 3, 1).numpy()))
        facts = {
            name: getattr(seen, name) for name in ("background", "style", "camera", "count", "size", "motion")
        }
        facts |= {"events": seen.events, "present": seen.present, "jitter": seen.jitter}
        facts["objects"] = [[track.shape, track.colour, track.turn] for track in seen.objects]
        empty = np.zeros((0, len(subject.frames)))
        paths = {
            name: torch.from_numpy(
                np.stack([getattr(track, name) for track in seen.objects]) if seen.objects else empty
            )
            for name in _TRACKS
        }
        text = json.dumps(facts, sort_keys=True).encode()
        return {"facts": torch.tensor(list(text), dtype=torch.uint8), **paths}

    def judge(self, features: Mapping[str, torch.Tensor], expect: Mapping[str, object]) -> Mapping[str, bool]:
        """Verdicts on the attributes of `expect`; none when it asks for an object that this world does not have."""
        from reference_model.probe import ObjectTrack, Observation, agrees
        from reference_model.world.attributes import SHAPES

        if any(expect[name] not in SHAPES for name in ("object", "second_object") if name in expect):
            return {}
        if "object" not in expect:
            return {}
        facts = json.loads(bytes(features["facts"].tolist()))
        objects = facts.pop("objects")
        events = facts.pop("events")
        tracks = tuple(
            ObjectTrack(shape, colour, *(features[name][index].numpy() for name in _TRACKS), turn)
            for index, (shape, colour, turn) in enumerate(objects)
        )
        seen = Observation(**facts, events=None if events is None else tuple(events), objects=tracks)
        return agrees(seen, expect)


def _bounded(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames `(T, H, W, 3)` with a short side of at most `_SHORT_SIDE`."""
    import cv2
    import numpy as np

    height, width = frames.shape[1:3]
    scale = _SHORT_SIDE / min(height, width)
    if scale >= 1:
        return frames
    size = (round(width * scale), round(height * scale))
    return np.stack(
        [cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA) for frame in frames]
    )
