"""Words to numbers: a word-level tokenizer, prompt weights, and the text encoder that every stage shares.

The encoder is trained once, on captions alone, to say what a caption states about each object and about the scene
(`Grounding`), and then frozen, as large models freeze a language model. Its outputs are four summary vectors: one for
each of the three object slots in order of mention, and one for the whole scene.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from reference_model.world import attributes
from reference_model.world.captions import Caption
from reference_model.world.render import SLOTS

PAD, UNKNOWN = "<pad>", "<unk>"
MAX_WORDS = 40
WORD = re.compile(r"[a-z0-9]+")
WEIGHTED = re.compile(r"\(([^():]+):\s*([0-9]*\.?[0-9]+)\)")

SLOT_FACTORS: dict[str, tuple[object, ...]] = {
    "object": tuple(attributes.SHAPES),
    "colour": tuple(attributes.COLOURS),
    "size": tuple(attributes.SIZES),
    "first": tuple(attributes.MOTIONS),
    "then": tuple(attributes.MOTIONS),
}
SCENE_FACTORS: dict[str, tuple[object, ...]] = {
    "count": tuple(attributes.COUNTS),
    "background": tuple(attributes.BACKGROUNDS),
    "style": tuple(attributes.STYLES),
    "camera": tuple(attributes.CAMERAS),
    "relation": tuple(attributes.RELATIONS),
}
OPEN, ABSENT = 0, 1
"""Classes that every factor has in front of its values: the caption leaves it open; the caption rules it out."""


def split_weights(prompt: str) -> list[tuple[str, float]]:
    """A prompt as (text, weight) parts: "a (red:1.3) ball" -> [("a ", 1.0), ("red", 1.3), (" ball", 1.0)]."""
    parts: list[tuple[str, float]] = []
    end = 0
    for match in WEIGHTED.finditer(prompt):
        parts += [(prompt[end : match.start()], 1.0), (match[1], float(match[2]))]
        end = match.end()
    parts.append((prompt[end:], 1.0))
    return [(text, weight) for text, weight in parts if text.strip()]


def words_of(text: str) -> list[str]:
    """Lower-case words; punctuation is dropped."""
    return WORD.findall(text.lower())


def world_words() -> list[str]:
    """Every word that a caption of the world can hold, sorted."""
    tables: Iterable[Mapping[object, tuple[str, ...]]] = (
        attributes.SHAPES, attributes.COLOURS, attributes.SIZES, attributes.COUNTS, attributes.BACKGROUNDS,
        attributes.MOTIONS, attributes.RELATIONS, attributes.CAMERAS, attributes.STYLES,
    )  # type: ignore[assignment]  # fmt: skip
    phrases = [phrase for table in tables for group in table.values() for phrase in group]
    phrases += [attributes.plural_phrase(phrase) for group in attributes.MOTIONS.values() for phrase in group]
    phrases += [*attributes.PLURALS.values(), *attributes.BACKGROUND_PATTERNS, *attributes.EVENT_PATTERNS]
    phrases += ["a video of", "a clip of", "an", "the"]
    return sorted({word for phrase in phrases for word in words_of(re.sub(r"\{\d\}", "", phrase))})


@dataclass(frozen=True)
class Tokenizer:
    """Word-level: index 0 pads, index 1 is any unknown word."""

    words: tuple[str, ...]

    @classmethod
    def of_world(cls) -> Tokenizer:
        """The tokenizer of the world's captions."""
        return cls((PAD, UNKNOWN, *world_words()))

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """From the JSON file that `save` writes."""
        return cls(tuple(json.loads(path.read_text(encoding="utf-8"))["words"]))

    def save(self, path: Path) -> None:
        """One JSON object: {"words": [...]}."""
        path.write_text(json.dumps({"words": list(self.words)}, indent=0) + "\n", encoding="utf-8")

    def unknown(self, text: str) -> list[str]:
        """Words of `text` that the vocabulary does not hold."""
        return [word for word in words_of(text) if word not in self.words]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Token ids (B, L), padded with 0, L the longest text's length (at least 1, at most MAX_WORDS)."""
        index = {word: number for number, word in enumerate(self.words)}
        rows = [[index.get(word, 1) for word in words_of(text)][:MAX_WORDS] for text in texts]
        longest = max(1, *(len(row) for row in rows))
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


