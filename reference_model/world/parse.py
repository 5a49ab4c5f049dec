"""Captions back to scenes, exactly: every word must be the world's, else an error says which is not.

This is how the `world` model, the perfect generator, reads a prompt. The diffusion model never uses it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping

from reference_model.world.attributes import (
    BACKGROUNDS,
    CAMERAS,
    COLOURS,
    COUNTS,
    EVENTS,
    MOTIONS,
    PLURALS,
    RELATIONS,
    SHAPES,
    SIZES,
    STYLES,
    TEXTURED,
    plural_phrase,
)
from reference_model.world.scenes import RADIUS, UNIT, Scene, SceneObject, compose

FILLERS = {
    "a",
    "an",
    "the",
    "on",
    "against",
    "in",
    "front",
    "of",
    "background",
    "video",
    "clip",
    "and",
    "first",
    "then",
    "style",
}
GROUP_MOTIONS = ("still", *UNIT, "rotate")


class OutsideWorldError(ValueError):
    """A prompt that the world cannot show; the message says why and what it could show instead."""


def _phrases() -> dict[tuple[str, ...], tuple[str, object]]:
    table: dict[tuple[str, ...], tuple[str, object]] = {}

    def add(kind: str, entries: Mapping[object, Iterable[str]]) -> None:
        for value, phrases in entries.items():
            for phrase in phrases:
                table[tuple(phrase.split())] = (kind, value)

    add("colour", COLOURS)
    add("size", SIZES)
    add("count", {2: COUNTS[2], 3: COUNTS[3]})
    add("count", {1: ("one",)})
    add("object", {name: (*words, *(PLURALS[word] for word in words)) for name, words in SHAPES.items()})
    add("motion", {name: (*words, *map(plural_phrase, words)) for name, words in MOTIONS.items()})
    add("background", BACKGROUNDS)
    add("relation", RELATIONS)
    add("camera", CAMERAS)
    add("style", STYLES)
    return table


PHRASES = _phrases()
LONGEST = max(map(len, PHRASES))


def read(prompt: str) -> list[tuple[str, object]]:
    """The stated (kind, value) pairs in order.

    Raises:
        OutsideWorldError: a word is not the world's.
    """
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    facts: list[tuple[str, object]] = []
    place = 0
    while place < len(words):
        for length in range(min(LONGEST, len(words) - place), 0, -1):
            found = PHRASES.get(tuple(words[place : place + length]))
            if found is not None:
                facts.append(found)
                place += length
                break
        else:
            if words[place] not in FILLERS:
                raise OutsideWorldError(
                    f"the world has no word {words[place]!r}; its words are in reference_model/world/attributes.py"
                )
            place += 1
    return facts


def expectations(prompt: str) -> dict[str, object]:
    """What a prompt states, under the keys of `expect`.

    Raises:
        OutsideWorldError: a word is not the world's, no object is named, or two values contradict each other.
    """
    expect: dict[str, object] = {}
    pending: dict[str, object] = {}
    motions: list[str] = []
    for kind, value in read(prompt):
        if kind in ("colour", "size", "count"):
            _state(pending, kind, value)
        elif kind == "object":
            if "object" not in expect:
                expect |= {"object": value, **pending}
            elif "second_object" not in expect and "relation" in expect:
                expect["second_object"] = value
                if "colour" in pending:
                    expect["second_colour"] = pending["colour"]
            else:
                raise OutsideWorldError(
                    f"the prompt names more objects than the world can relate: {prompt!r}"
                )
            pending = {}
        elif kind == "motion":
            motions.append(str(value))
        else:
            _state(expect, kind, value)
    if "object" not in expect:
        raise OutsideWorldError(f"the prompt names no object ({', '.join(SHAPES)}): {prompt!r}")
    if "relation" in expect:
        if "second_object" not in expect:
            raise OutsideWorldError(f"the relation {expect['relation']!r} has no second object: {prompt!r}")
        if motions:
            raise OutsideWorldError(
                f"objects of a relation have no motion of their own, but the prompt says {motions[0]!r}"
            )
        expect.pop("count", None)
        return expect
    expect.setdefault("count", 1)
    if len(motions) > 2:
        raise OutsideWorldError(
            f"the prompt has {len(motions)} motions; the world shows at most two, one after the other"
        )
    if len(motions) == 1:
        expect["motion"] = motions[0]
    elif motions:
        expect["events"] = tuple(motions)
    return expect


def _state(facts: dict[str, object], kind: str, value: object) -> None:
    if facts.get(kind, value) != value:
        raise OutsideWorldError(f"the prompt says {kind} {facts[kind]!r} and {value!r}; the world shows one")
    facts[kind] = value


def scene_of(expect: Mapping[str, object], rng: random.Random, aspect: float = 1.0) -> Scene:
    """A scene with the stated attributes; what is left open is drawn from `rng`.

    Raises:
        OutsideWorldError: the world cannot show this combination.
    """
    shape = str(expect["object"])
    colour = str(expect.get("colour") or rng.choice(list(COLOURS)))
    camera = str(expect.get("camera", "static"))
    background = str(
        expect.get("background") or rng.choice(TEXTURED if camera != "static" else list(BACKGROUNDS))
    )
    if camera != "static" and background not in TEXTURED:
        raise OutsideWorldError(
            f"a camera move cannot be seen on a {background} background; use {', '.join(TEXTURED)}"
        )
    look = {
        "background": background,
        "style": str(expect.get("style", "flat")),
        "camera": camera,
        "aspect": aspect,
    }
    relation = expect.get("relation")
    if relation is not None:
        if expect.get("size") == "large":
            raise OutsideWorldError("objects of a relation are small or medium; two large ones do not fit")
        others = [name for name in COLOURS if name != colour]
        second = SceneObject(
            str(expect["second_object"]),
            str(expect.get("second_colour") or rng.choice(others)),
            rng.choice(("small", "medium")),
        )
        if second.colour == colour and second.shape == shape:
            raise OutsideWorldError("the two objects of a relation must differ in shape or colour")
        first = SceneObject(shape, colour, str(expect.get("size") or rng.choice(("small", "medium"))))
        return compose(rng, (first, second), relation=str(relation), **look)  # type: ignore[arg-type]
    motions = tuple(expect.get("events") or (expect.get("motion", "still"),))  # type: ignore[arg-type]
    if shape == "circle" and "rotate" in motions:
        raise OutsideWorldError("nobody can see a circle rotate; use another shape")
    if len(motions) == 2 and not set(motions) <= set(EVENTS):
        raise OutsideWorldError(f"events {motions} are not both among {', '.join(EVENTS)}")
    count = int(expect.get("count", 1))  # type: ignore[call-overload]
    sizes = (
        list(RADIUS)
        if count == 1
        else ["small"]
        if count == 3 and motions[0] in UNIT
        else ["small", "medium"]
    )
    size = str(expect.get("size") or rng.choice(sizes))
    if size not in sizes:
        raise OutsideWorldError(
            f"{count} objects with motion {motions[0]!r} must be {' or '.join(sizes)}, not {size}"
        )
    if count > 1 and (len(motions) > 1 or motions[0] not in GROUP_MOTIONS):
        raise OutsideWorldError(
            f"several objects can do one of {', '.join(GROUP_MOTIONS)}, not {' then '.join(motions)}"
        )
    return compose(rng, (SceneObject(shape, colour, size, motions),) * count, **look)  # type: ignore[arg-type]
