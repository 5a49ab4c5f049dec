"""The suites that come with evalkit keep what they promise."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from evalkit.suites import Suite, lint_suite, load_suite, shipped_suites
from evalkit.suites.expect import ATTRIBUTES

# The leaves of the failure taxonomy that clips of a suite can show.
LEAVES = {
    *(f"temporal.{leaf}" for leaf in ("flicker", "jitter", "morph", "background", "frozen")),
    *(f"identity.{leaf}" for leaf in ("face", "character", "clothing", "object")),
    *(f"scene.{leaf}" for leaf in ("progression", "transition", "long_drift", "loop")),
    *(
        f"visual.{leaf}"
        for leaf in ("blur", "pixelation", "distortion", "color", "text", "overlay", "format")
    ),
    *(
        f"prompt.{leaf}"
        for leaf in ("object", "attribute", "action", "interaction", "spatial", "camera", "style")
    ),
    *(
        f"physics.{leaf}"
        for leaf in ("permanence", "mechanics", "solidity", "material", "causality", "geometry")
    ),
    *(f"anatomy.{leaf}" for leaf in ("hands", "face", "limbs", "motion")),
    *(f"control.{leaf}" for leaf in ("repeat", "param", "condition", "sensitivity", "collapse")),
}


@pytest.fixture(scope="module")
def core() -> Suite:
    return load_suite("core")


@pytest.mark.parametrize("name", ["core", "open-domain"])
def test_shipped_suites_are_clean_balanced_and_described(name: str) -> None:
    assert name in shipped_suites()
    assert lint_suite(name) == []
    suite = load_suite(name)
    assert (suite.name, suite.licence) == (name, "CC-BY-4.0")
    assert set(suite.probes) == set(suite.categories)
    assert len(set(Counter(prompt.category for prompt in suite).values())) == 1
    assert len({prompt.text.casefold() for prompt in suite}) == len(suite)
    for prompt in suite:
        assert prompt.tags, prompt.id
        assert {tag for tag in prompt.tags if "." in tag} <= LEAVES, prompt.id
        assert prompt.expect, prompt.id


def test_the_suites_have_the_size_they_announce() -> None:
    assert len(load_suite("core")) == 96
    assert len(load_suite("open-domain")) == 126


def test_the_open_domain_suite_names_nobody() -> None:
    """Capital letters inside a prompt would be a name; the few that there are, are listed."""
    allowed = {"Japanese", "OPEN", "THE", "QUIET", "HARBOUR", "FESTIVAL"}
    for prompt in load_suite("open-domain"):
        inner = re.findall(r"(?<!^)(?<!\. )\b[A-Z]\w*", prompt.text)
        assert set(inner) <= allowed, prompt.id


def test_core_uses_the_worlds_words_and_values_only(core: Suite) -> None:
    attributes = pytest.importorskip("reference_model.world.attributes")
    text = pytest.importorskip("reference_model.text")
    known = set(text.world_words())
    for prompt in core:
        assert set(text.words_of(f"{prompt.text} {prompt.negative}")) <= known, prompt.id
        stated = {**prompt.expect, **prompt.expect.get("absent", {})}
        for name, value in stated.items():
            values = {
                "events": lambda: set(attributes.EVENTS),
                "second_object": lambda: set(attributes.SHAPES),
                "second_colour": lambda: set(attributes.COLOURS),
                "absent": lambda: set(attributes.ATTRIBUTES),
            }.get(name, lambda name=name: set(attributes.ATTRIBUTES[name]))()
            assert (set(value) if name in {"events", "absent"} else {value}) <= values, prompt.id


def test_every_value_of_the_world_can_be_expected() -> None:
    attributes = pytest.importorskip("reference_model.world.attributes")
    for name, values in attributes.ATTRIBUTES.items():
        allowed = ATTRIBUTES[name].values
        assert not allowed or set(values) <= set(allowed), name


def test_core_keeps_the_worlds_rules(core: Suite) -> None:
    attributes = pytest.importorskip("reference_model.world.attributes")
    for prompt in core:
        expect = prompt.expect
        if expect.get("camera", "static") != "static":
            assert expect["background"] in attributes.TEXTURED, prompt.id
            assert "motion" not in expect, prompt.id
        if expect["object"] == "circle":
            assert expect.get("motion") != "rotate", prompt.id
        if expect.get("count", 1) > 1 or "relation" in expect:
            assert expect.get("size") != "large", prompt.id
        if "relation" in expect:
            assert expect["object"] != expect["second_object"], prompt.id
            assert expect["colour"] != expect["second_colour"], prompt.id
        held_out = (expect.get("colour"), expect["object"]) in attributes.HELD_OUT_PAIRS
        assert held_out == ("held_out" in prompt.tags), prompt.id


def test_core_says_in_words_what_it_expects(core: Suite) -> None:
    """Every expected value has one of its phrases in the text (or, for `absent`, in the negative prompt)."""
    attributes = pytest.importorskip("reference_model.world.attributes")
    phrases = {
        "object": attributes.SHAPES,
        "colour": attributes.COLOURS,
        "size": attributes.SIZES,
        "motion": attributes.MOTIONS,
        "relation": attributes.RELATIONS,
        "background": attributes.BACKGROUNDS,
        "camera": attributes.CAMERAS,
        "style": attributes.STYLES,
    }

    def says(text: str, name: str, value: str) -> bool:
        spoken = [*phrases[name][value]]
        spoken += [attributes.plural_phrase(phrase) for phrase in spoken] if name == "motion" else []
        spoken += [attributes.PLURALS.get(phrase, phrase) for phrase in spoken] if name == "object" else []
        return any(re.search(rf"\b{phrase}\b", text) for phrase in spoken)

    for prompt in core:
        for name, value in prompt.expect.items():
            if name in phrases:
                assert says(prompt.text, name, value), (prompt.id, name)
            elif name in {"second_object", "second_colour"}:
                assert says(
                    prompt.text, {"second_object": "object", "second_colour": "colour"}[name], value
                ), prompt.id
            elif name == "events":
                assert all(says(prompt.text, "motion", event) for event in value), prompt.id
            elif name == "absent":
                assert all(says(prompt.negative, inner, said) for inner, said in value.items()), prompt.id
            elif name == "count":
                assert prompt.text.split()[0] in attributes.COUNTS[value], prompt.id


def test_core_expects_what_the_world_reads_in_its_words(core: Suite) -> None:
    """The world's own parser finds in each text exactly what `expect` says; sepia takes the colour away."""
    parse = pytest.importorskip("reference_model.world.parse")
    for prompt in core:
        stated = {
            name: tuple(v) if isinstance(v, list | tuple) else v
            for name, v in parse.expectations(prompt.text).items()
        }
        if stated.get("style") == "sepia":
            del stated["colour"]
        assert stated == {name: value for name, value in prompt.expect.items() if name != "absent"}, prompt.id


def test_a_random_slice_of_a_shipped_suite_is_a_suite() -> None:
    rng = random.Random(5)
    suite = load_suite("open-domain")
    chosen = rng.sample([prompt.id for prompt in suite], 20)
    assert {prompt.id for prompt in suite.select(ids=chosen)} == set(chosen)
