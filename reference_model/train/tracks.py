"""Stage `tracks`: diffusion over object and camera tracks. No pixels are rendered, so samples are cheap."""

from __future__ import annotations

import math
import random
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from reference_model.diffusion import draw_sigma, karras_sigmas, sample_euler, scales
from reference_model.text import Tokenizer
from reference_model.tracks import FEATURES, KNOTS, SIGMA_DATA, SIGMA_HIGH, SIGMA_LOW, TrackNetwork
from reference_model.train.data import SWAPS, encode_texts, load_text_encoder, swapped, training_pair
from reference_model.train.loop import Config, Draw
from reference_model.world import Scene, SceneOptions, frame_times, sample_scene, scene_tracks
from reference_model.world.render import SLOTS

SIGMA_MEAN, SIGMA_SPREAD = 0.2, 1.6


class TracksStage:
    """Weighted denoising loss on normalised track tokens.

    `settings`: text (weights file), pool (number of scenes), kinds (of the pool's scenes; one that is named twice is drawn
    twice as often), start (weights file to go on from, instead of drawn weights), together (weight of the error in where
    objects are to each other: objects that touch by mistake are each hardly out of place).
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.tokenizer = Tokenizer.of_world()
        self.encoder = load_text_encoder(Path(config.settings["text"]), self.tokenizer).to(device)

    def build(self) -> nn.Module:
        """The network, its codec fitted to the pool; the pool of tokens and text features is built here too."""
        settings = {
            name: self.config.settings[name]
            for name in ("width", "depth", "heads")
            if name in self.config.settings
        }
        network = TrackNetwork(**settings)
        start = self.config.settings.get("start")
        if start is not None:
            network.load_state_dict(load_file(start))
        kinds = self.config.settings.get("kinds", SceneOptions.kinds)
        rng = Draw.of(self.config.seed, 0, "pool").scenes
        scenes, texts, tokens = [], [], []
        for _ in range(int(self.config.settings["pool"])):
            scene, caption = training_pair(rng, aspect=random_aspect(rng), kinds=kinds)
            scenes.append(scene)
            texts.append(caption.text)
        for first in range(0, len(scenes), 4096):
            part = scenes[first : first + 4096]
            objects, camera, phase, aspect = tracks_of(part)
            if first == 0 and start is None:
                network.codec.fit(objects, camera, phase, aspect)
            tokens.append(network.codec.encode(objects, camera, phase, aspect))
        self.tokens = torch.cat(tokens)
        self.aspect = torch.tensor([scene.aspect for scene in scenes])
        self.text = encode_texts(self.encoder, self.tokenizer, texts, self.device).cpu()
        return network.to(self.device)

    def loss(self, module: nn.Module, draw: Draw) -> Tensor:
        """Mean weighted loss of one batch from the pool."""
        rows = torch.randint(len(self.tokens), (self.config.batch,), generator=draw.noise)
        sigma = draw_sigma(self.config.batch, SIGMA_MEAN, SIGMA_SPREAD, draw.noise).clamp(
            SIGMA_LOW, SIGMA_HIGH
        )
        noise = torch.randn(self.config.batch, SLOTS + 1, FEATURES, generator=draw.noise)
        together = float(self.config.settings.get("together", 0.0))
        return track_losses(
            module, *self._rows(rows), sigma.to(self.device), noise.to(self.device), together
        ).mean()

    def _rows(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self.tokens[rows].to(self.device),
            self.text[rows].to(self.device),
            self.aspect[rows].to(self.device),
        )

    def probe(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """Caption-swap gaps, and directions of sampled tracks against the caption's."""
        return swap_gaps(module, self) | direction_accuracy(module, self)


def random_aspect(rng: random.Random) -> float:
    """Mostly square; sometimes wide or high."""
    return 1.0 if rng.random() < 0.75 else rng.choice((0.5625, 0.75, 4 / 3, 1.5, 16 / 9))


