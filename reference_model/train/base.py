"""Stage `base`: the painter learns to turn noise, layout and caption into small frames."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from reference_model.diffusion import clip_noise, draw_sigma, karras_sigmas, sample_euler, scales
from reference_model.layout import draw_layout
from reference_model.networks import SIGMA_DATA, Painter
from reference_model.strength import PAINTER_SIGMAS
from reference_model.text import Tokenizer
from reference_model.train.data import encode_texts, load_text_encoder, swapped, training_pair
from reference_model.train.loop import Config, Draw
from reference_model.train.pixels import FRAMES, Batch, batch_of, draw_batch, save_sheet, stretch
from reference_model.world import SceneOptions, frame_times, sample_scene
from reference_model.world.attributes import COLOURS, HELD_OUT_PAIRS, SHAPES
from reference_model.world.captions import article

SIGMA = (-0.2, 1.4)
"""Mean and spread of the logarithm of the noise level in training."""
SIGMA_LOW, SIGMA_HIGH = 0.01, 20.0
SIZE = 32
FAINT = ("sepia", "night")
PAINTED = ("object", "colour", "size", "count", "relation", "background", "style")


class BaseStage:
    """EDM loss on stretches of a few frames.

    `settings`: text (weights file), width, frames, sigma (mean and spread of the logarithm of the noise level), shared
    (share of the noise that is the same in all frames), start (weights file to go on from, instead of drawn weights),
    faint (weight of clips in sepia or at night, whose colours lie so close together that errors in them cost little);
    steady (weight of the error in the change from frame to frame); hazy (standard deviation of noise on the summaries, of
    which each number has deviation 1); tinted (how far, at most, a lone object's summary is moved to that of another colour,
    while the object keeps its own: what its shape is must not hang on its colour, so that pairs of shape and colour that
    were never seen are painted as told).
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.tokenizer = Tokenizer.of_world()
        self.encoder = load_text_encoder(Path(config.settings["text"]), self.tokenizer).to(device)

    def build(self) -> nn.Module:
        """The painter."""
        network = Painter(width=int(self.config.settings.get("width", 32)))
        if "start" in self.config.settings:
            network.load_state_dict(load_file(self.config.settings["start"]))
        return network.to(self.device)

    def loss(self, module: nn.Module, draw: Draw) -> Tensor:
        """Mean loss of one batch."""
        frames = int(self.config.settings.get("frames", 4))
        height, width = draw.scenes.choice(((32, 32),) * 6 + ((24, 40), (40, 24)))
        batch = draw_batch(
            draw.scenes, self.config.batch, frames, width / height, self.encoder, self.tokenizer, self.device
        )
        clean = batch.frames(height, width)
        mean, spread = self.config.settings.get("sigma", SIGMA)
        sigma = draw_sigma(len(clean), mean, spread, draw.noise).clamp(SIGMA_LOW, SIGMA_HIGH)
        noise = clip_noise(clean.shape, draw.noise, float(self.config.settings.get("shared", 0.5)))
        text = batch.text
        if hazy := float(self.config.settings.get("hazy", 0.0)):
            text = text + hazy * torch.randn(text.shape, generator=draw.noise).to(self.device)
        if tinted := float(self.config.settings.get("tinted", 0.0)):
            text = self.tint(batch, text, tinted, draw)
        steady = float(self.config.settings.get("steady", 0.0))
        losses = paint_losses(
            module, batch, clean, text, sigma.to(self.device), noise.to(self.device), steady
        )
        faint = float(self.config.settings.get("faint", 1.0))
        weight = [faint if scene.style in FAINT else 1.0 for scene in batch.scenes]
        return (losses * torch.tensor(weight, device=self.device)).mean()

    def tint(self, batch: Batch, text: Tensor, most: float, draw: Draw) -> Tensor:
        """Summaries of lone objects whose colour the caption says, moved part of the way to another colour's."""
        text = text.clone()
        for row, (scene, caption) in enumerate(zip(batch.scenes, batch.captions, strict=True)):
            colour = scene.objects[0].colour
            other, amount = draw.scenes.choice(list(COLOURS)), most * draw.scenes.random()
            if len(scene.objects) == 1 and any(f" {phrase} " in caption for phrase in COLOURS[colour]):
                text[row, 0] += amount * (self.tints[other] - self.tints[colour])
        return text

    @cached_property
    def tints(self) -> dict[str, Tensor]:
        """What each colour adds to the summary of an object, over all shapes that it is seen with."""
        seen = [
            (colour, shape) for colour in COLOURS for shape in SHAPES if (colour, shape) not in HELD_OUT_PAIRS
        ]
        texts = [article(f"{COLOURS[colour][0]} {SHAPES[shape][0]}") for colour, shape in seen]
        said = encode_texts(self.encoder, self.tokenizer, texts, self.device)[:, 0]
        # Colours miss different shapes, so the shapes' own shares are fitted along (and a little ridge for the constant).
        columns = [*COLOURS, *SHAPES]
        design = torch.zeros(len(seen), len(columns), device=self.device)
        for row, pair in enumerate(seen):
            design[row, [columns.index(name) for name in pair]] = 1.0
        gram = design.T @ design + 1e-3 * torch.eye(len(columns), device=self.device)
        shares = torch.linalg.solve(gram, design.T @ said)
        return dict(zip(columns, shares[: len(COLOURS)], strict=False))

    def probe(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """Caption-swap gaps, pixel error of samples on exact layouts, and a sheet of them above the truth."""
        figures = {f"gap_{name}": self._gap(module, name) for name in PAINTED}
        draw = Draw.of(self.config.seed, 0, "sheet")
        pairs = [training_pair(draw.scenes, empty=0, fragment=0) for _ in range(12)]
        times = [frame_times(FRAMES)[::3]] * len(pairs)
        batch = batch_of(
            [p[0] for p in pairs],
            [p[1].text for p in pairs],
            times,
            self.encoder,
            self.tokenizer,
            self.device,
        )
        truth = batch.frames(SIZE, SIZE)
        plan = module.plan(draw_layout(batch.objects, batch.camera, batch.phase, SIZE, SIZE), batch.text)
        noise = clip_noise(truth.shape, draw.noise).to(self.device)
        made = sample_euler(
            lambda x, sigma: module.denoise(x, sigma, plan, batch.text),
            noise,
            karras_sigmas(5, *PAINTER_SIGMAS),
        )
        save_sheet(
            [row for pair in zip(made, truth, strict=True) for row in pair],
            folder / "sheets" / f"{step:06d}.png",
            every=1,
        )
        return figures | {"sample_mse": float(((made - truth) ** 2).mean())}

    def _gap(self, module: nn.Module, attribute: str, count: int = 48) -> float:
        draw = Draw.of(self.config.seed, 0, f"swap-{attribute}")
        scenes, captions = [], []
        while len(scenes) < count:
            scene = sample_scene(draw.scenes, SceneOptions())
            pair = swapped(scene, attribute, draw.scenes)
            if pair is not None:
                scenes.append(scene)
                captions.append(pair)
        times = [stretch(draw.scenes, 1) for _ in scenes]
        batch = batch_of(
            scenes, [pair[0] for pair in captions], times, self.encoder, self.tokenizer, self.device
        )
        clean = batch.frames(SIZE, SIZE)
        sigma = draw_sigma(count, 0.5, 1.0, draw.noise).to(self.device)
        noise = clip_noise(clean.shape, draw.noise).to(self.device)
        wrong = encode_texts(self.encoder, self.tokenizer, [pair[1] for pair in captions], self.device)
        losses = [
            paint_losses(module, batch, clean, text, sigma, noise).mean() for text in (batch.text, wrong)
        ]
        return float(losses[1] / losses[0] - 1)


def paint_losses(
    module: nn.Module,
    batch: Batch,
    clean: Tensor,
    text: Tensor,
    sigma: Tensor,
    noise: Tensor,
    steady: float = 0.0,
) -> Tensor:
    """Squared error of the raw output for each clip (B,); pixels that an object covers count more.

    `steady` weighs the squared error of the change from frame to frame.
    """
    layout = draw_layout(batch.objects, batch.camera, batch.phase, *clean.shape[-2:])
    by = scales(sigma, SIGMA_DATA, clean.ndim)
    noisy = clean + noise * sigma.view(-1, 1, 1, 1, 1)
    output = module(by.into * noisy, by.noise, module.plan(layout, text), text)
    weight = 1 + 2 * layout.near.sum(2, keepdim=True)
    error = output - (clean - by.skip * noisy) / by.out
    losses = (error**2 * weight).flatten(1).mean(1)
    if steady:
        changes = (error[:, 1:] - error[:, :-1]) ** 2 * weight[:, 1:]
        losses = losses + steady * changes.flatten(1).mean(1)
    return losses
