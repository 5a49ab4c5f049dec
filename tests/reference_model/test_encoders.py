"""The judging encoders: their parts against the renderer's truth, and what the shipped weights can tell apart."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reference_model.encoders import (
    FACTORS,
    FRAMES,
    REACH,
    WorldEncoder,
    embed_texts,
    gather_colours,
    load_encoder,
    pattern_shifts,
    prepare,
    stated,
)
from reference_model.frames import CELLS, CROP, PARTS, SIZE, Reading, crops_of
from reference_model.text import Grounding, Tokenizer
from reference_model.train.encoders import clips_of, factor_targets
from reference_model.train.frames import FramesStage, Truth, drafts, truth_of, worsen
from reference_model.train.loop import Config, Draw
from reference_model.world import (
    Scene,
    SceneOptions,
    describe,
    render_scenes,
    sample_scene,
    scene_appearance,
    scene_tracks,
)
from reference_model.world.attributes import COLOURS, SHAPES, TEXTURED
from reference_model.world.render import Appearance

CPU = torch.device("cpu")


def scenes_of(count: int, seed: int, *kinds: str, **options: object) -> list[Scene]:
    rng = random.Random(seed)
    chosen = SceneOptions(held_out="include", kinds=kinds, **options)  # type: ignore[arg-type]
    return [sample_scene(rng, chosen) for _ in range(count)]


def frame_truth(scenes: list[Scene], time: float = 0.4) -> tuple[Tensor, Appearance, Truth]:
    objects, camera = scene_tracks(scenes, [[time]] * len(scenes))
    look = scene_appearance(scenes)
    return objects[:, :, 0], look, truth_of(objects[:, :, 0], camera[:, 0], look, scenes[0].aspect)


@pytest.fixture(scope="module")
def shipped() -> tuple[WorldEncoder, Tokenizer]:
    return load_encoder()


@torch.no_grad()
def features_of(model: WorldEncoder, scenes: list[Scene]) -> Tensor:
    return torch.cat([model.features(part) for part in clips_of(scenes, CPU).split(16)])


def test_cells_of_the_truth_lie_on_pixels_of_the_object() -> None:
    scenes = scenes_of(24, 1, "single", "group", styles=("flat",))
    pixels = render_scenes(scenes, 1, SIZE, SIZE)[:, 0].float()
    _, _, truth = frame_truth(scenes, 0.0)
    # Objects are coloured and grounds are gray: the spread of the channels says which is which.
    spread = pixels.amax(1) - pixels.amin(1)
    block = SIZE // CELLS
    centre = spread[:, block // 2 :: block, block // 2 :: block].flatten(1) > 40
    agree = (centre == (truth.thing > 0.5)).float().mean()
    # Cells are labelled by a disc of the object's area; its tips reach further.
    assert float(agree) > 0.92
    torch.testing.assert_close(truth.weight.sum(1), torch.tensor([float(len(s.objects)) for s in scenes]))


def test_cells_that_say_the_truth_gather_to_the_objects() -> None:
    scenes = scenes_of(16, 2, "single") + scenes_of(16, 2, "group") + scenes_of(16, 3, "relation")
    objects, look, truth = frame_truth(scenes)
    on = truth.thing[:, None]
    cells = torch.cat(
        [40 * on - 20, 20 * F.one_hot(truth.colour, len(COLOURS)).transpose(1, 2), truth.place.transpose(1, 2) * on], 1
    )  # fmt: skip
    assert cells.shape[1] == sum(PARTS.values())
    found = gather_colours(Reading(cells.view(len(scenes), -1, CELLS, CELLS), torch.zeros(len(scenes), 1)))
    for row, scene in enumerate(scenes):
        if scene.relation == "passes_behind":
            continue  # hidden at this moment
        for slot, item in enumerate(scene.objects):
            colour = int(look.colour[row, slot])
            alike = [n for n, other in enumerate(scene.objects) if other.colour == item.colour]
            mass = float(found.mass[row, colour])
            # A disc of .9 radii has .81 of the cells; small objects have few, and objects may cover each other.
            assert 0.5 * len(alike) < mass < 1.3 * len(alike)
            places = objects[row, alike, 1:3]
            gaps = (found.centre[row, colour] - places).abs().amax(-1)
            assert float(gaps.min()) < 1e-3, "the one object is one of the colour's"
            if len(alike) == 1:
                torch.testing.assert_close(found.facts[row, colour, 2:4], places[0], atol=1e-3, rtol=0)
                torch.testing.assert_close(
                    found.radii[row, colour], objects[row, slot, 3].expand(2), atol=1e-3, rtol=0
                )
        unused = [n for n in range(len(COLOURS)) if n not in look.colour[row, : len(scene.objects)]]
        assert float(found.facts[row, unused].abs().max()) < 1e-3


def test_a_crop_shows_an_object_alike_wherever_and_however_large_it_is() -> None:
    (scene,) = scenes_of(1, 5, "single", styles=("flat",))
    one = replace(scene.objects[0], motions=("still",), shape="heart", x=-0.3, y=0.2, radius=0.3)
    two = replace(one, x=0.25, y=-0.1, radius=0.5)
    plain = replace(scene, background="white", camera="static")
    frames = render_scenes([replace(plain, objects=(item,)) for item in (one, two)], 1, SIZE, SIZE)[:, 0]
    centre = torch.tensor([[one.x, one.y], [two.x, two.y]])
    radii = torch.tensor([[one.radius] * 2, [two.radius] * 2])
    crops = crops_of(frames.float() / 255, torch.arange(2), centre, radii)
    assert crops.shape == (2, 3, CROP, CROP)
    assert float((crops[0] - crops[1]).abs().mean()) < 0.02
    shifted = crops_of(frames.float() / 255, torch.arange(2), centre + 0.15, radii)
    assert float((crops[0] - shifted[1]).abs().mean()) > 0.05


@pytest.mark.parametrize(("camera", "down", "right"), [("pan_left", 0, -2), ("pan_right", 0, 2), ("tilt_up", -2, 0), ("tilt_down", 2, 0)])  # fmt: skip
def test_shifts_peak_where_the_camera_moves(camera: str, down: int, right: int) -> None:
    (scene,) = scenes_of(1, 7, "camera", styles=("flat",))
    shifts = pattern_shifts(clips_of([replace(scene, camera=camera, camera_travel=0.65)], CPU))
    side = 2 * REACH + 1
    assert float(shifts[:, :3].abs().max()) == 0
    peak = int(shifts.view(FRAMES, side * side, 4).mean((0, 2)).argmax())
    assert (peak // side - REACH, peak % side - REACH) == (down, right)


def test_a_plain_ground_without_motion_has_no_shifts() -> None:
    assert float(pattern_shifts(torch.full((1, FRAMES, 3, SIZE, SIZE), 0.3)).abs().max()) < 1e-4


def test_one_truth_with_two_captions_has_one_target() -> None:
    for scene in scenes_of(20, 11, "relation"):
        turned = {"left_of": "right_of", "right_of": "left_of", "above": "below", "below": "above"}.get(
            scene.relation or ""
        )
        if turned:
            mirrored = replace(scene, objects=scene.objects[::-1], relation=turned)
            assert torch.equal(factor_targets([scene]), factor_targets([mirrored]))


def test_what_a_caption_states_follows_the_mirrored_relation() -> None:
    shares = {
        name: torch.zeros(1, *shape)
        for name, shape in {
            **{name: (3, head.out_features) for name, head in Grounding(8).slot.items()},
            **{name: (head.out_features,) for name, head in Grounding(8).scene.items()},
        }.items()
    }
    shapes, colours = list(SHAPES), list(COLOURS)
    shares["object"][0, 0, 2 + shapes.index("star")] = 1
    shares["object"][0, 1, 2 + shapes.index("heart")] = 1
    shares["colour"][0, 0, 2 + colours.index("red")] = 1
    shares["colour"][0, 1, 2 + colours.index("blue")] = 1
    shares["relation"][0, 2 + 1] = 1  # right_of: a red star is right of a blue heart
    said = {name: value[0] for name, value in stated(shares).items()}
    assert said["relation"][FACTORS["relation"].index("left_of")] == 1
    assert said["object"][shapes.index("heart")] == said["second_object"][shapes.index("star")] == 1
    assert said["colour"][colours.index("blue")] == said["second_colour"][colours.index("red")] == 1
    assert said["related"].tolist() == [0, 1]
    assert not any(said[name].any() for name in ("size", "motion", "count", "camera"))


def test_faults_are_told_apart_by_their_amounts() -> None:
    clips = clips_of(scenes_of(40, 3, "single"), CPU)
    worse, amounts = worsen(clips.clone(), torch.Generator().manual_seed(1))
    clean = (amounts == 0).all(1)
    assert 5 < int(clean.sum()) < 25
    # A clip without faults keeps its pixels but for a tint, which is one constant a channel.
    gap = (worse - clips)[clean]
    assert float((gap - gap.mean((1, 3, 4), keepdim=True)).abs().max()) < 1e-5
    assert float((worse - clips)[amounts[:, 1] > 0.3].std((-1, -2)).min()) > 0.01


def test_clips_of_any_size_and_length_are_read() -> None:
    clip = torch.randint(
        0, 256, (5, 3, 40, 72), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    ready = prepare(clip)
    assert ready.shape == (FRAMES, 3, SIZE, SIZE)
    assert torch.equal(ready[0], ready[1])
    square = torch.randint(0, 256, (16, 3, SIZE, SIZE), dtype=torch.uint8)
    assert torch.equal(prepare(square), square.float() / 127.5 - 1)
    flat = torch.full((16, 3, 256, 256), 51, dtype=torch.uint8)
    torch.testing.assert_close(prepare(flat), torch.full((FRAMES, 3, SIZE, SIZE), -0.6))


def test_the_frames_stage_learns_to_see() -> None:
    stage = FramesStage(Config("frames", steps=1, batch=16), CPU)
    torch.manual_seed(0)
    module = stage.build()
    optimiser = torch.optim.AdamW(module.parameters(), lr=2e-3)
    losses = []
    for step in range(20):
        loss = stage.loss(module, Draw.of(0, step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@torch.no_grad()
def test_shape_count_motion_and_camera_are_read(shipped: tuple[WorldEncoder, Tokenizer]) -> None:
    scenes = scenes_of(64, 21, "single", "events", "group")
    model, _ = shipped
    features, targets = features_of(model, scenes), factor_targets(scenes)
    for name, bound in (("object", 0.85), ("count", 0.85), ("motion", 0.8), ("camera", 0.85)):
        hits = model.heads[name](features).argmax(-1) == targets[:, list(FACTORS).index(name)]
        assert float(hits.float().mean()) >= bound, name


@torch.no_grad()
def test_what_came_first_and_who_is_left_are_told_apart(shipped: tuple[WorldEncoder, Tokenizer]) -> None:
    model, tokenizer = shipped
    events = scenes_of(24, 31, "events")
    pairs = [scene for scene in scenes_of(80, 32, "relation") if scene.relation in ("left_of", "right_of")]
    turned = [
        replace(scene, objects=(replace(scene.objects[0], motions=scene.objects[0].motions[::-1]),))
        for scene in events
    ]
    turned += [
        replace(scene, relation="left_of" if scene.relation == "right_of" else "right_of") for scene in pairs
    ]
    scenes = events + pairs
    seen = model.embed_features(features_of(model, scenes))
    right, wrong = (
        embed_texts(model, tokenizer, [describe(s).text for s in group]) for group in (scenes, turned)
    )
    wins = (seen * right).sum(1) > (seen * wrong).sum(1)
    assert float(wins[: len(events)].float().mean()) >= 0.85
    assert float(wins[len(events) :].float().mean()) >= 0.85


@torch.no_grad()
def test_drafts_and_sharp_clips_of_patterns_have_other_features(
    shipped: tuple[WorldEncoder, Tokenizer],
) -> None:
    model, _ = shipped
    scenes = scenes_of(24, 41, "camera") + [
        scene for scene in scenes_of(40, 41, "single", "group") if scene.background in TEXTURED
    ]
    sharp = clips_of(scenes, CPU)
    clean, soft = (
        torch.cat([model.faults(model.features(part))[:, 0] for part in clips.split(16)])
        for clips in (sharp, drafts(sharp))
    )
    assert float((soft[:, None] > clean[None]).float().mean()) > 0.95
