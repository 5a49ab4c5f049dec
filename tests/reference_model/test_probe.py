"""The probe on truth: what it says must be so, and must change when the clip is changed."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import ndimage

from reference_model.evaluate.figures import tally
from reference_model.evaluate.prompts import balanced
from reference_model.probe import agrees, observe
from reference_model.probe.segment import palette, segment
from reference_model.world import SceneObject, compose, render_scenes
from reference_model.world.attributes import COLOURS


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


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("events", [("down", "grow"), ("grow", "left"), ("still", "right")])
def test_events_of_an_object_with_little_room_are_seen(events: tuple[str, str], seed: int) -> None:
    large = (SceneObject("square", "cyan", "large", events),)
    assert observe(clip_of(large, seed=seed, background="gray")).events == events


@pytest.mark.parametrize("sizes", [("small", "small"), ("medium", "small"), ("medium", "medium")])
def test_a_collision_is_told_from_standing_and_from_following(sizes: tuple[str, str]) -> None:
    pair = (SceneObject("star", "red", sizes[0]), SceneObject("circle", "blue", sizes[1]))
    colours = {"colour": "red", "second_colour": "blue", "relation": "collides"}
    for seed in range(3):
        clip = clip_of(pair, seed=seed, relation="collides", background="gray")
        assert agrees(observe(clip), colours)["relation"]
        assert not agrees(observe(clip[:8].repeat(2, 0)), colours)["relation"]
        for other in ("chases", "left_of", "passes_behind"):
            clip = clip_of(pair, seed=seed, relation=other, background="gray")
            assert not agrees(observe(clip), colours)["relation"]


@pytest.mark.parametrize("style", ["flat", "sepia", "night"])
def test_a_rim_of_another_colour_is_no_object(style: str) -> None:
    clip = clip_of(one("left", shape="heart", colour="red"), seed=4, background="gray", style=style)
    seg = segment(clip / 255)
    rim = seg.mask & ~np.stack([ndimage.binary_erosion(frame, iterations=2) for frame in seg.mask])
    clip[rim] = np.rint(palette(seg.grading)[0][tuple(COLOURS).index("purple")] * 255)
    assert rim.sum() > 0.2 * seg.mask.sum()
    seen = observe(clip)
    assert (seen.count, len(seen.objects), seen.objects[0].shape) == (1, 1, "heart")


def test_outlined_objects_of_two_colours_are_two() -> None:
    pair = (SceneObject("triangle", "purple", "medium"), SceneObject("heart", "green", "small"))
    seen = observe(clip_of(pair, relation="chases", style="outlined", background="gray", seed=1))
    assert {(item.shape, item.colour) for item in seen.objects} == {
        ("triangle", "purple"),
        ("heart", "green"),
    }


@pytest.mark.parametrize("seed", range(3))
def test_what_passes_behind_keeps_its_size(seed: int) -> None:
    pair = (SceneObject("cross", "cyan", "medium"), SceneObject("square", "pink", "medium"))
    seen = observe(clip_of(pair, relation="passes_behind", background="black", seed=seed))
    stated = {"colour": "cyan", "second_colour": "pink", "size": "medium", "relation": "passes_behind"}
    assert agrees(seen, stated) == {"colour": True, "size": True, "relation": True}


def test_what_cannot_be_judged_is_left_out() -> None:
    seen = observe(clip_of(one("grow"), style="sepia"))
    verdict = agrees(seen, {"colour": "red", "size": "medium", "motion": "grow", "style": "sepia"})
    assert set(verdict) == {"motion", "style"}
