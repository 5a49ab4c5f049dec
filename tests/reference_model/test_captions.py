"""Captions say what the scene shows, in the world's words, and can be read back."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_model.text import Tokenizer
from reference_model.train.data import SWAPS, swapped
from reference_model.world import SceneOptions, describe, describe_fragment, sample_scene
from reference_model.world.attributes import ATTRIBUTES, plural_phrase
from reference_model.world.parse import OutsideWorldError, expectations, scene_of

seeds = st.integers(0, 100_000)
TOKENIZER = Tokenizer.of_world()


@given(seeds)
def test_a_caption_reads_back_as_what_it_states(seed: int) -> None:
    rng = random.Random(seed)
    caption = describe(sample_scene(rng, SceneOptions(held_out="include")), rng)
    assert expectations(caption.text) == caption.expect


@given(seeds)
def test_what_is_stated_is_true_of_the_scene(seed: int) -> None:
    rng = random.Random(seed)
    scene = sample_scene(rng)
    stated = describe(scene, rng, full=True).expect
    first = scene.objects[0]
    assert (stated["object"], stated["colour"]) == (first.shape, first.colour)
    assert (stated["background"], stated["style"], stated["camera"]) == (
        scene.background,
        scene.style,
        scene.camera,
    )
    if scene.relation is None:
        assert stated["count"] == len(scene.objects)
        assert stated["size"] == first.size


@given(seeds)
def test_a_scene_made_from_a_reading_has_the_stated_attributes(seed: int) -> None:
    rng = random.Random(seed)
    caption = describe(sample_scene(rng), rng)
    again = describe(scene_of(expectations(caption.text), rng), full=True).expect
    assert caption.expect.items() <= again.items()


@given(seeds)
def test_every_word_is_in_the_vocabulary(seed: int) -> None:
    rng = random.Random(seed)
    scene = sample_scene(rng)
    assert TOKENIZER.unknown(describe(scene, rng).text) == []
    assert TOKENIZER.unknown(describe_fragment(scene, rng).text) == []


@given(seeds, st.sampled_from(SWAPS))
def test_a_swap_changes_the_caption_and_only_where_it_should(seed: int, attribute: str) -> None:
    rng = random.Random(seed)
    scene = sample_scene(rng)
    pair = swapped(scene, attribute, rng)
    if pair is None:
        return
    right, wrong = (expectations(text) for text in pair)
    differs = {name for name in right.keys() | wrong.keys() if right.get(name) != wrong.get(name)}
    allowed = {"count": {"count", "motion", "size"}}.get(attribute, {attribute})
    assert differs
    assert differs <= allowed


def test_attribute_values_are_all_said_by_some_caption() -> None:
    rng = random.Random(0)
    said: dict[str, set[object]] = {}
    for _ in range(1500):
        for name, value in describe(sample_scene(rng), rng, full=True).expect.items():
            said.setdefault(name, set()).add(value)
    assert all(set(values) <= said[name] for name, values in ATTRIBUTES.items())


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a red dragon flies", "no word 'dragon'"),
        ("moves left on a white background", "names no object"),
        ("a red ball chases", "no second object"),
        ("a red ball a blue ball", "more objects"),
        ("a red blue ball", "colour 'red' and 'blue'"),
        ("a star moves left and then moves right and then rises", "3 motions"),
    ],
)
def test_a_prompt_outside_the_world_says_why(prompt: str, reason: str) -> None:
    with pytest.raises(OutsideWorldError, match=reason):
        expectations(prompt)


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a red ball spins", "circle rotate"),
        ("a red star on a white background, camera pan left", "camera move cannot be seen"),
        ("three large red stars", "must be small or medium"),
        ("two red stars bounce", "several objects can do"),
        ("a large red star chases a blue ball", "two large ones do not fit"),
        ("a red star chases a red star", "must differ"),
    ],
)
def test_a_combination_outside_the_world_says_why(prompt: str, reason: str) -> None:
    with pytest.raises(OutsideWorldError, match=reason):
        scene_of(expectations(prompt), random.Random(0))


@pytest.mark.parametrize(
    ("singular", "plural"),
    [("moves left", "move left"), ("is spinning", "are spinning"), ("does not move", "do not move"), ("rises", "rise"), ("falling", "falling"), ("bounces up and down", "bounce up and down")],
)  # fmt: skip
def test_verbs_follow_several_subjects(singular: str, plural: str) -> None:
    assert plural_phrase(singular) == plural
