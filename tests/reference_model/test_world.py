"""The world: what it draws is what the scene says, at any size, length and aspect."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference_model.world import (
    Scene,
    SceneObject,
    SceneOptions,
    compose,
    frame_times,
    render_scenes,
    sample_scene,
    scene_tracks,
)
from reference_model.world.attributes import HELD_OUT_PAIRS, MOTIONS, SHAPES
from reference_model.world.render import PALETTE, outlines
from reference_model.world.scenes import RADIUS, displacement

seeds = st.integers(0, 10_000)


def still(shape: str = "circle", **changes: object) -> Scene:
    return Scene((SceneObject(shape, "red", "medium", x=0.1, y=-0.2, radius=0.4),), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_covers_the_area_of_its_circle(shape: str) -> None:
    clip = render_scenes([still(shape)], 1, 128, 128)[0, 0].float()
    # Anti-aliased coverage of red on white, read from the green channel.
    white, red = 0.95 * 255, PALETTE["red"][1] * 255
    area = float(((white - clip[1]) / (white - red)).sum()) * (2 / 128) ** 2
    assert area == pytest.approx(math.pi * 0.4**2, rel=0.015)


def test_outlines_have_area_pi() -> None:
    table, normal = outlines()
    torch.testing.assert_close((table**2).mean(1), torch.ones(len(SHAPES)))
    assert bool((normal > 0).all())
    assert bool((normal <= 1).all())


def test_centre_and_colour_are_where_the_scene_says() -> None:
    clip = render_scenes([still()], 1, 64, 64)[0, 0]
    column, row = round((0.1 + 1) * 32 - 0.5), round((-0.2 + 1) * 32 - 0.5)
    assert clip[:, row, column].tolist() == [round(255 * value) for value in PALETTE["red"]]
    assert clip[:, 0, 0].tolist() == [242] * 3


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 32, 32), (5, 48, 80), (3, 80, 48), (33, 17, 31)])
def test_any_length_size_and_aspect(frames: int, height: int, width: int) -> None:
    scene = sample_scene(random.Random(1), SceneOptions(aspect=width / height))
    clip = render_scenes([scene], frames, height, width)
    assert clip.shape == (1, frames, 3, height, width)
    assert clip.dtype == torch.uint8


def test_length_changes_only_how_often_the_same_path_is_looked_at() -> None:
    scene = sample_scene(random.Random(4), SceneOptions(kinds=("events",)))
    few, many = render_scenes([scene], 5, 32, 32)[0], render_scenes([scene], 9, 32, 32)[0]
    assert torch.equal(few, many[::2])


@given(seeds)
def test_objects_stay_in_the_frame(seed: int) -> None:
    scene = sample_scene(random.Random(seed))
    objects, camera = scene_tracks([scene], [frame_times(16)])
    here = objects[0, : len(scene.objects)]
    x = (here[..., 1] - camera[0, :, 0]) * camera[0, :, 2].exp()
    y = (here[..., 2] - camera[0, :, 1]) * camera[0, :, 2].exp()
    assert bool((torch.maximum(x.abs(), y.abs()) < 1.0).all())


@given(seeds)
def test_the_same_seed_gives_the_same_scene(seed: int) -> None:
    assert sample_scene(random.Random(seed)) == sample_scene(random.Random(seed))


@given(seeds, st.booleans())
def test_held_out_pairs_are_kept_out_or_alone(seed: int, out: bool) -> None:
    scene = sample_scene(random.Random(seed), SceneOptions(held_out="exclude" if out else "only"))
    pairs = [(item.colour, item.shape) for item in (scene.objects if out else scene.objects[:1])]
    assert all((pair in HELD_OUT_PAIRS) is not out for pair in pairs)


@pytest.mark.parametrize(
    ("motion", "sign"),
    [("left", (-1, 0, 0)), ("right", (1, 0, 0)), ("up", (0, -1, 0)), ("down", (0, 1, 0)), ("grow", (0, 0, 1)), ("shrink", (0, 0, -1)), ("still", (0, 0, 0))],
)  # fmt: skip
def test_a_motion_goes_where_its_name_says(motion: str, sign: tuple[int, int, int]) -> None:
    start, end = (displacement((motion,), 0.8, 4.0, time) for time in (0.0, 1.0))
    moved = [b - a for a, b in zip(start, end, strict=True)][:3]
    assert [(value > 1e-6) - (value < -1e-6) for value in moved] == list(sign)


def test_events_happen_one_after_the_other() -> None:
    half = displacement(("right", "down"), 0.8, 4.0, 0.5)
    end = displacement(("right", "down"), 0.8, 4.0, 1.0)
    assert half[:2] == pytest.approx((0.8, 0.0))
    assert end[:2] == pytest.approx((0.8, 0.8))


def test_what_passes_behind_is_hidden_and_comes_back() -> None:
    first, second = SceneObject("circle", "red", "small"), SceneObject("square", "blue", "medium")
    scene = compose(random.Random(0), (first, second), relation="passes_behind")
    scene = replace(scene, objects=(replace(scene.objects[0], y=scene.objects[1].y), scene.objects[1]))
    clip = render_scenes([scene], 17, 64, 64)[0].int()
    red = ((clip[:, 0] > 180) & (clip[:, 1] < 90) & (clip[:, 2] < 90)).sum((1, 2))
    assert int(red[8]) < 0.2 * int(red[0])
    assert int(red[-1]) == pytest.approx(int(red[0]), rel=0.1)


def test_a_pan_moves_the_pattern_against_the_camera() -> None:
    scene = still(background="checkered", camera="pan_right", camera_travel=0.5)
    scene = replace(scene, objects=(replace(scene.objects[0], x=0.9, radius=0.02),))
    clip = render_scenes([scene], 17, 64, 64)[0, :, 1, :, :32].float()
    # 0.5 units over 16 steps is one pixel a frame.
    torch.testing.assert_close(clip[1:, :, :-1], clip[:-1, :, 1:], atol=2.0, rtol=0)


@pytest.mark.parametrize(
    ("style", "check"), [("night", "dark"), ("sepia", "brown"), ("outlined", "edge"), ("pixel_art", "blocks")]
)
def test_styles_look_as_they_are_called(style: str, check: str) -> None:
    flat, clip = (
        render_scenes([still("square", style=name)], 1, 64, 64)[0, 0].float() for name in ("flat", style)
    )
    if check == "dark":
        assert clip.mean() < 0.5 * flat.mean()
    elif check == "brown":
        assert bool((clip[0] >= clip[1]).all())
        assert bool((clip[1] >= clip[2]).all())
    elif check == "edge":
        assert int((clip.sum(0) < 60).sum()) > 40 > int((flat.sum(0) < 60).sum())
    else:
        blocks = clip.view(3, 32, 2, 32, 2)
        assert bool((blocks == blocks[:, :, :1, :, :1]).all())


def test_sizes_are_apart_and_every_motion_can_be_composed() -> None:
    assert 1.3 < RADIUS["medium"] / RADIUS["small"] < RADIUS["large"] / RADIUS["medium"] + 0.1
    for motion in MOTIONS:
        scene = compose(random.Random(0), (SceneObject("star", "red", "large", (motion,)),))
        assert render_scenes([scene], 4, 32, 32).float().std() > 1
