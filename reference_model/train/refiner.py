"""Stage `refiner`: from an enlarged, degraded and noised small clip to the clean clip at full size."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from reference_model.diffusion import clip_noise, draw_sigma, karras_sigmas, sample_euler
from reference_model.networks import Painter, Refiner, mixing
from reference_model.strength import DRAFT_HIGH, REFINER_SIGMAS, draft_sigma, enlarge
from reference_model.text import Tokenizer
from reference_model.train.base import FAINT
from reference_model.train.data import encode_texts, load_text_encoder, training_pair
from reference_model.train.loop import Config, Draw
from reference_model.train.pixels import FRAMES, Batch, batch_of, draw_batch, save_sheet
from reference_model.world import describe, frame_times
from reference_model.world.attributes import STYLES

SIGMA = (-0.6, 1.3)
"""Mean and spread of the logarithm of the noise level in training."""
SIGMA_LOW, SIGMA_HIGH = 0.01, 10.0
SIZE = 64
RESTYLE = (0.25, 0.35, 0.15)
"""From the first, a level of draft noise, on, the second is the share of drafts in another style than the caption's, so
that strong refining can restyle; the third is the weight of such clips in the loss."""
PAINTED = (-0.5, 0.7, 0.5)
UNTOLD = 0.15
"""Share of batches in which a refiner that knows layouts is told none, so that any clip can be refined."""
SOFTNESS = 0.05
"""Errors well above this, in units of the expected error, count linearly."""
STYLE_SOFTNESS = 2.0
"""The same for clips in another style, where it is a setting (`heard`): what counts linearly is answered by its median, and
a line around an object, which is a median only once it is nearly certain, is then never begun."""


class RefinerStage:
    """EDM loss.

    `settings`: text, base (weights files), frames, width, base_width of the painter; sigma, shared and start as in the
    base's stage; restyle (as `RESTYLE`); from_draft (noise level from which the noisy clip is the noised draft, where
    sampling starts, and not noised truth: a mean over pixels sees through any noise, so a network trained on truth alone
    takes the noisy clip's tones for true ones, and a style in the prompt is not heard); steady (weight of the error in
    the change from frame to frame); planned (the refiner is told where objects are); retold (instead of a draft in another
    style than the caption's, the draft is what the base makes of the caption, and the refiner is told the same scene in
    another style, stated, as sampling asks it); towards (the styles that scenes are retold in; one that is named twice is drawn
    twice as often); heard (errors in such clips count by their squares, see `STYLE_SOFTNESS`); draft_high (noise on the draft
    at strength 1); near (weight of what objects cover, over that of the rest); faint (weight of clips in sepia or at
    night, as in the base's stage); painted (mean and spread of the logarithm of the noise level, at most 2, from which
    the base paints drafts, and the share of noise that their frames have in common).
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.tokenizer = Tokenizer.of_world()
        self.encoder = load_text_encoder(Path(config.settings["text"]), self.tokenizer).to(device)
        self.painter = Painter(width=int(config.settings.get("base_width", 32))).to(device).eval()
        self.painter.load_state_dict(load_file(config.settings["base"]))
        self.painter.requires_grad_(requires_grad=False)

    def build(self) -> nn.Module:
        """The refiner."""
        settings = self.config.settings
        told = {name: self.painter.settings[name] for name in ("planes", "ground") if settings.get("planned")}
        network = Refiner(int(settings.get("width", 40)), **told)
        if "start" in settings:
            network.adopt(load_file(settings["start"]), load_file(settings["base"]))
        return network.to(self.device)

    def loss(self, module: nn.Module, draw: Draw) -> Tensor:
        """Mean loss of one batch: half the drafts are what the base makes of a noisy small clip, half degraded truth."""
        frames = int(self.config.settings.get("frames", 2))
        height, width = draw.scenes.choice(((64, 64),) * 6 + ((48, 80), (80, 48)))
        batch = draw_batch(
            draw.scenes, self.config.batch, frames, width / height, self.encoder, self.tokenizer, self.device
        )
        strength = torch.rand(len(batch.scenes), generator=draw.noise)
        level = draft_sigma(strength, float(self.config.settings.get("draft_high", DRAFT_HIGH)))
        above, portion, importance = self.config.settings.get("restyle", RESTYLE)
        restyle = [float(value) > above and draw.scenes.random() < portion for value in level]
        retold = bool(self.config.settings.get("retold"))
        plain = self.draft(batch, [other and not retold for other in restyle], height, width, draw)
        if retold:
            batch = self.retold(batch, restyle, draw)
        clean = batch.frames(height, width)
        shared = float(self.config.settings.get("shared", 0.5))
        draft = plain + clip_noise(plain.shape, draw.noise, shared).to(self.device) * level.view(
            -1, 1, 1, 1, 1
        ).to(self.device)
        mean, spread = self.config.settings.get("sigma", SIGMA)
        sigma = draw_sigma(len(clean), mean, spread, draw.noise).clamp(SIGMA_LOW, SIGMA_HIGH).to(self.device)
        from_draft = float(self.config.settings.get("from_draft", math.inf))
        centre = torch.where((sigma >= from_draft).view(-1, 1, 1, 1, 1), plain, clean)
        noisy = centre + clip_noise(clean.shape, draw.noise, shared).to(self.device) * sigma.view(
            -1, 1, 1, 1, 1
        )
        plan = None
        if self.config.settings.get("planned") and draw.scenes.random() >= UNTOLD:
            plan = module.plan(batch.layout(height // 2, width // 2), batch.text)
        made = module.denoise(noisy, sigma, draft, level.to(self.device), batch.text, plan)
        error = (made - clean) / mixing(sigma, level.to(self.device)).out
        near = float(self.config.settings.get("near", 2.0))
        weight = 1 + near * batch.layout(height, width).near.sum(2, keepdim=True)
        # A draft in another style is wrong by far more than `mixing` expects; it must not drown the rest.
        faint = float(self.config.settings.get("faint", 1.0))
        share = torch.tensor(
            [
                (importance if other else 1.0) * (faint if scene.style in FAINT else 1.0)
                for other, scene in zip(restyle, batch.scenes, strict=True)
            ],
            device=self.device,
        )
        weight = weight * share.view(-1, 1, 1, 1, 1)
        softness: float | Tensor = SOFTNESS
        if self.config.settings.get("heard"):
            softness = torch.full((len(restyle), 1, 1, 1, 1), SOFTNESS, device=self.device)
            softness[torch.tensor(restyle)] = STYLE_SOFTNESS
        loss = (robust(error, softness) * weight).mean()
        steady = float(self.config.settings.get("steady", 0.0))
        if steady:
            loss = loss + steady * (robust(error[:, 1:] - error[:, :-1], softness) * weight[:, 1:]).mean()
        return loss

    def retold(self, batch: Batch, restyle: list[bool], draw: Draw) -> Batch:
        """The batch with another style, said in words, where `restyle`."""
        scenes, text = list(batch.scenes), batch.text.clone()
        for row, other in enumerate(restyle):
            if other:
                towards = self.config.settings.get("towards", STYLES)
                styles = [name for name in towards if name != scenes[row].style]
                scenes[row] = replace(scenes[row], style=draw.scenes.choice(styles))
                caption = describe(scenes[row], draw.scenes, full=True).text
                text[row] = encode_texts(self.encoder, self.tokenizer, [caption], self.device)[0]
        return batch._replace(scenes=scenes, text=text)

    @torch.no_grad()
    def draft(self, batch: Batch, restyle: list[bool], height: int, width: int, draw: Draw) -> Tensor:
        """Small clips with the base's or simulated faults, enlarged; where `restyle`, in another style."""
        scenes = [
            replace(scene, style=draw.scenes.choice(list(STYLES))) if other else scene
            for scene, other in zip(batch.scenes, restyle, strict=True)
        ]
        small = batch._replace(scenes=scenes).frames(height // 2, width // 2)
        mean, spread, shared = self.config.settings.get("painted", PAINTED)
        noise = clip_noise(small.shape, draw.noise, shared).to(self.device)
        painted = torch.tensor([not other and draw.scenes.random() < 0.5 for other in restyle])
        if bool(painted.any()):
            sigma = draw_sigma(len(small), mean, spread, draw.noise).clamp(0.1, 2.0).to(self.device)
            layout = batch.layout(height // 2, width // 2)
            noisy = small + noise * sigma.view(-1, 1, 1, 1, 1)
            made = self.painter.denoise(noisy, sigma, self.painter.plan(layout, batch.text), batch.text)
            small = torch.where(painted.to(self.device).view(-1, 1, 1, 1, 1), made, small)
        return enlarge(degrade(small, ~painted, draw), height, width)

    def probe(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """PSNR against bicubic on degraded truth, change between frames against truth's, and a sheet."""
        draw = Draw.of(self.config.seed, 0, "sheet")
        pairs = [training_pair(draw.scenes, empty=0, fragment=0) for _ in range(12)]
        times = [frame_times(FRAMES)[:6]] * len(pairs)
        batch = batch_of(
            [p[0] for p in pairs],
            [p[1].text for p in pairs],
            times,
            self.encoder,
            self.tokenizer,
            self.device,
        )
        truth = batch.frames(SIZE, SIZE)
        small = degrade(batch.frames(SIZE // 2, SIZE // 2), torch.ones(len(truth), dtype=torch.bool), draw)
        bicubic = enlarge(small, SIZE, SIZE)
        plan = module.plan(batch.layout(SIZE // 2, SIZE // 2), batch.text) if module.told else None
        figures = {"psnr_bicubic": psnr(bicubic, truth)}
        rows = {}
        for strength in (0.2, 0.5):
            level = torch.full((len(truth),), draft_sigma(strength), device=self.device)
            draft = bicubic + clip_noise(truth.shape, draw.noise).to(self.device) * level[0]
            sigmas = karras_sigmas(1, *REFINER_SIGMAS)
            noise = clip_noise(truth.shape, draw.noise).to(self.device)
            made = sample_euler(
                lambda x, sigma, d=draft, lv=level: module.denoise(x, sigma, d, lv, batch.text, plan),
                noise + bicubic / sigmas[0],
                sigmas,
            )
            figures[f"psnr_{strength}"] = psnr(made, truth)
            figures[f"change_{strength}"] = float(
                (made[:, 1:] - made[:, :-1]).abs().mean() / (truth[:, 1:] - truth[:, :-1]).abs().mean()
            )
            rows[strength] = made
        sheet = [row for trio in zip(bicubic, rows[0.2], truth, strict=True) for row in trio]
        save_sheet(sheet, folder / "sheets" / f"{step:06d}.png", zoom=1, every=2)
        return figures


def degrade(small: Tensor, chosen: Tensor, draw: Draw) -> Tensor:
    """Blur, a little noise and a shift of brightness on the chosen clips, as a weak base would make them."""
    count = len(small)
    blur = (torch.rand(count, generator=draw.noise) * 0.7).to(small.device).view(-1, 1, 1, 1, 1)
    soft = F.avg_pool2d(small.flatten(0, 1), 3, 1, 1, count_include_pad=False).view_as(small)
    grain = (torch.rand(count, generator=draw.noise) ** 2 * 0.1).to(small.device).view(-1, 1, 1, 1, 1)
    shift = (torch.randn(count, 1, 3, 1, 1, generator=draw.noise) * 0.015).to(small.device)
    noise = torch.randn(small.shape, generator=draw.noise).to(small.device)
    return torch.where(
        chosen.to(small.device).view(-1, 1, 1, 1, 1),
        small + (soft - small) * blur + grain * noise + shift,
        small,
    )


def robust(error: Tensor, softness: float | Tensor) -> Tensor:
    """Pseudo-Huber: drafts that went wrong altogether must not set the gradient for all others."""
    return (error**2 + softness**2).sqrt() - softness


def psnr(made: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of frames in [-1, 1]."""
    return 10 * math.log10(4 / float(((made.clamp(-1, 1) - truth) ** 2).mean()))
