"""First half of the base: a small diffusion transformer over tracks, conditioned on text.

A clip's geometry is four tokens: three object slots (present, x, y, log radius, angle over KNOTS times, depth) and the
camera (phase of the background pattern x, y; then x, y, log zoom). Trajectories are in the cosine basis and every coefficient is scaled to unit variance over the
world, so that the network's errors are small where real trajectories are smooth.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from reference_model.diffusion import NoiseLevel, scales
from reference_model.world.render import SLOTS

KNOTS = 16
FEATURES = 4 * KNOTS + 2
SIGMA_DATA = 1.0
SIGMA_LOW, SIGMA_HIGH = 0.02, 20.0


def cosine_basis(knots: int = KNOTS) -> Tensor:
    """Orthonormal DCT-II matrix (knots, knots): rows are frequencies."""
    place = (torch.arange(knots) + 0.5) * math.pi / knots
    basis = torch.cos(torch.arange(knots)[:, None] * place) * math.sqrt(2 / knots)
    basis[0] *= math.sqrt(0.5)
    return basis


class TrackCodec(nn.Module):
    """Tracks at KNOTS times to normalised tokens (B, SLOTS + 1, FEATURES) and back."""

    basis: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", cosine_basis(), persistent=False)
        self.register_buffer("mean", torch.zeros(SLOTS + 1, FEATURES))
        self.register_buffer("spread", torch.ones(SLOTS + 1, FEATURES))

    def _raw(self, objects: Tensor, camera: Tensor, phase: Tensor, aspect: Tensor) -> tuple[Tensor, Tensor]:
        wide, high = aspect.clamp(min=1.0).view(-1, 1, 1, 1), (1 / aspect).clamp(min=1.0).view(-1, 1, 1, 1)
        present = objects[:, :, :1, 0]
        paths = torch.cat([objects[..., 1:2] / wide, objects[..., 2:3] / high, objects[..., 3:5]], -1)
        coded = torch.einsum("fk,bskc->bscf", self.basis, paths).flatten(2)
        slots = torch.cat([present * 2 - 1, objects[:, :, :1, 5], coded], -1)
        view = torch.einsum("fk,bkc->bcf", self.basis, camera).flatten(1)
        view = torch.cat([phase, view, view.new_zeros(len(view), FEATURES - 2 - view.shape[1])], 1)
        tokens = torch.cat([slots, view[:, None]], 1)
        valid = torch.ones_like(tokens, dtype=torch.bool)
        valid[:, :SLOTS, 1:] = (present > 0.5).expand(-1, -1, FEATURES - 1)
        return tokens, valid

    def fit(self, objects: Tensor, camera: Tensor, phase: Tensor, aspect: Tensor) -> None:
        """Sets mean and spread of every coefficient from tracks of the world."""
        tokens, valid = self._raw(objects, camera, phase, aspect)
        count = valid.sum(0).clamp(min=1)
        self.mean.copy_((tokens * valid).sum(0) / count)
        variance = (((tokens - self.mean) * valid) ** 2).sum(0) / count
        self.spread.copy_(variance.sqrt().clamp(min=0.004))
        self.mean[:SLOTS, 0], self.spread[:SLOTS, 0] = 0.0, 1.0

    def encode(self, objects: Tensor, camera: Tensor, phase: Tensor, aspect: Tensor) -> Tensor:
        """Tokens of tracks; coefficients of absent objects are 0 (their mean)."""
        tokens, valid = self._raw(objects, camera, phase, aspect)
        return torch.where(valid, (tokens - self.mean) / self.spread, torch.zeros_like(tokens))

    def decode(self, tokens: Tensor, aspect: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Objects (B, SLOTS, KNOTS, 6), camera (B, KNOTS, 3) and phase (B, 2) of tokens."""
        raw = tokens * self.spread + self.mean
        paths = raw[:, :SLOTS, 2:].unflatten(-1, (4, KNOTS))
        paths = torch.einsum("fk,bscf->bskc", self.basis, paths)
        wide, high = aspect.clamp(min=1.0).view(-1, 1, 1, 1), (1 / aspect).clamp(min=1.0).view(-1, 1, 1, 1)
        present = (raw[:, :SLOTS, :1] > 0).float()[..., None].expand(-1, -1, KNOTS, -1)
        depth = raw[:, :SLOTS, None, 1:2].expand(-1, -1, KNOTS, -1)
        objects = torch.cat(
            [present, paths[..., :1] * wide, paths[..., 1:2] * high, paths[..., 2:], depth], -1
        )
        camera = torch.einsum(
            "fk,bcf->bkc", self.basis, raw[:, SLOTS, 2 : 2 + 3 * KNOTS].unflatten(-1, (3, KNOTS))
        )
        return objects * present, camera, raw[:, SLOTS, :2] % 1.0


