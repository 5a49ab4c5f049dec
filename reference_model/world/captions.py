"""Captions of scenes, in several paraphrases, and what each caption says (and leaves open).

A caption mentions some attributes of its scene and omits others; `expect` holds the mentioned ones only, under the
keys that `attributes` documents, so a judge never asks for what the text did not say.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from reference_model.world.attributes import (
    BACKGROUND_PATTERNS,
    BACKGROUNDS,
    CAMERAS,
    COLOURS,
    COUNTS,
    EVENT_PATTERNS,
    MOTIONS,
    PLURALS,
    RELATIONS,
    SHAPES,
    SIZES,
    STYLES,
    plural_phrase,
)
from reference_model.world.scenes import Scene, SceneObject


@dataclass(frozen=True)
class Caption:
    """A caption and the attributes that it states. `fragment` marks a few words without a subject ("at night")."""

    text: str
    expect: dict[str, object] = field(default_factory=dict)
    fragment: bool = False


def describe(scene: Scene, rng: random.Random | None = None, *, full: bool = False) -> Caption:
    """One caption of the scene. With `full` every attribute is stated; without `rng` the first phrases are used."""
    writer = _Writer(rng, full)
    expect: dict[str, object] = {}
    first = scene.objects[0]
    expect["object"], expect["colour"] = first.shape, first.colour
    if scene.relation is not None:
        second = scene.objects[1]
        subject = writer.noun(first, expect, mention_size=0.2)
        other = writer.noun(second, None, mention_size=0.2)
        body = f"{subject} {writer.pick(RELATIONS[scene.relation])} {other}"
        expect |= {"relation": scene.relation, "second_object": second.shape, "second_colour": second.colour}
    elif scene.is_group:
        body = writer.group(scene, expect)
    else:
        body = f"{writer.noun(first, expect, mention_size=0.5)}{writer.motion(scene, expect)}"
        expect["count"] = 1
    return Caption(writer.join(body, writer.details(scene, expect)), expect)


def describe_fragment(scene: Scene, rng: random.Random) -> Caption:
    """A few words that hold for the scene, as negative prompts have them ("red", "at night", "a star")."""
    first = scene.objects[0]
    choices: list[tuple[str, dict[str, object]]] = [
        (rng.choice(COLOURS[first.colour]), {"colour": first.colour}),
        (rng.choice(SHAPES[first.shape]), {"object": first.shape}),
        (rng.choice(STYLES[scene.style]), {"style": scene.style}),
        (f"{rng.choice(BACKGROUNDS[scene.background])} background", {"background": scene.background}),
        (rng.choice(CAMERAS[scene.camera]), {"camera": scene.camera}),
        (rng.choice(SIZES[first.size]), {"size": first.size}),
    ]
    if len(scene.objects) == 1 and len(first.motions) == 1:
        choices.append((rng.choice(MOTIONS[first.motions[0]]), {"motion": first.motions[0]}))
    text, expect = rng.choice(choices)
    return Caption(text, expect, fragment=True)


def article(words: str) -> str:
    """Puts "a" or "an" in front of `words`."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


class _Writer:
    def __init__(self, rng: random.Random | None, full: bool) -> None:
        self.rng, self.full = rng, full

    def pick(self, phrases: tuple[str, ...]) -> str:
        return phrases[0] if self.rng is None else self.rng.choice(phrases)

    def chance(self, probability: float) -> bool:
        return self.full or (self.rng is not None and self.rng.random() < probability)

    def noun(self, item: SceneObject, expect: dict[str, object] | None, mention_size: float) -> str:
        words = f"{self.pick(COLOURS[item.colour])} {self.pick(SHAPES[item.shape])}"
        if self.chance(mention_size):
            words = f"{self.pick(SIZES[item.size])} {words}"
            if expect is not None:
                expect["size"] = item.size
        return f"one {words}" if self.rng is not None and self.rng.random() < 0.05 else article(words)

    def group(self, scene: Scene, expect: dict[str, object]) -> str:
        item, count = scene.objects[0], len(scene.objects)
        words = f"{self.pick(COLOURS[item.colour])} {PLURALS[self.pick(SHAPES[item.shape])]}"
        if self.chance(0.4):
            words = f"{self.pick(SIZES[item.size])} {words}"
            expect["size"] = item.size
        expect["count"] = count
        words = f"{COUNTS[count][0]} {words}"
        if self.chance(0.8):
            expect["motion"] = item.motions[0]
            words = f"{words} {plural_phrase(self.pick(MOTIONS[item.motions[0]]))}"
        return words

    def motion(self, scene: Scene, expect: dict[str, object]) -> str:
        motions = scene.objects[0].motions
        if len(motions) == 2:
            expect["events"] = motions
            return " " + self.pick(EVENT_PATTERNS).format(*(self.pick(MOTIONS[motion]) for motion in motions))
        if scene.camera != "static" and not self.chance(0.2):
            return ""
        if self.chance(0.88):
            expect["motion"] = motions[0]
            return " " + self.pick(MOTIONS[motions[0]])
        return ""

    def details(self, scene: Scene, expect: dict[str, object]) -> list[str]:
        parts = []
        if self.chance(0.75):
            expect["background"] = scene.background
            parts.append(self.pick(BACKGROUND_PATTERNS).format(self.pick(BACKGROUNDS[scene.background])))
        if self.chance(0.95 if scene.camera != "static" else 0.08):
            expect["camera"] = scene.camera
            parts.append(", " + self.pick(CAMERAS[scene.camera]))
        if self.chance(0.9 if scene.style != "flat" else 0.1):
            expect["style"] = scene.style
            parts.append(", " + self.pick(STYLES[scene.style]))
        if self.rng is not None:
            self.rng.shuffle(parts)
        return parts

    def join(self, body: str, parts: list[str]) -> str:
        if self.rng is not None and parts and parts[0].startswith(", ") and self.rng.random() < 0.15:
            body, parts = f"{parts[0][2:]}, {body}", parts[1:]
        prefix = (
            ""
            if self.rng is None or self.rng.random() > 0.08
            else self.rng.choice(("a video of ", "a clip of "))
        )
        return prefix + body + "".join(part if part.startswith(",") else f" {part}" for part in parts)
