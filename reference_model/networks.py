"""The convolutional networks of the two pixel stages: the base's painter and the refiner. Plain torch, no diffusers.

Frames are convolved one by one; time is mixed by small temporal convolutions and by the mean of the clip, which tells
every frame what all of them share. Text enters as modulation of every block and, in the painter, through the layout.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_model.diffusion import NoiseLevel, scales
from reference_model.layout import GROUND_FEATURES, OBJECT_FEATURES, Layout, splat
from reference_model.world.render import SLOTS

SIGMA_DATA = 0.5
DRAFT_ERROR = 0.15
"""Typical error of an enlarged small clip, in the units of frames in [-1, 1]."""


class Residual(nn.Module):
    """Two 3x3 convolutions per frame, modulated by a context vector per clip."""

    def __init__(self, width_in: int, width: int, context: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width_in), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = (
            nn.Conv2d(width_in, width, 3, padding=1),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.modulate = nn.Linear(context, 2 * width)
        self.skip = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor, frames: int) -> Tensor:
        """X (B T, C, H, W), context (B, K)."""
        scale, shift = self.modulate(context).repeat_interleave(frames, 0)[:, :, None, None].chunk(2, 1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = F.silu(self.norm2(h) * (1 + scale) + shift)
        return self.skip(x) + self.conv2(h)  # type: ignore[no-any-return]


class Temporal(nn.Module):
    """Mixes neighbouring frames and the mean of the clip; begins as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.mix = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0))
        self.mean = nn.Linear(width, width)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.mean.weight)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """X (B T, C, H, W)."""
        h = F.silu(self.norm(x))
        clip = h.unflatten(0, (-1, frames))
        shared = self.mean(clip.mean((1, 3, 4)))
        padded = F.pad(clip.transpose(1, 2), (0, 0, 0, 0, 1, 1), mode="replicate")
        mixed = F.conv3d(padded, self.mix.weight, self.mix.bias)
        return x + (mixed + shared[:, :, None, None, None]).transpose(1, 2).flatten(0, 1)


class Planned(nn.Module):
    """A network that is told where objects are: feature maps of a layout, whose weights come from the text."""

    slot: nn.Module
    floor: nn.Module

    def plan_layers(self, planes: int, ground: int, text_width: int) -> None:
        """The layers from text summaries to `planes` features of each object and `ground` features of the background."""
        self.slot = nn.Sequential(
            nn.Linear(2 * text_width, 256), nn.SiLU(), nn.Linear(256, planes * OBJECT_FEATURES)
        )
        self.floor = nn.Sequential(
            nn.Linear(text_width, 128), nn.SiLU(), nn.Linear(128, ground * GROUND_FEATURES)
        )

    def plan(self, layout: Layout, text: Tensor) -> Tensor:
        """Feature maps of layout and text; they do not depend on the noise, so a sampler makes them once."""
        slots, scene = text[:, :SLOTS], text[:, SLOTS:].expand(-1, SLOTS, -1)
        weights = self.slot(torch.cat([slots, scene], -1)).unflatten(-1, (-1, OBJECT_FEATURES))
        return splat(layout, weights, self.floor(text[:, SLOTS]).unflatten(-1, (-1, GROUND_FEATURES)))


