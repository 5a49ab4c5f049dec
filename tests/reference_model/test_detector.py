"""The size at which the detector looks at a clip."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import torch

from evalkit.video import Video
from reference_model.detector import WorldDetector
from reference_model.probe import observe
from reference_model.world import SceneObject, compose, render_scenes


def facts(frames: np.ndarray) -> dict[str, Any]:
    clip = Video(torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2), 8)
    return dict(json.loads(bytes(WorldDetector().extract(clip, {})["facts"].tolist())))


def test_large_clips_are_looked_at_in_the_size_of_the_world() -> None:
    scene = compose(random.Random(3), (SceneObject("star", "red", "medium", ("left",)),))
    drawn = render_scenes([scene], 8, 64, 64)[0].permute(0, 2, 3, 1).numpy()
    own, seen = observe(drawn), facts(drawn)
    assert (seen["jitter"], seen["motion"], seen["present"]) == (own.jitter, own.motion, own.present)
    assert [shape for shape, _, _ in seen["objects"]] == [track.shape for track in own.objects] == ["star"]
    doubled = drawn.repeat(2, axis=1).repeat(2, axis=2)
    # Area averaging takes every pixel that was made of one back to that one.
    assert facts(doubled.repeat(3, axis=1).repeat(3, axis=2)) == facts(doubled)
    assert facts(doubled)["objects"][0][:2] == ["star", "red"]