def resample(knots: Tensor, num_frames: int) -> Tensor:
    """Values at KNOTS times (..., KNOTS, C) to `num_frames` times by linear interpolation; first and last are kept."""
    if num_frames == knots.shape[-2]:
        return knots
    at = (
        torch.linspace(0, knots.shape[-2] - 1, num_frames, device=knots.device)
        if num_frames > 1
        else torch.zeros(1)
    )
    low = at.floor().long().clamp(max=knots.shape[-2] - 2)
    part = (at - low)[:, None]
    return knots[..., low, :] * (1 - part) + knots[..., low + 1, :] * part


class TrackBlock(nn.Module):
    """Transformer block whose norms are modulated per token."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.offset = nn.Parameter(torch.zeros(6 * width))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """X (B, N, C), modulation (B, N, 6C)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.offset).chunk(6, -1)
        h = self.norm(x) * (1 + scale1) + shift1
        batch, count, width = h.shape
        q, k, v = self.qkv(h).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.transpose(-1, -2)) * (q.shape[-1] ** -0.5)).softmax(-1) @ v
        x = x + gate1 * self.out(mixed.transpose(1, 2).reshape(batch, count, width))
        return x + gate2 * self.mlp(self.norm(x) * (1 + scale2) + shift2)


class TrackNetwork(nn.Module):
    """Noisy tokens, noise level and text summaries to the raw (preconditioned) output."""

    def __init__(self, width: int = 160, depth: int = 4, heads: int = 4, text_width: int = 128) -> None:
        super().__init__()
        self.settings = {"width": width, "depth": depth, "heads": heads, "text_width": text_width}
        self.codec = TrackCodec()
        self.enter = nn.Linear(FEATURES, width)
        self.place = nn.Parameter(torch.randn(SLOTS + 1, width) * 0.3)
        self.level = NoiseLevel(width)
        self.own, self.scene = nn.Linear(text_width, width), nn.Linear(text_width, width)
        self.aspect = nn.Linear(1, width)
        self.join = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(TrackBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.leave = nn.Linear(width, FEATURES)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, noise: Tensor, text: Tensor, aspect: Tensor) -> Tensor:
        """X (B, 4, FEATURES) scaled by c_in; noise (B,) is c_noise; text (B, 4, text_width); aspect (B,)."""
        context = self.level(noise)[:, None] + self.own(text) + self.scene(text[:, SLOTS:])
        context = self.join(context + self.place + self.aspect(aspect.log()[:, None])[:, None])
        x = self.enter(x) + self.place + self.own(text)
        modulation = self.modulation(context)
        for block in self.blocks:
            x = block(x, modulation)
        return self.leave(self.norm(x))  # type: ignore[no-any-return]

    def denoise(self, x: Tensor, sigma: Tensor, text: Tensor, aspect: Tensor) -> Tensor:
        """Estimate of the clean tokens."""
        by = scales(sigma, SIGMA_DATA, x.ndim)
        return by.skip * x + by.out * self(by.into * x, by.noise, text, aspect)
