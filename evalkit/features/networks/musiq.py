"""MUSIQ, a transformer that rates a picture's technical quality at several scales at once.

Laid out as the checkpoints of IQA-PyTorch name it (`musiq_spaq_ckpt-358bb6af.pth`). Sizes are read off the checkpoint.

Source: Ke et al., MUSIQ: Multi-scale image quality transformer, ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.errors import EvalkitError
from evalkit.features.networks.image import load_into
from evalkit.weights import load_state

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Musiq", "load_musiq"]

_PATCH, _GRID, _HEADS = 32, 10, 6
_LONGER_SIDES = (224, 384)  # the two reduced scales; the third is the picture itself


def _same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zero padding that gives `ceil(side / stride)` places, the odd pixel at the far end."""
    pads: list[int] = []
    for side in (x.shape[-1], x.shape[-2]):
        total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class _StandardConv(nn.Conv2d):
    """Convolution whose kernels are standardised: mean 0, standard deviation 1."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels_in, channels_out, kernel, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(_same(x, self.kernel_size[0], self.stride[0]), weight, None, self.stride)


class _Bottleneck(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1, self.gn1 = _StandardConv(channels_in, channels_in, 1), _norm(channels_in)
        self.conv2, self.gn2 = _StandardConv(channels_in, channels_in, 3), _norm(channels_in)
        self.conv3, self.gn3 = _StandardConv(channels_in, channels_out, 1), _norm(channels_out)
        self.conv_proj, self.gn_proj = _StandardConv(channels_in, channels_out, 1), _norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.gn1(self.conv1(x)))
        inner = F.relu(self.gn2(self.conv2(inner)))
        return F.relu(self.gn3(self.conv3(inner)) + self.gn_proj(self.conv_proj(x)))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-4)


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        parts = [
            layer(x).unflatten(-1, (_HEADS, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        return cast(Tensor, self.out(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)))


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
        self.attention, self.mlp = _Attention(width), _Mlp(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class _Named(nn.Module):
    """Holds one parameter under a name of the checkpoint."""

    def __init__(self, name: str, *shape: int) -> None:
        super().__init__()
        self.register_parameter(name, nn.Parameter(torch.zeros(*shape)))


class _Encoder(nn.Module):
    def __init__(self, width: int, inner: int, layers: int) -> None:
        super().__init__()
        self.posembed_input = _Named("position_emb", 1, _GRID * _GRID, width)
        self.scaleembed_input = _Named("scale_emb", len(_LONGER_SIDES) + 1, width)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.transformer = nn.ModuleDict({f"encoderblock_{k}": _Block(width, inner) for k in range(layers)})

    def forward(self, x: Tensor, places: Tensor, scales: Tensor) -> Tensor:
        x = x + cast(Tensor, self.posembed_input.position_emb)[0, places]
        x = x + cast(Tensor, self.scaleembed_input.scale_emb)[scales]
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1)
        for block in self.transformer.values():
            x = block(x)
        return cast(Tensor, self.encoder_norm(x))


class Musiq(nn.Module):
    """Frames `(n, 3, H, W)` in 0..1 to quality `(n,)`, on the scale of its training set (SPAQ: 0..100).

    Args:
        width: of a token; 384 as published.
        inner: of the blocks' perceptrons; 1152 as published.
        layers: 14 as published.
    """

    def __init__(self, width: int = 384, inner: int = 1152, layers: int = 14) -> None:
        super().__init__()
        self.conv_root, self.gn_root = _StandardConv(3, 64, 7, 2), nn.GroupNorm(32, 64, eps=1e-6)
        self.block1 = _Bottleneck(64, 256)
        self.embedding = nn.Linear(256 * (_PATCH // 4) ** 2, width)
        self.transformer_encoder = _Encoder(width, inner, layers)
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = 2 * x - 1
        height, width = x.shape[-2:]
        tokens, places, scales = [], [], []
        for scale, longer in enumerate((*_LONGER_SIDES, None)):
            picture = x
            if longer is not None:
                ratio = longer / max(height, width)
                size = (round(height * ratio), round(width * ratio))
                picture = F.interpolate(x, size, mode="bicubic", align_corners=False)
            rows, columns = (-(-side // _PATCH) for side in picture.shape[-2:])
            patches = F.unfold(_same(picture, _PATCH, _PATCH), _PATCH, stride=_PATCH).transpose(1, 2)
            tokens.append(self._embed(patches))
            down, across = (torch.arange(count) * _GRID // count for count in (rows, columns))
            places.append((down[:, None] * _GRID + across).flatten())
            scales.append(torch.full((rows * columns,), scale))
        # The published code pads short sequences with tokens that no other attends to: left out, nothing changes.
        seen = self.transformer_encoder(torch.cat(tokens, 1), torch.cat(places), torch.cat(scales))
        return cast(Tensor, self.head(seen[:, 0])[:, 0])

    def _embed(self, patches: Tensor) -> Tensor:
        count, length = patches.shape[:2]
        x = F.relu(self.gn_root(self.conv_root(patches.reshape(-1, 3, _PATCH, _PATCH))))
        x = self.block1(F.max_pool2d(_same(x, 3, 2), 3, 2))
        return cast(Tensor, self.embedding(x.permute(0, 2, 3, 1).reshape(count, length, -1)))


def load_musiq(path: Path) -> nn.Module:
    """The network of a checkpoint, whatever its width and depth.

    Raises:
        EvalkitError: the file has another layout, or predicts a distribution instead of one score (AVA).
    """
    state: Mapping[str, Any] = load_state(path)
    prefix = "transformer_encoder.transformer.encoderblock_"
    try:
        width = len(state["embedding.weight"])
        inner = len(state[f"{prefix}0.mlp.fc1.weight"])
        heads = len(state["head.weight"])
    except KeyError as error:
        raise EvalkitError(
            f"musiq: {path} has no {error}; is it a MUSIQ checkpoint of IQA-PyTorch?"
        ) from error
    if heads != 1:
        raise EvalkitError(
            f"musiq: {path} predicts {heads} values; use a checkpoint with one score (SPAQ, KonIQ)"
        )
    names: Sequence[str] = [key.removeprefix(prefix) for key in state if key.startswith(prefix)]
    layers = 1 + max(int(name.partition(".")[0]) for name in names)
    return load_into(Musiq(width, inner, layers), path, "musiq")
