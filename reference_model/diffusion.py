"""Denoising diffusion as Karras et al. write it (EDM, arXiv:2206.00364): preconditioning, training loss, Euler sampler.

`denoise` functions map (noisy sample, sigma per row) to an estimate of the clean sample. Training and probing use this
module alone; the pipeline samples with the schedulers of diffusers, which a test holds to the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

Denoiser = Callable[[Tensor, Tensor], Tensor]


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Treat numbers below 1e-38 as zero: they change no pixel and cost a CPU hundreds of cycles.

    The processor's state is given back as it was: other code of the process may rely on IEEE arithmetic.
    """
    before = not torch.tensor([1e-40]).mul(1.0).item()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


class Scales(NamedTuple):
    """EDM's c_skip, c_out, c_in and c_noise, shaped to multiply a sample."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


def scales(sigma: Tensor, sigma_data: float, ndim: int) -> Scales:
    """Preconditioning factors for noise levels sigma (B,) and samples of `ndim` dimensions."""
    wide = sigma.view(-1, *([1] * (ndim - 1)))
    total = wide**2 + sigma_data**2
    return Scales(sigma_data**2 / total, wide * sigma_data / total.sqrt(), total.rsqrt(), sigma.log() / 4)


def draw_sigma(count: int, mean: float, spread: float, generator: torch.Generator) -> Tensor:
    """Log-normal noise levels (B,)."""
    return (torch.randn(count, generator=generator) * spread + mean).exp()


def clip_noise(shape: Sequence[int], generator: torch.Generator, shared: float = 0.5) -> Tensor:
    """Gaussian noise (B, T, ...) of unit variance, of which the share `shared` is the same in all frames of a clip.

    Frames that start from related noise settle on the same look where the prompt leaves it open (Ge et al., "Preserve
    Your Own Correlation", arXiv:2305.10474).
    """
    own = torch.randn(tuple(shape), generator=generator)
    common = torch.randn(shape[0], 1, *shape[2:], generator=generator)
    return math.sqrt(1 - shared) * own + math.sqrt(shared) * common


def karras_sigmas(steps: int, low: float, high: float, rho: float = 7.0) -> Tensor:
    """Falling noise levels (steps + 1,), the last one 0."""
    ramp = torch.linspace(0, 1, steps) if steps > 1 else torch.zeros(1)
    levels = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return torch.cat([levels, torch.zeros(1)])


def sample_euler(denoise: Denoiser, noise: Tensor, sigmas: Tensor) -> Tensor:
    """Deterministic Euler sampling from `noise` of unit variance (times the first sigma)."""
    x = noise * sigmas[0]
    for here, there in pairwise(sigmas):
        clean = denoise(x, here.expand(len(x)))
        x = x + (x - clean) * ((there - here) / here)
    return x


class NoiseLevel(nn.Module):
    """Fourier features of c_noise, then two layers."""

    def __init__(self, width: int, features: int = 64) -> None:
        super().__init__()
        self.register_buffer(
            "frequency", torch.exp(torch.linspace(math.log(0.5), math.log(40.0), features // 2))
        )
        self.layers = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, noise: Tensor) -> Tensor:
        """Noise (B,) to (B, width)."""
        angles = noise[:, None] * self.frequency
        return self.layers(torch.cat([angles.sin(), angles.cos()], 1))  # type: ignore[no-any-return]
