"""What the stages share: scenes with captions, frozen text features, and captions with one attribute swapped."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from reference_model.text import TextEncoder, Tokenizer
from reference_model.train.text import TextWithHeads
from reference_model.world import Caption, Scene, SceneOptions, describe, describe_fragment, sample_scene
from reference_model.world.attributes import BACKGROUNDS, CAMERAS, COLOURS, RELATIONS, SHAPES, STYLES

SWAPS: tuple[str, ...] = (
    "object", "colour", "size", "count", "motion", "events", "relation", "camera", "background", "style",
)  # fmt: skip


def load_text_encoder(path: Path, tokenizer: Tokenizer) -> TextEncoder:
    """The frozen encoder from the `text` stage's weights."""
    module = TextWithHeads(len(tokenizer.words))
    module.load_state_dict(load_file(path))
    return module.encoder.eval().requires_grad_(requires_grad=False)


@torch.no_grad()
def encode_texts(
    encoder: TextEncoder, tokenizer: Tokenizer, texts: Sequence[str], device: torch.device
) -> Tensor:
    """Summaries (B, SLOTS + 1, width) of plain texts, in batches of similar length."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index].split()))
    result = torch.empty(len(texts), encoder.query.shape[0], encoder.query.shape[1], device=device)
    for start in range(0, len(order), 256):
        rows = order[start : start + 256]
        result[rows] = encoder(tokenizer([texts[row] for row in rows]).to(device))
    return result


def training_pair(
    rng: random.Random,
    empty: float = 0.1,
    fragment: float = 0.06,
    aspect: float = 1.0,
    kinds: Sequence[str] = SceneOptions.kinds,
) -> tuple[Scene, Caption]:
    """A scene and what its caption says: usually a sentence, sometimes a fragment, sometimes nothing (for guidance)."""
    scene = sample_scene(rng, SceneOptions(aspect=aspect, kinds=tuple(kinds)))
    draw = rng.random()
    if draw < empty:
        return scene, Caption("")
    if draw < empty + fragment:
        return scene, describe_fragment(scene, rng)
    return scene, describe(scene, rng)


def swapped(scene: Scene, attribute: str, rng: random.Random) -> tuple[str, str] | None:
    """Full captions of the scene and of the scene with one attribute changed; None where it has no such attribute.

    Both captions use the same paraphrases as far as they can, so the swapped attribute is what differs.
    """
    other = _change(scene, attribute, rng)
    if other is None:
        return None
    key = rng.getrandbits(32)
    return tuple(describe(one, random.Random(key), full=True).text for one in (scene, other))  # type: ignore[return-value]


def _change(scene: Scene, attribute: str, rng: random.Random) -> Scene | None:
    first = scene.objects[0]
    single = len(scene.objects) == 1

    def alike(**changes: object) -> Scene:
        rest = scene.objects[1:]
        if scene.is_group:
            rest = tuple(replace(item, **changes) for item in rest)  # type: ignore[arg-type]
        return replace(scene, objects=(replace(first, **changes), *rest))  # type: ignore[arg-type]

    if attribute == "object":
        return alike(shape=_other(rng, SHAPES, first.shape))
    if attribute == "colour":
        return alike(colour=_other(rng, COLOURS, first.colour))
    if attribute == "size" and scene.relation is None:
        return alike(
            size={"small": "large", "large": "small", "medium": "large" if single else "small"}[first.size]
        )
    if (
        attribute == "count"
        and scene.relation is None
        and scene.camera == "static"
        and len(first.motions) == 1
    ):
        count = rng.choice([n for n in (1, 2, 3) if n != len(scene.objects)])
        return replace(scene, objects=(first,) * count)
    if (
        attribute == "motion"
        and scene.relation is None
        and len(first.motions) == 1
        and scene.camera == "static"
    ):
        opposite = {
            "left": "right",
            "right": "left",
            "up": "down",
            "down": "up",
            "grow": "shrink",
            "shrink": "grow",
        }
        motion = first.motions[0]
        return alike(motions=(opposite.get(motion) or _other(rng, ("left", "right", "up", "down"), motion),))
    if attribute == "events" and len(first.motions) == 2:
        return alike(motions=first.motions[::-1])
    if attribute == "relation" and scene.relation is not None:
        return replace(scene, relation=_other(rng, RELATIONS, scene.relation))
    if attribute == "camera" and scene.camera != "static":
        return replace(
            scene, camera=_other(rng, [name for name in CAMERAS if name != "static"], scene.camera)
        )
    if attribute == "background":
        return replace(scene, background=_other(rng, BACKGROUNDS, scene.background))
    if attribute == "style":
        return replace(scene, style=_other(rng, STYLES, scene.style))
    return None


def _other(rng: random.Random, values: Sequence[str] | dict[str, tuple[str, ...]], value: str) -> str:
    return rng.choice([name for name in values if name != value])