def tracks_of(scenes: list[Scene]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Exact tracks at KNOTS times, phases and aspects."""
    objects, camera = scene_tracks(scenes, [frame_times(KNOTS)] * len(scenes))
    return (
        objects,
        camera,
        torch.tensor([scene.phase for scene in scenes]),
        torch.tensor([s.aspect for s in scenes]),
    )


def track_losses(
    module: nn.Module,
    clean: Tensor,
    text: Tensor,
    aspect: Tensor,
    sigma: Tensor,
    noise: Tensor,
    together: float = 0.0,
) -> Tensor:
    """Loss of each row (B,): squared error of the raw output, low frequencies weighted up, absent objects down.

    `together` weighs the squared error of differences of the objects' paths.
    """
    by = scales(sigma, SIGMA_DATA, clean.ndim)
    output = module(by.into * (clean + noise * sigma[:, None, None]), by.noise, text, aspect)
    target = (clean - by.skip * (clean + noise * sigma[:, None, None])) / by.out
    weight = (module.codec.spread / module.codec.spread.max()).sqrt().clamp(min=0.15).expand_as(clean).clone()
    weight[:, :SLOTS, 0] = 1.0
    absent = clean[:, :SLOTS, :1] < 0
    weight[:, :SLOTS, 1:] = torch.where(absent, 0.1 * weight[:, :SLOTS, 1:], weight[:, :SLOTS, 1:])
    losses = ((output - target) ** 2 * weight).sum((1, 2)) / weight.sum((1, 2))
    if together:
        losses = losses + together * apart_errors(module, clean, output - target)
    return losses


def apart_errors(module: nn.Module, clean: Tensor, error: Tensor) -> Tensor:
    """Squared error (B,) of where objects are to each other, from the tokens' error; 0 for rows with one object.

    In units of the spread of an object's place, summed over frequencies, mean over pairs of objects that are there.
    """
    paths = (error * module.codec.spread)[:, :SLOTS, 2 : 2 + 2 * KNOTS]
    paths = paths / module.codec.spread[:SLOTS, (2, 2 + KNOTS)].mean()
    present = (clean[:, :SLOTS, 0] > 0).to(clean)
    first, second = torch.triu_indices(SLOTS, SLOTS, 1)
    both = present[:, first] * present[:, second]
    squares = ((paths[:, first] - paths[:, second]) ** 2).sum(-1)
    return (squares * both).sum(1) / both.sum(1).clamp(min=1)


def swap_gaps(module: nn.Module, stage: TracksStage, count: int = 128) -> dict[str, float]:
    """Relative rise of the loss when one attribute of the caption is swapped, for each attribute that moves tracks."""
    figures = {}
    for attribute in (
        name for name in SWAPS if name in ("size", "count", "motion", "events", "relation", "camera")
    ):
        draw = Draw.of(stage.config.seed, 0, f"swap-{attribute}")
        scenes, right, wrong = [], [], []
        while len(scenes) < count:
            scene = sample_scene(draw.scenes)
            pair = swapped(scene, attribute, draw.scenes)
            if pair is not None:
                scenes.append(scene)
                right.append(pair[0])
                wrong.append(pair[1])
        objects, camera, phase, aspect = (part.to(stage.device) for part in tracks_of(scenes))
        clean = module.codec.encode(objects, camera, phase, aspect)
        sigma = draw_sigma(count, 0.5, 1.2, draw.noise).to(stage.device)
        noise = torch.randn(clean.shape, generator=draw.noise).to(stage.device)
        losses = [
            track_losses(
                module,
                clean,
                encode_texts(stage.encoder, stage.tokenizer, texts, stage.device),
                aspect,
                sigma,
                noise,
            )
            for texts in (right, wrong)
        ]
        figures[f"gap_{attribute}"] = float(losses[1].mean() / losses[0].mean() - 1)
    return figures


def direction_accuracy(module: nn.Module, stage: TracksStage, count: int = 200) -> dict[str, float]:
    """Share of sampled clips whose first track moves in the caption's direction, with the right count, and roughness."""
    draw = Draw.of(stage.config.seed, 0, "directions")
    texts, wanted = [], []
    directions = ("left", "right", "up", "down", "still")
    while len(texts) < count:
        scene, caption = training_pair(draw.scenes, empty=0, fragment=0)
        if caption.expect.get("motion") in directions:
            texts.append(caption.text)
            wanted.append((directions.index(str(caption.expect["motion"])), len(scene.objects)))
    text = encode_texts(stage.encoder, stage.tokenizer, texts, stage.device)
    aspect = torch.ones(count, device=stage.device)
    noise = torch.randn(count, SLOTS + 1, FEATURES, generator=draw.noise).to(stage.device)
    tokens = sample_euler(
        lambda x, sigma: module.denoise(x, sigma, text, aspect),
        noise,
        karras_sigmas(24, SIGMA_LOW, SIGMA_HIGH),
    )
    objects, _, _ = module.codec.decode(tokens, aspect)
    shift = objects[:, 0, -1, 1:3] - objects[:, 0, 0, 1:3]
    angle = torch.atan2(shift[:, 1], shift[:, 0])
    quarter = ((angle / (math.pi / 2)).round().long() % 4).tolist()
    moved = shift.norm(dim=1) > 0.2
    found = [
        4 if not far else {0: 1, 1: 3, 2: 0, 3: 2}[q] for far, q in zip(moved.tolist(), quarter, strict=True)
    ]
    counts = objects[:, :, 0, 0].sum(1).long().tolist()
    path = objects[:, 0, :, 1:3]
    rough = (path[:, 2:] - 2 * path[:, 1:-1] + path[:, :-2]).norm(dim=-1).mean()
    return {
        "direction": sum(f == w[0] for f, w in zip(found, wanted, strict=True)) / count,
        "count": sum(c == w[1] for c, w in zip(counts, wanted, strict=True)) / count,
        "roughness_px64": float(rough) * 32,
    }
