"""VideoMAE-v2's giant transformer as fine-tuned on Something-Something-v2: the features behind cd-fvd.

Laid out as the published checkpoint names it (`vit_g_hybrid_pt_1200e_ssv2_ft.pth`). Sizes are read off the checkpoint,
except for the number of heads, which it does not hold: 16, the giant's.

Source: Wang et al., VideoMAE V2: Scaling video masked autoencoders with dual masking, CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.errors import EvalkitError
from evalkit.features.networks.image import load_into
from evalkit.weights import load_state

__all__ = ["Sizes", "VideoMAE2", "load_videomae2"]

_HEADS = 16


class Sizes(NamedTuple):
    """What a checkpoint tells of its network; the defaults are the giant's."""

    width: int = 1408
    inner: int = 6144
    layers: int = 40
    tubelet: int = 2
    patch: int = 14
    classes: int = 174


def _positions(count: int, width: int) -> Tensor:
    """Sines and cosines of `position / 10000^(2 (j // 2) / width)`, sines in the even columns; `(count, width)`."""
    column = torch.arange(width, dtype=torch.float64)
    place = torch.arange(count, dtype=torch.float64)[:, None]
    angle = place / 10000 ** (2 * (column // 2) / width)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


class _Attention(nn.Module):
    """Self-attention whose keys have no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        parts = F.linear(x, self.qkv.weight, bias).reshape(*x.shape[:2], 3, _HEADS, -1).permute(2, 0, 3, 1, 4)
        return cast(Tensor, self.proj(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)))


class _Mlp(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.fc2(F.gelu(self.fc1(x))))


class _Block(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = _Attention(width), _Mlp(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class _Patches(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        kernel = (sizes.tubelet, sizes.patch, sizes.patch)
        self.proj = nn.Conv3d(3, sizes.width, kernel, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.proj(x).flatten(2).transpose(1, 2))


class VideoMAE2(nn.Module):
    """Windows `(n, 3, T, h, w)` in 0..1 to features `(n, width)`: the normalised mean over all tokens.

    Args:
        sizes: of the network.
    """

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.patch_embed = _Patches(sizes)
        self.blocks = nn.ModuleList([_Block(sizes.width, sizes.inner) for _ in range(sizes.layers)])
        self.fc_norm = nn.LayerNorm(sizes.width, eps=1e-6)
        self.head = nn.Linear(sizes.width, sizes.classes)  # in the file; cd-fvd stops before it

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed(x)
        tokens = tokens + _positions(*tokens.shape[1:]).to(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        return cast(Tensor, self.fc_norm(tokens.mean(1)))


def load_videomae2(path: Path) -> nn.Module:
    """The network of a checkpoint, whatever its width and depth.

    Raises:
        EvalkitError: the file has another layout.
    """
    state: Mapping[str, Any] = load_state(path)
    try:
        width, _, tubelet, patch, _ = state["patch_embed.proj.weight"].shape
        inner, classes = len(state["blocks.0.mlp.fc1.weight"]), len(state["head.weight"])
    except (KeyError, ValueError) as error:
        raise EvalkitError(
            f"videomae-v2-g: {path} is no fine-tuned VideoMAE-v2 ({error}); use the published "
            "vit_g_hybrid_pt_1200e_ssv2_ft.pth or a file of its layout"
        ) from error
    if width % (2 * _HEADS):
        raise EvalkitError(f"videomae-v2-g: {path} has a width of {width}, which {_HEADS} heads cannot share")
    layers = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
    return load_into(VideoMAE2(Sizes(width, inner, layers, tubelet, patch, classes)), path, "videomae-v2-g")
