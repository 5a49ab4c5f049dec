"""Stage `text`: the encoder learns from captions alone what they state (no pixels)."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_model.text import Grounding, TextEncoder, Tokenizer, grounding_targets
from reference_model.train.loop import Config, Draw
from reference_model.world import Caption, Scene, SceneOptions, describe, describe_fragment, sample_scene
from reference_model.world.attributes import BACKGROUNDS, CAMERAS, MOTIONS


class TextWithHeads(nn.Module):
    """The encoder and its training heads."""

    def __init__(self, vocabulary: int, **settings: int) -> None:
        super().__init__()
        self.encoder = TextEncoder(vocabulary, **settings)
        self.grounding = Grounding(self.encoder.settings["width"])

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """Logits of every factor."""
        return self.grounding(self.encoder(tokens))  # type: ignore[no-any-return]


def any_caption(rng: random.Random, held_out: str = "exclude") -> Caption:
    """A caption, a fragment or nothing; some describe combinations that the renderer would not draw."""
    scene = sample_scene(rng, SceneOptions(held_out=held_out))
    draw = rng.random()
    if draw < 0.04:
        return Caption("")
    if draw < 0.16:
        return describe_fragment(scene, rng)
    if draw < 0.45:
        scene = _freely(scene, rng)
    return describe(scene, rng)


def _freely(scene: Scene, rng: random.Random) -> Scene:
    scene = replace(scene, camera=rng.choice(list(CAMERAS)), background=rng.choice(list(BACKGROUNDS)))
    if len(scene.objects) == 1 and len(scene.objects[0].motions) == 1:
        moved = replace(scene.objects[0], motions=(rng.choice(list(MOTIONS)),))
        scene = replace(scene, objects=(moved,))
    return scene


class TextStage:
    """Cross-entropy on what captions state; single words are sometimes unknown."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.tokenizer = Tokenizer.of_world()

    def build(self) -> nn.Module:
        """Encoder and heads."""
        return TextWithHeads(len(self.tokenizer.words), **self.config.settings).to(self.device)

    def loss(self, module: nn.Module, draw: Draw) -> Tensor:
        """Mean cross-entropy over factors."""
        captions = [any_caption(draw.scenes) for _ in range(self.config.batch)]
        tokens = self.tokenizer([caption.text for caption in captions])
        unknown = torch.rand(tokens.shape, generator=draw.noise) < 0.01
        unknown &= tokens > 1
        logits = module(torch.where(unknown, 1, tokens).to(self.device))
        targets = grounding_targets(captions)
        losses = [
            F.cross_entropy(logits[n].flatten(0, -2), t.flatten().to(self.device)) for n, t in targets.items()
        ]
        return torch.stack(losses).mean()

    def probe(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """Accuracy of every factor on new captions, and on held-out colour and shape pairs."""
        figures = {}
        for held_out in ("exclude", "only"):
            rng = Draw.of(self.config.seed, 0, f"probe-{held_out}").scenes
            captions = [any_caption(rng, held_out) for _ in range(500)]
            logits = module(self.tokenizer([caption.text for caption in captions]).to(self.device))
            for name, target in grounding_targets(captions).items():
                hits = (logits[name].argmax(-1).cpu() == target).float()
                figures[f"{name}{'' if held_out == 'exclude' else '_held_out'}"] = float(hits.mean())
        return figures
