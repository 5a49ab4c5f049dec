"""ViCLIP: a CLIP whose picture tower attends over space and time together.

Laid out as the published checkpoint names it (`ViClip-InternVid-10M-FLT.pth`). Sizes are read off the checkpoint; heads
have 64 values each, as in CLIP.

Source: Wang et al., InternVid: A large-scale video-text dataset, ICLR 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from evalkit.errors import EvalkitError
from evalkit.features.networks.image import load_into
from evalkit.weights import load_state

__all__ = ["Sizes", "ViClip", "load_viclip", "tokenise"]

_HEAD = 64


class Sizes(NamedTuple):
    """What a checkpoint tells of its network; the defaults are those of the published ViT-L/14."""

    width: int = 1024
    layers: int = 24
    patch: int = 14
    places: int = 257  # a class token and 16 x 16 patches
    frames: int = 8
    text_width: int = 768
    text_layers: int = 12
    words: int = 32
    vocabulary: int = 49408
    out: int = 768


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // _HEAD, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        seen = self.ln_1(x)
        x = x + self.attn(seen, seen, seen, need_weights=False, attn_mask=mask)[0]
        inner = self.mlp["c_fc"](self.ln_2(x))
        # OpenAI's approximation of GELU, with which CLIP was trained.
        return cast(Tensor, x + self.mlp["c_proj"](inner * torch.sigmoid(1.702 * inner)))


class _Blocks(nn.Module):
    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([_Block(width) for _ in range(layers)])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class _Vision(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        kernel = (1, sizes.patch, sizes.patch)
        self.conv1 = nn.Conv3d(3, sizes.width, kernel, kernel, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(sizes.width))
        self.positional_embedding = nn.Parameter(torch.zeros(sizes.places, sizes.width))
        self.temporal_positional_embedding = nn.Parameter(torch.zeros(1, sizes.frames, sizes.width))
        self.ln_pre, self.ln_post = nn.LayerNorm(sizes.width), nn.LayerNorm(sizes.width)
        self.transformer = _Blocks(sizes.width, sizes.layers)
        self.proj = nn.Parameter(torch.zeros(sizes.width, sizes.out))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv1(x).flatten(3).permute(0, 2, 3, 1)  # (n, T, places - 1, width)
        patches = patches + self.positional_embedding[1:]
        patches = patches + self.temporal_positional_embedding[0, :, None]
        first = (self.class_embedding + self.positional_embedding[0]).expand(len(x), 1, -1)
        tokens = self.transformer(self.ln_pre(torch.cat([first, patches.flatten(1, 2)], 1)))
        return cast(Tensor, self.ln_post(tokens[:, 0]) @ self.proj)


class _Text(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(sizes.vocabulary, sizes.text_width)
        self.positional_embedding = nn.Parameter(torch.zeros(sizes.words, sizes.text_width))
        self.transformer = _Blocks(sizes.text_width, sizes.text_layers)
        self.ln_final = nn.LayerNorm(sizes.text_width)
        self.text_projection = nn.Parameter(torch.zeros(sizes.text_width, sizes.out))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token_embedding(tokens) + self.positional_embedding
        mask = torch.full((len(self.positional_embedding),) * 2, -torch.inf, device=x.device).triu(1)
        x = self.ln_final(self.transformer(x, mask))
        # The end of the text has the largest number of all tokens.
        return cast(Tensor, x[torch.arange(len(x)), tokens.argmax(-1)] @ self.text_projection)


class ViClip(nn.Module):
    """`vision_encoder`: windows `(n, 3, 8, 224, 224)` to `(n, D)`; `text_encoder`: tokens `(n, 32)` to `(n, D)`.

    Args:
        sizes: of the network.
    """

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes or Sizes()
        self.vision_encoder, self.text_encoder = _Vision(self.sizes), _Text(self.sizes)
        self.temp = nn.Parameter(torch.zeros(()))  # of the training's loss

    @property
    def side(self) -> int:
        """Width and height of the pictures that it reads."""
        return math.isqrt(self.sizes.places - 1) * self.sizes.patch


def load_viclip(path: Path) -> ViClip:
    """The network of a checkpoint, whatever its width and depth.

    Raises:
        EvalkitError: the file has another layout.
    """
    state: Mapping[str, Any] = load_state(path)
    seen, said = "vision_encoder.", "text_encoder."
    try:
        width, _, _, patch, _ = state[f"{seen}conv1.weight"].shape
        places = len(state[f"{seen}positional_embedding"])
        frames = state[f"{seen}temporal_positional_embedding"].shape[1]
        words, text_width = state[f"{said}positional_embedding"].shape
        vocabulary, out = len(state[f"{said}token_embedding.weight"]), state[f"{seen}proj"].shape[1]
        depths = [
            1
            + max(int(key.split(".")[3]) for key in state if key.startswith(f"{tower}transformer.resblocks."))
            for tower in (seen, said)
        ]
    except (KeyError, ValueError) as error:
        raise EvalkitError(
            f"viclip: {path} is no ViCLIP ({error}); use the published ViClip-InternVid-10M-FLT.pth or a file of its "
            "layout"
        ) from error
    if width % _HEAD or text_width % _HEAD:
        raise EvalkitError(
            f"viclip: {path} has widths of {width} and {text_width}; heads have {_HEAD} values each"
        )
    sizes = Sizes(width, depths[0], patch, places, frames, text_width, depths[1], words, vocabulary, out)
    return cast(ViClip, load_into(ViClip(sizes), path, "viclip"))


def tokenise(text: str, words: int) -> Tensor:
    """CLIP's word pieces, cut at `words` with the end kept: int64 `(1, words)`."""
    from evalkit import _torchvision

    _torchvision.ensure()
    from open_clip.tokenizer import SimpleTokenizer

    return cast(Tensor, SimpleTokenizer(context_length=words)([text]).long())
