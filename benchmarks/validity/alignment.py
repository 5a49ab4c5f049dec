"""Does the embedded encoder know what a clip of the reference world shows? Retrieval, wrong prompts, swapped words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.validity.clips import world_clips
from benchmarks.validity.scoring import auc
from evalkit.features.registry import load_extractor
from evalkit.metrics.alignment import encoder_of
from evalkit.stats.intervals import wilson_interval
from evalkit.suites import Prompt, load_suite
from evalkit.testing.defects import wrong_prompts
from evalkit.video import Video

__all__ = ["Share", "alignment", "order_prompts", "side_prompts", "swap_order", "swap_sides"]

CANDIDATES = 64
_EVENTS = ("moves left", "moves right", "moves up", "moves down", "grows", "shrinks")
_THINGS = ("red circle", "blue square", "yellow star", "green triangle", "purple cross", "orange heart")


@dataclass(frozen=True)
class Share:
    """How often the encoder is right.

    Args:
        task: what was asked.
        value: share of clips.
        interval: Wilson's 95%.
        clips: how many.
        chance: share that guessing gives.
        bar: what is wanted, None where nothing is.
    """

    task: str
    value: float
    interval: tuple[float, float]
    clips: int
    chance: float
    bar: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return self.__dict__ | {"interval": list(self.interval)}


def swap_sides(text: str) -> str:
    """The text with left and right exchanged."""
    return re.sub(r"\b(left|right)\b", lambda found: {"left": "right", "right": "left"}[found[0]], text)


def swap_order(text: str) -> str:
    """The text with what happens before and after "and then" exchanged."""
    return re.sub(r"first (.+?) and then (.+?) on a", r"first \2 and then \1 on a", text)


def side_prompts() -> list[Prompt]:
    """Prompts of the core suite that say left or right and mean something else when it is exchanged."""
    return [prompt for prompt in load_suite("core").prompts if swap_sides(prompt.text) != prompt.text]


def order_prompts() -> list[Prompt]:
    """A thing does one event and then another; every ordered pair of different events once."""
    pairs = [(a, b) for a in _EVENTS for b in _EVENTS if a != b]
    return [
        Prompt(
            id=f"order-{place}",
            text=f"a {_THINGS[place % len(_THINGS)]} first {a} and then {b} on a white background",
            category="order",
        )
        for place, (a, b) in enumerate(pairs)
    ]


def alignment(seeds: Sequence[int] = (0, 1), encoder: str = "world") -> list[Share]:
    """Ask the encoder about rendered clips, whose prompts are true by construction.

    Args:
        seeds: of the rendering; every prompt is shown once a seed.
        encoder: as `alignment.retrieval` takes it.
    """
    pair = encoder_of(encoder)  # type: ignore[arg-type]
    video, text = load_extractor(pair.video), load_extractor(pair.text)

    def seen(clip: Video) -> torch.Tensor:
        features = video.extract(clip, {})["features"]
        return torch.nn.functional.normalize(features.mean(0) if features.ndim == 2 else features, dim=0)

    def said(words: str) -> torch.Tensor:
        return torch.nn.functional.normalize(text.extract(words, {})["features"], dim=0)

    every = load_suite("core").prompts
    chosen = [every[int(place * len(every) / CANDIDATES)] for place in range(CANDIDATES)]
    texts = torch.stack([said(prompt.text) for prompt in chosen])
    wrong = torch.stack([said(words) for words in wrong_prompts([prompt.text for prompt in chosen])])
    first, right, wrong_scores, falls = [], [], [], []
    for seed in seeds:
        shown = torch.stack([seen(clip) for clip in world_clips(chosen, seed=seed).values()])
        similarity = shown @ texts.T
        first += (similarity.argmax(1) == torch.arange(CANDIDATES)).tolist()
        own, other = similarity.diagonal(), (shown * wrong).sum(1)
        right += own.tolist()
        wrong_scores += other.tolist()
        falls += (other < own).tolist()

    def told_apart(prompts: list[Prompt], swap: Any) -> list[bool]:
        wins = []
        for seed in seeds:
            clips: Mapping[str, Video] = world_clips(prompts, seed=seed)
            for prompt in prompts:
                clip = seen(clips[prompt.id])
                wins.append(bool(clip @ said(prompt.text) > clip @ said(swap(prompt.text))))
        return wins

    separation = auc(wrong_scores, right)
    return [
        _share(f"own prompt first among {CANDIDATES}", first, 1 / CANDIDATES, 0.8),
        _share("score falls under another clip's prompt", falls, 0.5, None),
        Share("AUC of own against other prompts", separation, _auc_interval(wrong_scores, right), len(right), 0.5, None),
        _share("left and right told apart", told_apart(side_prompts(), swap_sides), 0.5, None),
        _share("before and after told apart", told_apart(order_prompts(), swap_order), 0.5, None),
    ]  # fmt: skip


def _share(task: str, hits: Sequence[bool], chance: float, bar: float | None) -> Share:
    low, high = wilson_interval(sum(hits), len(hits))
    return Share(task, sum(hits) / len(hits), (low, high), len(hits), chance, bar)


def _auc_interval(wrong: Sequence[float], right: Sequence[float]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    a, b = np.asarray(wrong), np.asarray(right)
    drawn = []
    for _ in range(500):
        index = rng.integers(0, len(a), len(a))
        drawn.append(auc(list(a[index]), list(b[index])))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
