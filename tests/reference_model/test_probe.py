"""The probe on truth: what it says must be so, and must change when the clip is changed."""

from __future__ import annotations

import random

import numpy as np
import pytest

from reference_model.evaluate.figures import tally
from reference_model.evaluate.prompts import balanced
from reference_model.probe import agrees, observe
from reference_model.world import SceneObject, compose, render_scenes


def clip_of(objects: tuple[SceneObject, ...], seed: int = 0, **look: str) -> np.ndarray:
    scene = compose(random.Random(seed), objects, **look)
    return render_scenes([scene], 16, 64, 64)[0].permute(0, 2, 3, 1).numpy()


def one(
    motion: str = "still", shape: str = "star", colour: str = "red", size: str = "medium"
) -> tuple[SceneObject, ...]:
    return (SceneObject(shape, colour, size, (motion,)),)


def test_ceiling_on_truth() -> None:
    asked = balanced(28, 77)
    rows = []
    for ask in asked:
        clip = render_scenes([ask.scene], 16, 64, 64)[0].permute(0, 2, 3, 1).numpy()
        rows.append(agrees(observe(clip), ask.expect))
    for name, share in tally(rows).items():
        assert share.count - share.hits <= max(1, 0.06 * share.count), (name, share)


@pytest.mark.parametrize(
    "motion", ["left", "right", "up", "down", "grow", "shrink", "bounce", "rotate", "still"]
)
def test_motions_are_told_apart(motion: str) -> None:
    assert observe(clip_of(one(motion), seed=3)).motion == motion


@pytest.mark.parametrize(
    ("motion", "mirrored", "reversed_"),
    [("left", "right", "right"), ("up", "up", "down"), ("grow", "grow", "shrink")],
)
def test_mirroring_and_reversing_change_what_is_seen(motion: str, mirrored: str, reversed_: str) -> None:
    clip = clip_of(one(motion), seed=5)
    assert observe(clip[:, :, ::-1].copy()).motion == mirrored
    assert observe(clip[::-1].copy()).motion == reversed_
    assert observe(clip[:1].repeat(16, 0)).motion == "still"


def test_a_lost_object_is_missed() -> None:
    clip = clip_of(one("left"), seed=2)
    whole = observe(clip)
    clip[5:8] = clip[0, 0, 0]
    assert whole.present == 1.0
    assert observe(clip).present == pytest.approx(13 / 16)


def test_jitter_is_measured() -> None:
    clip = clip_of(one("still", size="small"), seed=1, background="white")
    shaken = np.stack([np.roll(frame, (-1) ** place * 2, 1) for place, frame in enumerate(clip)])
    assert observe(clip).jitter < 0.2
    assert observe(shaken).jitter == pytest.approx(8.0, rel=0.15)


def test_an_empty_clip_has_no_object() -> None:
    seen = observe(np.full((16, 64, 64, 3), 242, np.uint8))
    assert (seen.count, seen.objects, seen.present, seen.motion) == (0, (), 0.0, None)
    verdict = agrees(seen, {"object": "star", "colour": "red", "count": 1, "background": "white"})
    assert verdict == {"object": False, "colour": False, "count": False, "background": True}


def test_relations_have_a_direction() -> None:
    pair = (SceneObject("star", "red", "small"), SceneObject("circle", "blue", "small"))
    seen = observe(clip_of(pair, relation="left_of", background="gray"))
    colours = {"colour": "red", "second_colour": "blue"}
    assert agrees(seen, {**colours, "relation": "left_of"})["relation"]
    assert not agrees(seen, {**colours, "relation": "right_of"})["relation"]
    assert not agrees(seen, {"colour": "blue", "second_colour": "red", "relation": "left_of"})["relation"]


def test_what_cannot_be_judged_is_left_out() -> None:
    seen = observe(clip_of(one("grow"), style="sepia"))
    verdict = agrees(seen, {"colour": "red", "size": "medium", "motion": "grow", "style": "sepia"})
    assert set(verdict) == {"motion", "style"}
