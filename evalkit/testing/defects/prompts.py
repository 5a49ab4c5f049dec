"""Prompts that do not belong to their clips."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

__all__ = ["wrong_prompts"]


def wrong_prompts(prompts: Sequence[str], strength: float = 1.0, *, seed: int = 0) -> list[str]:
    """For every prompt one that is wrong for its clip, taken from the other prompts.

    Each prompt is paired with another one (nobody keeps their own). At strength 1 it is replaced by it;
    below, that share of its words is, at places that the seed draws, so that weaker levels change a subset
    of what stronger ones change.

    Args:
        prompts: at least two different texts.
        strength: 0 (unchanged) to 1.
        seed: decides pairs and places.

    Raises:
        ValueError: fewer than two different prompts, or strength outside [0, 1].

    >>> wrong_prompts(["a red ball", "two blue cubes"])
    ['two blue cubes', 'a red ball']
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie in [0, 1], got {strength}")
    if len(set(prompts)) < 2:
        raise ValueError("at least two different prompts are needed to mix them up")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(prompts), generator=generator).tolist()
    partner: dict[int, str] = {}
    for place, index in enumerate(order):
        # The next prompt round the circle that says something else: equal texts may occur more than once.
        others = (prompts[order[(place + step) % len(order)]] for step in range(1, len(order)))
        partner[index] = next(text for text in others if text != prompts[index])
    if strength == 1:
        return [partner[index] for index in range(len(prompts))]
    mixed = []
    for index, prompt in enumerate(prompts):
        words, foreign = prompt.split(), partner[index].split()
        places = torch.randperm(len(words), generator=generator).tolist()
        for place in places[: math.ceil(strength * len(words))]:
            words[place] = foreign[place % len(foreign)]
        mixed.append(" ".join(words))
    return mixed
