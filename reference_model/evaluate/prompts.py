"""Balanced prompts with what they state, drawn from a seed that training never uses."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import NamedTuple

from reference_model.world import Scene, SceneOptions, describe, sample_scene

KINDS = ("single", "single", "single", "camera", "group", "relation", "events")


class Asked(NamedTuple):
    """A prompt, what it states, and a scene that shows it (for truth)."""

    prompt: str
    expect: dict[str, object]
    scene: Scene
    kind: str


def balanced(count: int, seed: int, held_out: str = "exclude", kinds: tuple[str, ...] = KINDS) -> list[Asked]:
    """`count` prompts, the kinds in turn, every attribute stated."""
    rng = random.Random(f"evaluate/{seed}/{held_out}")
    asked = []
    for place in range(count):
        kind = kinds[place % len(kinds)]
        scene = sample_scene(rng, SceneOptions(held_out=held_out, kinds=(kind,)))
        caption = describe(scene, random.Random(rng.getrandbits(32)), full=True)
        # A long sentence that states everything, static cameras included, is rarer in use than one that does not.
        if scene.camera == "static" and rng.random() < 0.8:
            caption = describe(replace(scene, camera="static"), random.Random(rng.getrandbits(32)))
        asked.append(Asked(caption.text, caption.expect, scene, kind))
    return asked