class Painter(Planned):
    """The base's second half: noisy frames, layout and text summaries to the raw (preconditioned) output."""

    def __init__(self, width: int = 32, planes: int = 24, ground: int = 16, text_width: int = 128) -> None:
        super().__init__()
        self.settings = {"width": width, "planes": planes, "ground": ground, "text_width": text_width}
        context = 4 * width
        self.level = NoiseLevel(context)
        self.scene = nn.Linear(text_width, context)
        self.objects = nn.Linear(SLOTS * text_width, context)
        self.plan_layers(planes, ground, text_width)
        self.enter = nn.Conv2d(3 + 2 * planes + ground, width, 3, padding=1)
        self.high1, self.high2 = Residual(width, width, context), Residual(width, width, context)
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.middle1, self.middle2 = (
            Residual(2 * width, 2 * width, context),
            Residual(2 * width, 2 * width, context),
        )
        self.time = Temporal(2 * width)
        self.up = nn.Conv2d(2 * width, width, 1)
        self.norm = nn.GroupNorm(8, width)
        self.leave = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor, noise: Tensor, plan: Tensor, text: Tensor) -> Tensor:
        """X (B, T, 3, H, W) scaled by c_in; noise (B,) is c_noise; plan from `plan`; text (B, SLOTS + 1, K)."""
        frames = x.shape[1]
        context = F.silu(
            self.level(noise) + self.scene(text[:, SLOTS]) + self.objects(text[:, :SLOTS].flatten(1))
        )
        h = torch.cat([x, plan], 2).flatten(0, 1)
        h = self.high1(self.enter(h), context, frames)
        m = self.time(self.middle1(self.down(h), context, frames), frames)
        h = self.high2(h + _double(self.up(self.middle2(m, context, frames))), context, frames)
        return self.leave(F.silu(self.norm(h))).unflatten(0, (-1, frames))  # type: ignore[no-any-return]

    def denoise(self, x: Tensor, sigma: Tensor, plan: Tensor, text: Tensor) -> Tensor:
        """Estimate of the clean frames in [-1, 1]."""
        by = scales(sigma, SIGMA_DATA, x.ndim)
        return by.skip * x + by.out * self(by.into * x, by.noise, plan, text)


class Refiner(Planned):
    """Second stage: noisy frames at full size, the enlarged (and noised) base clip, its noise level and the caption.

    With `planes` it is also told where objects are, as the painter is, at the painter's size (`plan`). An outline then need
    not be read off a blurred draft, and a draft that is noised away or to be had in another style loses no object.
    """

    def __init__(self, width: int = 40, text_width: int = 128, planes: int = 0, ground: int = 0) -> None:
        super().__init__()
        self.settings = {"width": width, "text_width": text_width, "planes": planes, "ground": ground}
        context = 4 * width
        self.level, self.draft_level = NoiseLevel(context), NoiseLevel(context)
        self.scene = nn.Linear(text_width, context)
        self.objects = nn.Linear(SLOTS * text_width, context)
        self.told = 2 * planes + ground
        self.enter = nn.Conv2d(24 + self.told, width, 3, padding=1)
        self.high1, self.high2 = Residual(width, width, context), Residual(width, width, context)
        self.down1 = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.middle1, self.middle2 = (
            Residual(2 * width, 2 * width, context),
            Residual(2 * width, 2 * width, context),
        )
        self.attend = TextAttention(2 * width, text_width)
        self.time1 = Temporal(2 * width)
        self.down2 = nn.Conv2d(2 * width, 2 * width, 2, stride=2)
        self.low = Residual(2 * width, 2 * width, context)
        self.time2 = Temporal(2 * width)
        self.up2 = nn.Conv2d(2 * width, 2 * width, 1)
        self.up1 = nn.Conv2d(2 * width, width, 1)
        self.norm = nn.GroupNorm(8, width)
        self.leave = nn.Conv2d(width, 12, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]
        if planes:
            self.plan_layers(planes, ground, text_width)

    def adopt(self, state: dict[str, Tensor], painter: dict[str, Tensor]) -> None:
        """Weights of another refiner. One that was not told where objects are goes on as it was: it has the painter's
        eyes for a layout and does not use what they see yet.
        """
        if self.told and "slot.0.weight" not in state:
            eyes = {name: value for name, value in painter.items() if name.startswith(("slot.", "floor."))}
            state = {
                **state,
                **eyes,
                "enter.weight": F.pad(state["enter.weight"], (0, 0, 0, 0, 0, self.told)),
            }
        self.load_state_dict(state)

    def forward(
        self,
        x: Tensor,
        noise: Tensor,
        draft: Tensor,
        draft_noise: Tensor,
        text: Tensor,
        plan: Tensor | None = None,
    ) -> Tensor:
        """Raw output in EDM's sense, as schedulers expect it.

        x, draft (B, T, 3, H, W) are scaled by c_in of their levels; noise, draft_noise (B,) are c_noise of them; plan
        (B, T, C, H / 2, W / 2) comes from `plan`, and without it nothing is said of where objects are.
        """
        sigma, level = (4 * noise).exp(), (4 * draft_noise).exp()
        by, other = scales(sigma, SIGMA_DATA, x.ndim), scales(level, SIGMA_DATA, x.ndim)
        mix = mixing(sigma, level)
        clean = (
            mix.sample * (x / by.into)
            + mix.draft * (draft / other.into)
            + mix.out * self.residual(x, noise, draft, draft_noise, text, plan)
        )
        return (clean - by.skip * (x / by.into)) / by.out

    def residual(
        self,
        x: Tensor,
        noise: Tensor,
        draft: Tensor,
        draft_noise: Tensor,
        text: Tensor,
        plan: Tensor | None = None,
    ) -> Tensor:
        """What the best linear mixture of sample and draft lacks, in units of its expected error."""
        frames = x.shape[1]
        context = self.level(noise) + self.draft_level(draft_noise) + self.scene(text[:, SLOTS])
        context = F.silu(context + self.objects(text[:, :SLOTS].flatten(1)))
        h = F.pixel_unshuffle(torch.cat([x, draft], 2).flatten(0, 1), 2)
        if self.told:
            told = h.new_zeros(len(h), self.told, *h.shape[-2:]) if plan is None else plan.flatten(0, 1)
            h = torch.cat([h, told], 1)
        h = self.high1(self.enter(h), context, frames)
        m = self.time1(self.attend(self.middle1(self.down1(h), context, frames), text, frames), frames)
        low = self.time2(self.low(self.down2(m), context, frames), frames)
        m = self.middle2(m + _double(self.up2(low)), context, frames)
        h = self.high2(h + _double(self.up1(m)), context, frames)
        return F.pixel_shuffle(self.leave(F.silu(self.norm(h))), 2).unflatten(0, (-1, frames))

    def denoise(
        self,
        x: Tensor,
        sigma: Tensor,
        draft: Tensor,
        draft_sigma: Tensor,
        text: Tensor,
        plan: Tensor | None = None,
    ) -> Tensor:
        """Estimate of the clean frames; `draft` is the enlarged base clip plus noise of level draft_sigma (B,)."""
        by, other = scales(sigma, SIGMA_DATA, x.ndim), scales(draft_sigma, SIGMA_DATA, x.ndim)
        return by.skip * x + by.out * self(by.into * x, by.noise, other.into * draft, other.noise, text, plan)


