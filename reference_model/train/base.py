"""Stage `base`: the painter learns to turn noise, layout and caption into small frames."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from reference_model.diffusion import clip_noise, draw_sigma, karras_sigmas, sample_euler, scales
from reference_model.networks import SIGMA_DATA, Painter
from reference_model.strength import PAINTER_SIGMAS
from reference_model.text import Tokenizer
from reference_model.train.data import encode_texts, load_text_encoder, swapped, training_pair
from reference_model.train.loop import Config, Draw
from reference_model.train.pixels import FRAMES, Batch, batch_of, draw_batch, save_sheet, stretch
from reference_model.world import SceneOptions, frame_times, sample_scene

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
    faint (weight of clips in sepia or at night, whose colours lie so close together that errors in them cost little).
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
        losses = paint_losses(module, batch, clean, batch.text, sigma.to(self.device), noise.to(self.device))
        faint = float(self.config.settings.get("faint", 1.0))
        weight = [faint if scene.style in FAINT else 1.0 for scene in batch.scenes]
        return (losses * torch.tensor(weight, device=self.device)).mean()

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
        plan = module.plan(batch.layout(SIZE, SIZE), batch.text)
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
    module: nn.Module, batch: Batch, clean: Tensor, text: Tensor, sigma: Tensor, noise: Tensor
) -> Tensor:
    """Squared error of the raw output for each clip (B,); pixels that an object covers count more."""
    layout = batch.layout(*clean.shape[-2:])
    by = scales(sigma, SIGMA_DATA, clean.ndim)
    noisy = clean + noise * sigma.view(-1, 1, 1, 1, 1)
    output = module(by.into * noisy, by.noise, module.plan(layout, text), text)
    weight = 1 + 2 * layout.near.sum(2, keepdim=True)
    error = (output - (clean - by.skip * noisy) / by.out) ** 2 * weight
    return error.flatten(1).mean(1)
