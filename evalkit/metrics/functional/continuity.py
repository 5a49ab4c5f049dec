"""Change that motion does not explain: jumps, and what is taken away only to be given back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from evalkit.metrics.functional.flow import inside_mask, warp

__all__ = ["TakenBack", "discontinuity", "taken_back", "unexplained_change"]

# Detail that the eye resolves well: a Gaussian of 3 pixels of a picture 256 high, as for flicker.
_DETAIL = 3 / 256
# What is looked at in one glance: the fovea's 2 degrees of the 19 that a picture seen from three heights spans,
# as the full width at half maximum of a Gaussian (2.355 sigma).
_GLANCE = 2 / 19 / 2.355
# Share of the picture that a small subject fills; VBench's dynamic degree looks at the largest 5% as well.
_SUBJECT = 0.05
# What comes back in the very next transition is flicker, which has a metric of its own.
_SHORTEST_ABSENCE = 2


class TakenBack(NamedTuple):
    """Changes that later ones undo.

    Args:
        value: mean over all pairs of transitions at least two apart, in levels of 255.
        first, last: frames between the pair in which most is undone: there something is missing, or too much.
        strength: what that pair undoes, in levels.
    """

    value: float
    first: int
    last: int
    strength: float


def unexplained_change(planes: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """What changes in every transition beyond what the motion before it or the motion after it leads to expect.

    The frame after a transition is predicted from the frame before it by the motion that led there (constant
    velocity), and the frame before it from the frame after it by the motion that follows, backwards in time; of the
    two errors a pixel keeps the smaller one. Neither prediction uses the flow across the transition itself, which a
    jump would lead astray, and a jump spoils only one of the two predictions of its neighbours.

    Args:
        planes: luma and chroma, float32 `(T, h, w, C)` on a scale of 255, T >= 4.
        forward, backward: flow as the `flow` feature gives it, `(T-1, 2, h, w)`.

    Returns:
        Signed change of every plane, smoothed to the detail that the eye resolves, float32 `(T-1, h, w, C)`.

    Example:
        >>> import torch
        >>> planes, still = torch.zeros(8, 64, 64, 3), torch.zeros(7, 2, 64, 64)
        >>> planes[3:5, 24:40, 24:40, 0] = 100.0  # a square that is there for two frames
        >>> unexplained_change(planes, still, still)[:, 32, 32, 0].round().tolist()
        [0.0, 0.0, 100.0, 0.0, -100.0, 0.0, 0.0]
    """
    inner = planes[1:-1].contiguous()
    sigma = _DETAIL * min(planes.shape[1:3])
    onward = _smooth(planes[2:] - warp(inner, backward[:-1]), sigma)
    back = _smooth(warp(inner, forward[1:]) - planes[:-2], sigma)
    # A prediction that looks outside the picture says nothing, and leaves it to the other one.
    known, known_back = inside_mask(backward[:-1])[..., None], inside_mask(forward[1:])[..., None]
    smaller = onward[:-1].square().sum(-1, keepdim=True) <= back[1:].square().sum(-1, keepdim=True)
    ahead = (known[:-1] & smaller) | ~known_back[1:]
    middle = torch.where(ahead, onward[:-1], back[1:]) * (known[:-1] | known_back[1:])
    return torch.cat([back[:1] * known_back[:1], middle, onward[-1:] * known[-1:]])


def discontinuity(change: torch.Tensor) -> torch.Tensor:
    """Size of the unexplained change where it is largest, float64 `(T-1,)` in levels of 255.

    Root mean square within a glance (2 degrees of the field of view), mean of the largest 5% of the picture.

    Args:
        change: from `unexplained_change`.

    Example:
        >>> import torch
        >>> change = torch.zeros(2, 64, 64, 3); change[1, ..., 0] = -30.0
        >>> discontinuity(change).round().tolist()
        [0.0, 30.0]
    """
    return _largest(_energy(change).sqrt())


def taken_back(change: torch.Tensor) -> TakenBack:
    """How much of the unexplained change of one transition another, later one undoes in the same place.

    With `<a, b>` the mean product within a glance, a pair of transitions i < j undoes
    `max(0, -<c[i], c[j]>) / sqrt(max(<c[i], c[i]>, <c[j], c[j]>))` levels: all of the larger change where the
    second is the first one's opposite, nothing where the two have nothing to do with each other. Mean of the largest
    5% of the picture.

    Args:
        change: from `unexplained_change`, `(n, h, w, C)`, n >= 3.

    Example:
        >>> import torch
        >>> change = torch.zeros(7, 64, 64, 3); change[2, ..., 0], change[4, ..., 0] = 100.0, -100.0
        >>> result = taken_back(change)
        >>> result.first, result.last, round(result.strength)
        (3, 4, 100)
    """
    # Smoothed as it is, the change loses nothing on a grid of its own standard deviation.
    step = max(1, round(_DETAIL * min(change.shape[1:3])))
    change = change[:, ::step, ::step]
    count, energy = len(change), _energy(change)
    undone = np.zeros((count, count))
    for i in range(count - _SHORTEST_ABSENCE):
        later = slice(i + _SHORTEST_ABSENCE, None)
        opposite = _pooled(-(change[i] * change[later]).sum(-1)).clamp(min=0)
        size = torch.maximum(energy[i], energy[later]).sqrt()
        undone[i, later] = _largest(opposite / size.clamp(min=1e-6)).numpy()
    i, j = divmod(int(undone.argmax()), count)
    pairs = undone[np.triu_indices(count, _SHORTEST_ABSENCE)]
    return TakenBack(float(pairs.mean()), i + 1, j, float(undone[i, j]))


def _smooth(pictures: torch.Tensor, sigma: float) -> torch.Tensor:
    import cv2

    return torch.from_numpy(
        np.stack([cv2.GaussianBlur(picture, (0, 0), sigma) for picture in pictures.numpy()])
    )


def _energy(change: torch.Tensor) -> torch.Tensor:
    return _pooled(change.square().sum(-1))


def _pooled(pictures: torch.Tensor) -> torch.Tensor:
    """Means within a glance, `(n, h, w)` to about three values a standard deviation and axis."""
    sigma = _GLANCE * min(pictures.shape[1:])
    step = max(1, round(sigma / 3))
    return _smooth(pictures.contiguous(), sigma)[:, ::step, ::step]


def _largest(values: torch.Tensor) -> torch.Tensor:
    flat = values.double().flatten(1)
    return flat.topk(max(1, round(_SUBJECT * flat.shape[1])), dim=1).values.mean(1)
