"""Encoders of the world for judging: a text-video dual encoder and an attribute classifier, on one video trunk.

They share nothing with the generator: own networks, own text tower, own seed. The classifier's penultimate features
serve the Frechet distance on the world; the dual encoder scores how well a clip and a prompt agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from reference_model.text import Grounding, TextEncoder, Tokenizer, split_weights
from reference_model.world import attributes

FRAMES, SIZE = 16, 32
FEATURES, CONTRAST = 256, 128
FOLDER = Path(__file__).resolve().parent / "weights" / "encoders"

FACTORS: dict[str, tuple[object, ...]] = {
    "object": tuple(attributes.SHAPES),
    "colour": tuple(attributes.COLOURS),
    "size": tuple(attributes.SIZES),
    "count": tuple(attributes.COUNTS),
    "motion": tuple(attributes.MOTIONS),
    "then": tuple(attributes.MOTIONS),
    "relation": tuple(attributes.RELATIONS),
    "second_object": tuple(attributes.SHAPES),
    "second_colour": tuple(attributes.COLOURS),
    "background": tuple(attributes.BACKGROUNDS),
    "camera": tuple(attributes.CAMERAS),
    "style": tuple(attributes.STYLES),
}

EMBEDDING = CONTRAST + sum(map(len, FACTORS.values()))
CONTRAST_SHARE = 0.3
"""Share of the cosine that the contrastive half of an embedding has; the rest compares attributes."""


def prepare(frames: Tensor) -> Tensor:
    """A clip uint8 (T, 3, H, W) as the trunk reads it: (FRAMES, 3, SIZE, SIZE) in [-1, 1].

    Frames are picked evenly (repeated in short clips) and averaged down to SIZE x SIZE, whatever the aspect.
    """
    index = torch.linspace(0, len(frames) - 1, FRAMES).round().long()
    chosen = frames[index].float() / 127.5 - 1
    if chosen.shape[-2] >= SIZE and chosen.shape[-1] >= SIZE:
        return F.adaptive_avg_pool2d(chosen, (SIZE, SIZE))
    return F.interpolate(chosen, (SIZE, SIZE), mode="bilinear", align_corners=False)


class Step(nn.Module):
    """Convolution in space, then in time, each with normalisation."""

    def __init__(self, inside: int, outside: int, stride: int, time_stride: int) -> None:
        super().__init__()
        self.space = nn.Conv2d(inside, outside, 3, stride, 1)
        self.norm1, self.norm2 = nn.GroupNorm(8, outside), nn.GroupNorm(8, outside)
        self.time = nn.Conv1d(outside, outside, 3, time_stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        """X (B, T, C, H, W)."""
        batch = len(x)
        h = F.silu(self.norm1(self.space(x.flatten(0, 1))))
        frames, (channels, height, width) = len(h) // batch, h.shape[1:]
        rows = h.view(batch, frames, channels, -1).permute(0, 3, 2, 1).reshape(-1, channels, frames)
        mixed = self.time(rows)
        mixed = mixed.view(batch, height * width, channels, -1).permute(0, 3, 2, 1)
        mixed = mixed.reshape(-1, channels, height, width)
        mixed = F.silu(self.norm2(mixed)).view(batch, -1, channels, height, width)
        return mixed + h.view(batch, frames, channels, height, width)[:, :: frames // mixed.shape[1]]


class WorldEncoder(nn.Module):
    """Video trunk with attribute heads and embedding, and the text tower."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            [Step(5, 32, 2, 1), Step(32, 64, 2, 1), Step(64, 64, 1, 2), Step(64, 96, 2, 2)]
        )
        self.reduce = nn.Conv2d(96, 32, 1)
        self.feature = nn.Sequential(nn.Linear(32 * 4 * 4 * 4, FEATURES), nn.LayerNorm(FEATURES), nn.SiLU())
        self.heads = nn.ModuleDict(
            {name: nn.Linear(FEATURES, len(values)) for name, values in FACTORS.items()}
        )
        self.video_embedding = nn.Linear(FEATURES, CONTRAST)
        self.text = TextEncoder(vocabulary, width=96, depth=2, heads=4)
        self.grounding = Grounding(96)
        self.text_embedding = nn.Sequential(nn.Linear(4 * 96, 256), nn.SiLU(), nn.Linear(256, CONTRAST))
        self.temperature = nn.Parameter(torch.tensor(2.5))
        ramp = torch.linspace(-1, 1, SIZE)
        self.register_buffer(
            "place", torch.stack(torch.meshgrid(ramp, ramp, indexing="xy")), persistent=False
        )

    def features(self, clips: Tensor) -> Tensor:
        """Clips (B, FRAMES, 3, SIZE, SIZE) to features (B, FEATURES)."""
        place = self.place.expand(*clips.shape[:2], -1, -1, -1)
        x = torch.cat([clips, place], 2)
        for step in self.steps:
            x = step(x)
        return self.feature(self.reduce(x.flatten(0, 1)).view(len(clips), -1))  # type: ignore[no-any-return]

    def contrast_clips(self, features: Tensor) -> Tensor:
        """Unit vectors (B, CONTRAST) of clips' features, trained by contrast with captions."""
        return F.normalize(self.video_embedding(features), dim=-1)

    def contrast_texts(self, summaries: Tensor) -> Tensor:
        """Unit vectors (B, CONTRAST) of the text tower's summaries."""
        return F.normalize(self.text_embedding(summaries.flatten(1)), dim=-1)

    def embed_features(self, features: Tensor) -> Tensor:
        """Unit vectors (B, EMBEDDING) of clips' features: contrast, and what the attribute heads see."""
        seen = [head(features).softmax(-1) for head in self.heads.values()]
        return _joined(
            self.contrast_clips(features), torch.cat([part - 1 / part.shape[-1] for part in seen], -1)
        )

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Unit vectors (B, EMBEDDING) of captions: contrast, and what the text tower reads as stated."""
        summaries = self.text(tokens)
        logits = self.grounding(summaries)
        shares = {name: value.softmax(-1) for name, value in logits.items()}
        first = {name: shares[name][:, 0] for name in ("object", "colour", "size", "first", "then")}
        motion = first["first"][:, 2:]
        related = shares["relation"][:, 2:].sum(-1, keepdim=True)
        said = {
            "object": first["object"][:, 2:],
            "colour": first["colour"][:, 2:],
            "size": first["size"][:, 2:],
            "count": shares["count"][:, 2:],
            "motion": motion,
            # A caption with one motion says that it is the last one, too.
            "then": first["then"][:, 2:] + first["then"][:, :1] * motion,
            "relation": shares["relation"][:, 2:],
            "second_object": shares["object"][:, 1, 2:] * related,
            "second_colour": shares["colour"][:, 1, 2:] * related,
            **{name: shares[name][:, 2:] for name in ("background", "camera", "style")},
        }
        parts = [said[name] - said[name].mean(-1, keepdim=True) for name in FACTORS]
        return _joined(self.contrast_texts(summaries), torch.cat(parts, -1))


def _joined(contrast: Tensor, stated: Tensor) -> Tensor:
    """Both halves of an embedding, each a unit vector, weighed so that the whole is one."""
    return torch.cat(
        [CONTRAST_SHARE**0.5 * contrast, (1 - CONTRAST_SHARE) ** 0.5 * F.normalize(stated, dim=-1)], -1
    )


def embed_texts(model: WorldEncoder, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Unit vectors (B, EMBEDDING); weights in prompts are ignored."""
    plain = [" ".join(part for part, _ in split_weights(text)) for text in texts]
    return torch.cat([model.embed_tokens(tokenizer([text])) for text in plain])


def load_encoder(folder: Path = FOLDER) -> tuple[WorldEncoder, Tokenizer]:
    """The shipped encoder after its digest has been checked, and its tokenizer."""
    path = folder / "model.safetensors"
    expected = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["sha256"][
        "model.safetensors"
    ]
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path}: sha256 {found} is not {expected} of manifest.json; install the package again"
        )
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    model = WorldEncoder(len(tokenizer.words))
    state = {
        name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()
    }
    model.load_state_dict(state)
    return model.eval().requires_grad_(requires_grad=False), tokenizer
