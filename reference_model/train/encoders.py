"""Stage `encoders`: classifier and dual encoder on rendered clips, with swapped captions as hard negatives."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_model.encoders import FACTORS, FRAMES, SIZE, WorldEncoder
from reference_model.text import Tokenizer, grounding_targets
from reference_model.train.data import SWAPS, swapped
from reference_model.train.loop import Config, Draw
from reference_model.train.text import any_caption
from reference_model.world import (
    Scene,
    SceneOptions,
    describe,
    frame_times,
    render,
    sample_scene,
    scene_appearance,
    scene_tracks,
)


class EncodersStage:
    """Sum of: cross-entropy of every factor, contrast between clips and captions, grounding of the text tower."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.tokenizer = Tokenizer.of_world()

    def build(self) -> nn.Module:
        """Trunk, heads and text tower."""
        return WorldEncoder(len(self.tokenizer.words)).to(self.device)

    def loss(self, module: nn.Module, draw: Draw) -> Tensor:
        """One batch."""
        scenes = [
            sample_scene(draw.scenes, SceneOptions(held_out="include")) for _ in range(self.config.batch)
        ]
        features = module.features(clips_of(scenes, self.device, draw))
        loss = _factor_loss(module, features, factor_targets(scenes).to(self.device))
        right, wrong = [], []
        for scene in scenes:
            right.append(describe(scene, draw.scenes).text)
            pairs = [swapped(scene, name, draw.scenes) for name in draw.scenes.sample(SWAPS, 4)]
            wrong += [pair[1] for pair in pairs if pair is not None][:1]
        texts = module.contrast_texts(module.text(self.tokenizer(right + wrong).to(self.device)))
        scores = module.contrast_clips(features) @ texts.T * module.temperature.exp()
        rows = torch.arange(len(scenes), device=self.device)
        loss = loss + F.cross_entropy(scores, rows) + 0.5 * F.cross_entropy(scores[:, : len(scenes)].T, rows)
        captions = [any_caption(draw.scenes, "include") for _ in range(32)]
        logits = module.grounding(
            module.text(self.tokenizer([caption.text for caption in captions]).to(self.device))
        )
        grounded = [
            F.cross_entropy(logits[n].flatten(0, -2), t.flatten().to(self.device))
            for n, t in grounding_targets(captions).items()
        ]
        return loss + torch.stack(grounded).mean()

    def probe(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """Accuracy of every factor, retrieval among 64, and how often the right caption beats a swapped one."""
        draw = Draw.of(self.config.seed, 0, "probe")
        scenes = [sample_scene(draw.scenes, SceneOptions(held_out="include")) for _ in range(256)]
        features = torch.cat(
            [
                module.features(clips_of(scenes[start : start + 64], self.device, None))
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


def clips_of(scenes: list[Scene], device: torch.device, draw: Draw | None) -> Tensor:
    """Rendered clips (B, FRAMES, 3, SIZE, SIZE) in [-1, 1]; with `draw`, some grain, softness and tint."""
    objects, camera = (part.to(device) for part in scene_tracks(scenes, [frame_times(FRAMES)] * len(scenes)))
    clips = render(objects, camera, scene_appearance(scenes).to(device), SIZE, SIZE) * 2 - 1
    if draw is None:
        return clips
    count = len(scenes)
    soft = F.avg_pool2d(clips.flatten(0, 1), 3, 1, 1, count_include_pad=False).view_as(clips)
    blur = torch.rand(count, 1, 1, 1, 1, generator=draw.noise).to(device) * 0.7
    grain = torch.rand(count, 1, 1, 1, 1, generator=draw.noise).to(device) ** 2 * 0.2
    tint = torch.randn(count, 1, 3, 1, 1, generator=draw.noise).to(device) * 0.03
    return (
        clips
        + (soft - clips) * blur
        + grain * torch.randn(clips.shape, generator=draw.noise).to(device)
        + tint
    )


def factor_targets(scenes: list[Scene]) -> Tensor:
    """Class of every factor (B, factors), -1 where the scene has none (a relation's count, a single object's second)."""
    rows = []
    for scene in scenes:
        first = scene.objects[0]
        facts: dict[str, object] = {
            "object": first.shape, "colour": first.colour, "background": scene.background,
            "camera": scene.camera, "style": scene.style,
        }  # fmt: skip
        if scene.relation is None:
            facts |= {"count": len(scene.objects), "size": first.size, "motion": first.motions[0]}
            facts["then"] = first.motions[-1]
        else:
            second = scene.objects[1]
            facts |= {
                "relation": scene.relation,
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
