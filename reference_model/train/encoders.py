"""Stage `encoders`: classifier and dual encoder on rendered clips, with swapped captions as hard negatives."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from reference_model.encoders import FACTORS, FAULTS, FRAMES, MIRRORED, WorldEncoder
from reference_model.text import Tokenizer
from reference_model.train.data import SWAPS, swapped
from reference_model.train.frames import ASPECTS, pixels_of, worsen
from reference_model.train.loop import Config, Draw
from reference_model.train.text import BY_ORDER, any_caption, grounding_losses
from reference_model.world import (
    Caption,
    Scene,
    SceneOptions,
    describe,
    frame_times,
    sample_scene,
    scene_appearance,
    scene_tracks,
)

LOUD = 16
"""Features that each tell the amount of one fault. A Frechet distance weighs what moves many features far; what is shown
moves most of them, so a fault that moved a single direction would be lost in the noise of a small set of clips."""
ORDERED = SceneOptions(held_out="include", kinds=("events", "relation"))
JITTER = 0.06
"""Standard deviation of an object's place (and log radius) at full jitter, in world units: 2 of 64 pixels."""


class EncodersStage:
    """Sum of: cross-entropy of every factor and role, amounts of faults, contrast between clips and captions, grounding.

    `settings.frames` names the weights of the `frames` stage, which stay as they are; `settings.start` those of an
    earlier run of this stage, reader included. `settings.ordered` adds captions in which the order of words decides,
    `settings.order` as many again whose order alone is asked for; `settings.loud` weighs how directly features tell faults.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.tokenizer = Tokenizer.of_world()

    def build(self) -> nn.Module:
        """Reader, trunk, heads and text tower."""
        module = WorldEncoder(len(self.tokenizer.words))
        if "frames" in self.config.settings:
            module.reader.load_state_dict(load_file(self.config.settings["frames"]))
        if "start" in self.config.settings:
            module.load_state_dict(load_file(self.config.settings["start"]))
        module.reader.requires_grad_(requires_grad=False)
        return module.to(self.device)

    def loss(self, module: nn.Module, draw: Draw) -> Tensor:
        """One batch."""
        aspect = draw.scenes.choice(ASPECTS)
        options = SceneOptions(held_out="include", aspect=aspect)
        scenes = [sample_scene(draw.scenes, options) for _ in range(self.config.batch)]
        clips, faults = worse_clips(scenes, self.device, draw, aspect)
        seen = module.see(clips)
        targets = factor_targets(scenes).to(self.device)
        loss = _factor_loss(module, seen.features, targets)
        for role, name in enumerate(("colour", "second_colour")):
            target = targets[:, list(FACTORS).index(name)]
            if bool((target >= 0).any()):
                loss = loss + 0.5 * F.cross_entropy(seen.roles[:, role], target, ignore_index=-1)
        loss = loss + 2 * F.smooth_l1_loss(module.faults(seen.features), faults, beta=0.1)
        if loud := self.config.settings.get("loud", 0):
            told = seen.features[:, : len(FAULTS) * LOUD].unflatten(1, (len(FAULTS), LOUD))
            loss = loss + loud * F.smooth_l1_loss(told, 2 * faults[..., None].expand_as(told), beta=0.1)
        right, wrong = [], []
        for scene in scenes:
            right.append(describe(scene, draw.scenes).text)
            pairs = [swapped(scene, name, draw.scenes) for name in draw.scenes.sample(SWAPS, 4)]
            wrong += [pair[1] for pair in pairs if pair is not None][:1]
        texts = module.contrast_texts(module.text(self.tokenizer(right + wrong).to(self.device)))
        scores = module.contrast_clips(seen.features) @ texts.T * module.temperature.exp()
        rows = torch.arange(len(scenes), device=self.device)
        loss = loss + F.cross_entropy(scores, rows) + 0.5 * F.cross_entropy(scores[:, : len(scenes)].T, rows)
        settings = self.config.settings
        captions = [any_caption(draw.scenes, "include") for _ in range(64)]
        captions += self._ordered(draw, settings.get("ordered", 0))
        loss = loss + 2 * torch.stack(list(self._grounded(module, captions).values())).mean()
        if settings.get("order", 0):
            grounded = self._grounded(module, self._ordered(draw, settings["order"]), slots=2)
            loss = loss + 2 * torch.stack([grounded[name] for name in BY_ORDER]).mean()
        return loss

    def _ordered(self, draw: Draw, count: int) -> list[Caption]:
        return [describe(sample_scene(draw.scenes, ORDERED), draw.scenes) for _ in range(count)]

    def _grounded(
        self, module: nn.Module, captions: list[Caption], slots: int | None = None
    ) -> dict[str, Tensor]:
        """Cross-entropy of every factor that captions state (of the first `slots` objects, where it is one of objects)."""
        tokens = self.tokenizer([caption.text for caption in captions]).to(self.device)
        return grounding_losses(module.grounding(module.text(tokens)), captions, slots)

    def probe(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """Accuracy of every factor, retrieval among 64, and how often the right caption beats a swapped one."""
        draw = Draw.of(self.config.seed, 0, "probe")
        scenes = [sample_scene(draw.scenes, SceneOptions(held_out="include")) for _ in range(256)]
        features = torch.cat(
            [
                module.features(clips_of(scenes[start : start + 64], self.device))
                for start in range(0, len(scenes), 64)
            ]
        )
        targets = factor_targets(scenes).to(self.device)
        figures = {}
        for column, name in enumerate(FACTORS):
            known = targets[:, column] >= 0
            hits = module.heads[name](features).argmax(-1) == targets[:, column]
            figures[name] = float(hits[known].float().mean())
        embedded = module.embed_features(features)
        texts = self.tokenizer([describe(scene, draw.scenes, full=True).text for scene in scenes]).to(
            self.device
        )
        scores = embedded @ module.embed_tokens(texts).T
        blocks = [scores[at : at + 64, at : at + 64] for at in range(0, 256, 64)]
        figures["retrieval_64"] = (
            sum(float((b.argmax(1) == torch.arange(64, device=b.device)).float().mean()) for b in blocks) / 4
        )
        for name in SWAPS:
            wins = []
            for row, scene in enumerate(scenes):
                pair = swapped(scene, name, draw.scenes)
                if pair is not None:
                    both = module.embed_tokens(self.tokenizer(list(pair)).to(self.device)) @ embedded[row]
                    wins.append(float(both[0] > both[1]))
            figures[f"swap_{name}"] = sum(wins) / max(len(wins), 1)
        return figures


def clips_of(scenes: list[Scene], device: torch.device) -> Tensor:
    """Rendered square clips (B, FRAMES, 3, SIZE, SIZE) in [-1, 1], as good as they get."""
    objects, camera = (part.to(device) for part in scene_tracks(scenes, [frame_times(FRAMES)] * len(scenes)))
    return pixels_of(objects, camera, scene_appearance(scenes).to(device), 1.0)


def worse_clips(
    scenes: list[Scene], device: torch.device, draw: Draw, aspect: float
) -> tuple[Tensor, Tensor]:
    """Clips (B, FRAMES, 3, SIZE, SIZE) with faults on some of them, and how much of each (B, len(FAULTS)).

    Softness and grain as in `worsen`; jitter moves objects on their own in every frame. One batch in five was made of
    clips with more or fewer frames than FRAMES.
    """
    length = draw.scenes.randrange(8, 40) if draw.scenes.random() < 0.2 else FRAMES
    picked = torch.linspace(0, length - 1, FRAMES).round().long().tolist()
    times = frame_times(length)
    objects, camera = scene_tracks(scenes, [[times[index] for index in picked]] * len(scenes))
    jitter = torch.rand(len(scenes), generator=draw.noise)
    jitter = jitter * (torch.rand(len(scenes), generator=draw.noise) < 0.4)
    moved = torch.randn((*objects.shape[:3], 3), generator=draw.noise)
    objects[..., 1:4] += JITTER * jitter.view(-1, 1, 1, 1) * moved
    clips = pixels_of(objects.to(device), camera.to(device), scene_appearance(scenes).to(device), aspect)
    clips, blemishes = worsen(clips, draw.noise)
    return clips, torch.cat([blemishes, jitter[:, None].to(device)], 1)


def factor_targets(scenes: list[Scene]) -> Tensor:
    """Class of every factor (B, factors), -1 where the scene has none (a relation's count, a single object's second)."""
    rows = []
    for scene in scenes:
        first, second = scene.objects[0], scene.objects[-1]
        if scene.relation in MIRRORED:
            first, second = second, first
        facts: dict[str, object] = {
            "object": first.shape, "colour": first.colour, "background": scene.background,
            "camera": scene.camera, "style": scene.style, "related": scene.relation is not None,
        }  # fmt: skip
        if scene.relation is None:
            facts |= {"count": len(scene.objects), "size": first.size, "motion": first.motions[0]}
            facts["then"] = first.motions[-1]
        else:
            facts |= {
                "relation": MIRRORED.get(scene.relation, scene.relation),
                "second_object": second.shape,
                "second_colour": second.colour,
            }
        rows.append([values.index(facts[name]) if name in facts else -1 for name, values in FACTORS.items()])
    return torch.tensor(rows)


def _factor_loss(module: nn.Module, features: Tensor, targets: Tensor) -> Tensor:
    losses = []
    for column, name in enumerate(FACTORS):
        if bool((targets[:, column] >= 0).any()):
            losses.append(F.cross_entropy(module.heads[name](features), targets[:, column], ignore_index=-1))
    return torch.stack(losses).mean() * 3
