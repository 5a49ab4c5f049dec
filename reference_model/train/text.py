"""Stage `text`: the encoder learns from captions alone what they state (no pixels).

Two cross-entropies: of everything that captions state and, with `order`, of what the order of their words decides, which
few captions have and the first would hardly hear.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from reference_model.text import Grounding, TextEncoder, Tokenizer, grounding_targets
from reference_model.train.loop import Config, Draw
from reference_model.world import Caption, Scene, SceneOptions, describe, describe_fragment, sample_scene
from reference_model.world.attributes import BACKGROUNDS, CAMERAS, MOTIONS

BY_ORDER = ("object", "colour", "first", "then", "relation")
"""What the order of words decides in captions of events and relations."""
ORDERED = SceneOptions(kinds=("events", "relation"))
DIRECTED = SceneOptions(kinds=("single", "group", "events"))


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


def caption_from(rng: random.Random) -> Caption:
    """A caption in which something moves from one side to the other, in these words: their order is all that says which."""
    while True:
        scene = sample_scene(rng, DIRECTED)
        if {"left", "right"} & set(scene.objects[0].motions):
            caption = describe(scene, rng)
            if " from " in caption.text:
                return caption


def grounding_losses(
    logits: dict[str, Tensor], captions: list[Caption], slots: int | None = None
) -> dict[str, Tensor]:
    """Cross-entropy of every factor that captions state (of the first `slots` objects, where it is one of objects)."""
    losses = {}
    for name, target in grounding_targets(captions).items():
        said = logits[name] if target.ndim == 1 else logits[name][:, :slots]
        kept = target if target.ndim == 1 else target[:, :slots]
        losses[name] = F.cross_entropy(said.flatten(0, -2), kept.flatten().to(said.device))
    return losses


class TextStage:
    """Cross-entropy on what captions state; single words are sometimes unknown.

    `settings`: width, depth and heads of the encoder; start (weights file to go on from, instead of drawn weights); order
    (captions of events and relations in a batch whose order alone is asked for); directed (captions in a batch that say
    "from left to right" or "from right to left", whose motions alone are asked for); keep (weight of the squared distance to
    the summaries that `start` gives, so that stages trained on those still understand).
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.tokenizer = Tokenizer.of_world()

    def build(self) -> nn.Module:
        """Encoder and heads."""
        module = self._module()
        if "start" in self.config.settings:
            module.load_state_dict(load_file(self.config.settings["start"]))
            self.start = self._module()
            self.start.load_state_dict(module.state_dict())
            self.start.requires_grad_(requires_grad=False)
        return module.to(self.device)

    def _module(self) -> TextWithHeads:
        settings = {
            name: self.config.settings[name]
            for name in ("width", "depth", "heads")
            if name in self.config.settings
        }
        return TextWithHeads(len(self.tokenizer.words), **settings).to(self.device)

    def loss(self, module: nn.Module, draw: Draw) -> Tensor:
        """Mean cross-entropy over factors."""
        captions = [any_caption(draw.scenes) for _ in range(self.config.batch)]
        tokens = self.tokenizer([caption.text for caption in captions])
        unknown = torch.rand(tokens.shape, generator=draw.noise) < 0.01
        unknown &= tokens > 1
        tokens = torch.where(unknown, 1, tokens).to(self.device)
        summaries = module.encoder(tokens)
        loss = torch.stack(list(grounding_losses(module.grounding(summaries), captions).values())).mean()
        if keep := self.config.settings.get("keep", 0):
            loss = loss + keep * F.mse_loss(summaries, self.start.encoder(tokens))
        if order := self.config.settings.get("order", 0):
            ordered = [describe(sample_scene(draw.scenes, ORDERED), draw.scenes) for _ in range(order)]
            logits = module(self.tokenizer([one.text for one in ordered]).to(self.device))
            losses = grounding_losses(logits, ordered, slots=2)
            loss = loss + torch.stack([losses[name] for name in BY_ORDER]).mean()
        if directed := self.config.settings.get("directed", 0):
            captions = [caption_from(draw.scenes) for _ in range(directed)]
            losses = grounding_losses(
                module(self.tokenizer([one.text for one in captions]).to(self.device)), captions
            )
            loss = loss + losses["first"] + losses["then"]
        return loss

    def probe(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """Accuracy of every factor on new captions, on held-out colour and shape pairs, and of events where stated."""
        figures = {}
        for held_out in ("exclude", "only"):
            rng = Draw.of(self.config.seed, 0, f"probe-{held_out}").scenes
            captions = [any_caption(rng, held_out) for _ in range(500)]
            logits = module(self.tokenizer([caption.text for caption in captions]).to(self.device))
            for name, target in grounding_targets(captions).items():
                hits = (logits[name].argmax(-1).cpu() == target).float()
                figures[f"{name}{'' if held_out == 'exclude' else '_held_out'}"] = float(hits.mean())
        rng = Draw.of(self.config.seed, 0, "probe-events").scenes
        events = SceneOptions(kinds=("events",))
        captions = [describe(sample_scene(rng, events), rng) for _ in range(300)]
        logits = module(self.tokenizer([caption.text for caption in captions]).to(self.device))
        targets = grounding_targets(captions)
        for name in ("first", "then"):
            hits = (logits[name][:, 0].argmax(-1).cpu() == targets[name][:, 0]).float()
            figures[f"{name}_of_events"] = float(hits.mean())
        captions = [caption_from(rng) for _ in range(300)]
        logits = module(self.tokenizer([caption.text for caption in captions]).to(self.device))
        targets = grounding_targets(captions)
        right = [(logits[name].argmax(-1).cpu() == targets[name]).all(1) for name in ("first", "then")]
        figures["from_side_to_side"] = float((right[0] & right[1]).float().mean())
        return figures
