"""The analytic probe as a detector of evalkit: what a clip shows, and which promises of a prompt that keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from evalkit.features.protocol import ExtractorSpec, FeatureRequest

if TYPE_CHECKING:
    import torch

    from evalkit.video import Video

_TRACKS = ("x", "y", "radius")


class WorldDetector:
    """Observes a clip (`extract`) and compares the observation with a prompt's `expect` (`judge`)."""

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()
    spec = ExtractorSpec(
        id="world.detector",
        version="1",
        subject="clip",
        title="Analytic probe of the reference world",
        preprocessing="native pixels",
        citation="reference_model/README.md, section Probe",
    )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Any]
    ) -> Mapping[str, torch.Tensor]:
        """`facts`: JSON as uint8; `x`, `y`, `radius`: float64 (objects, T), NaN where an object is not seen."""
        import numpy as np
        import torch

        from reference_model.probe import observe

        seen = observe(subject.frames.permute(0, 2, 3, 1).numpy())
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