class Mixing(NamedTuple):
    """Weights of noisy sample and draft in the best linear estimate of the clean clip, and its expected error."""

    sample: Tensor
    draft: Tensor
    out: Tensor


def mixing(sigma: Tensor, level: Tensor) -> Mixing:
    """EDM's preconditioning for two observations: noise `sigma` (B,) on the sample, `level` (B,) on the draft.

    Each is weighed by its precision; the draft is wrong by DRAFT_ERROR even without noise. Without the second term an
    untrained refiner is far worse than doing nothing; with it training starts from there.
    """
    sigma, level = sigma.view(-1, 1, 1, 1, 1), level.view(-1, 1, 1, 1, 1)
    own, draft = sigma**-2, 1 / (level**2 + DRAFT_ERROR**2)
    total = own + draft + SIGMA_DATA**-2
    return Mixing(own / total, draft / total, total**-0.5)


class TextAttention(nn.Module):
    """Every pixel attends to the text summaries; begins as the identity."""

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.query, self.pair = nn.Conv2d(width, width, 1), nn.Linear(text_width, 2 * width)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, text: Tensor, frames: int) -> Tensor:
        """X (B T, C, H, W), text (B, N, K)."""
        key, value = self.pair(text).repeat_interleave(frames, 0).chunk(2, -1)
        scores = torch.einsum("bchw,bnc->bnhw", self.query(self.norm(x)), key) * (x.shape[1] ** -0.5)
        return x + self.out(torch.einsum("bnhw,bnc->bchw", scores.softmax(1), value))  # type: ignore[no-any-return]


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
