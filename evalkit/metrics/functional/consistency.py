"""Consistency of feature vectors over time, and similarity to a text."""

from __future__ import annotations

import torch
from torch.nn import functional as F

__all__ = ["clip_consistency", "feature_consistency", "prompt_rank", "prompt_similarity"]


def feature_consistency(features: torch.Tensor) -> torch.Tensor:
    """How like its predecessor and the first frame every frame is.

    `s[t] = 1/2 [max(0, cos(f[t-1], f[t])) + max(0, cos(f[0], f[t]))]` for t >= 1 (VBench's formula).

    Args:
        features: `(T, D)`, T >= 2.

    Returns:
        float64 `(T-1,)` in 0..1.

    Example:
        >>> import torch
        >>> feature_consistency(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).tolist()
        [1.0, 0.0]
    """
    unit = F.normalize(features.double(), dim=-1)
    previous = (unit[1:] * unit[:-1]).sum(-1).clamp(min=0)
    first = (unit[1:] * unit[:1]).sum(-1).clamp(min=0)
    return ((previous + first) / 2).clamp(max=1)


def clip_consistency(features: torch.Tensor) -> torch.Tensor:
    """Cosine of neighbouring frames' features, float64 `(T-1,)` in -1..1.

    Args:
        features: `(T, D)`, T >= 2.

    Example:
        >>> import torch
        >>> clip_consistency(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])).tolist()
        [1.0, 0.0]
    """
    unit = F.normalize(features.double(), dim=-1)
    return (unit[1:] * unit[:-1]).sum(-1).clamp(-1, 1)


def prompt_similarity(features: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """100 times the cosine of every row of `features` `(n, D)` with `text` `(D,)`, float64 `(n,)`.

    Example:
        >>> import torch
        >>> prompt_similarity(torch.tensor([[3.0, 4.0], [0.0, -1.0]]), torch.tensor([0.0, 2.0])).round().tolist()
        [80.0, -100.0]
    """
    return 100 * F.normalize(features.double(), dim=-1) @ F.normalize(text.double(), dim=0)


def prompt_rank(clip: torch.Tensor, texts: torch.Tensor, own: int) -> tuple[int, float]:
    """Place of a clip's own prompt among all prompts.

    Args:
        clip: the clip's embedding, `(D,)`.
        texts: embeddings of the prompts, `(n, D)`, n >= 2.
        own: index of the clip's own prompt.

    Returns:
        Rank, 1 being best (a tie counts half against), rounded up; and the margin: the own prompt's cosine minus the
        best other one's.

    Example:
        >>> import torch
        >>> prompt_rank(torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 1)
        (1, 1.0)
    """
    similarity = F.normalize(texts.double(), dim=-1) @ F.normalize(clip.double(), dim=0)
    mine = similarity[own]
    others = torch.cat([similarity[:own], similarity[own + 1 :]])
    better = int((others > mine).sum())
    ties = int((others == mine).sum())
    return 1 + better + (ties + 1) // 2, float(mine - others.max())