class Block(nn.Module):
    """Pre-norm transformer block with a key mask."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """X (B, L, C); bias (B, 1, 1, L) is added to the attention scores."""
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-1, -2)) * (q.shape[-1] ** -0.5) + bias
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(mixed)
        return x + self.mlp(self.norm2(x))


class TextEncoder(nn.Module):
    """Token ids (B, L) to summaries (B, SLOTS + 1, width): one for each object slot, then one for the scene."""

    def __init__(self, vocabulary: int, width: int = 128, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.settings = {"vocabulary": vocabulary, "width": width, "depth": depth, "heads": heads}
        self.token = nn.Embedding(vocabulary, width)
        self.place = nn.Parameter(torch.randn(MAX_WORDS, width) * 0.1)
        self.query = nn.Parameter(torch.randn(SLOTS + 1, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Summaries (B, SLOTS + 1, width), each of unit variance."""
        words = self.token(tokens) + self.place[: tokens.shape[1]]
        x = torch.cat([self.query.expand(len(tokens), -1, -1), words], 1)
        seen = torch.cat([tokens.new_ones(len(tokens), SLOTS + 1), tokens], 1) > 0
        bias = torch.zeros(seen.shape, device=x.device).masked_fill(~seen, -1e4)[:, None, None]
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x[:, : SLOTS + 1])


class Grounding(nn.Module):
    """Linear heads on the summaries; only for training and for looking at what the encoder understood."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.slot = nn.ModuleDict({name: nn.Linear(width, len(v) + 2) for name, v in SLOT_FACTORS.items()})
        self.scene = nn.ModuleDict({name: nn.Linear(width, len(v) + 2) for name, v in SCENE_FACTORS.items()})

    def forward(self, summaries: Tensor) -> dict[str, Tensor]:
        """Logits: slot factors (B, SLOTS, classes) and scene factors (B, classes)."""
        slots = {name: head(summaries[:, :SLOTS]) for name, head in self.slot.items()}
        return slots | {name: head(summaries[:, SLOTS]) for name, head in self.scene.items()}


def grounding_targets(captions: Sequence[Caption]) -> dict[str, Tensor]:
    """Class indices for `Grounding`: what each caption states, leaves OPEN, or rules out (ABSENT)."""
    targets = {name: torch.zeros(len(captions), SLOTS, dtype=torch.long) for name in SLOT_FACTORS}
    targets |= {name: torch.zeros(len(captions), dtype=torch.long) for name in SCENE_FACTORS}
    for row, caption in enumerate(captions):
        expect = caption.expect
        for name, values in SCENE_FACTORS.items():
            if name in expect:
                targets[name][row] = values.index(expect[name]) + 2
        if caption.text and not caption.fragment and "relation" not in expect:
            targets["relation"][row] = ABSENT
        if caption.text and "relation" in expect:
            targets["count"][row] = ABSENT
        for slot in range(SLOTS):
            _slot_targets(targets, row, slot, caption)
    return targets


def _slot_targets(targets: dict[str, Tensor], row: int, slot: int, caption: Caption) -> None:
    expect = caption.expect
    if caption.fragment or not caption.text:
        stated = expect if slot == 0 else {}
    elif "relation" in expect:
        stated = (
            expect if slot == 0 else {"object": expect["second_object"], "colour": expect["second_colour"]}
        )
        if slot == 2:
            stated = None
    else:
        count = expect.get("count", 1)
        stated = expect if isinstance(count, int) and slot < count else None
    for name, values in SLOT_FACTORS.items():
        if stated is None:
            targets[name][row, slot] = ABSENT
        elif name == "first":
            motion = stated["events"][0] if "events" in stated else stated.get("motion")  # type: ignore[index]
            targets[name][row, slot] = OPEN if motion is None else values.index(motion) + 2
        elif name == "then":
            events = stated.get("events")
            targets[name][row, slot] = values.index(events[1]) + 2 if events else OPEN  # type: ignore[index]
        elif name in stated:
            targets[name][row, slot] = values.index(stated[name]) + 2


def encode_prompts(encoder: TextEncoder, tokenizer: Tokenizer, prompts: Sequence[str]) -> Tensor:
    """Summaries (B, SLOTS + 1, width) of prompts with `(words:weight)`.

    A weight w moves the summary along the difference that the words make: s + (w - 1) (s - s_without), s_without being
    the prompt with the words replaced by unknown ones; w = 1 changes nothing, w = 0 takes their meaning away.
    """
    device = next(encoder.parameters()).device
    rows = []
    for prompt in prompts:
        parts = split_weights(prompt)
        plain = " ".join(text for text, _ in parts)
        summary = encoder(tokenizer([plain]).to(device))[0]
        moved = summary
        for index, (text, weight) in enumerate(parts):
            if weight != 1.0:
                masked = " ".join(
                    " ".join(["unknownword"] * len(words_of(text))) if place == index else other
                    for place, (other, _) in enumerate(parts)
                )
                moved = moved + (weight - 1.0) * (summary - encoder(tokenizer([masked]).to(device))[0])
        rows.append(moved)
    return torch.stack(rows)
