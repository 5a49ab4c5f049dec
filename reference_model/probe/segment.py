"""Which pixels are ground and which are objects, from pixels and the world's palette alone.

Analytic: no learned weights, and it never sees a prompt. Clips are float arrays (T, H, W, 3) in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reference_model.world.render import GROUNDS, PALETTE

Array = NDArray[np.float64]

PATTERN_SHARE = {"checkered": 0.5, "dotted": 0.229, "grid": 0.36}
"""Share of the second tone of each pattern."""
SHADED = 0.65
"""Darker tone of an object in pixel art."""
GRADINGS = ("plain", "sepia", "night")
TOLERANCE = {"plain": 0.10, "sepia": 0.045, "night": 0.035}


def grade(colour: Array, grading: str) -> Array:
    """The colour (..., 3) under a grading, as the world defines its styles."""
    if grading == "sepia":
        gray = colour @ np.array([0.299, 0.587, 0.114])
        return 0.2 * colour + 0.8 * gray[..., None] * np.array([1.0, 0.80, 0.55])
    if grading == "night":
        return colour * np.array([0.30, 0.34, 0.50]) + np.array([0.0, 0.01, 0.06])
    return colour


@lru_cache(maxsize=3)
def palette(grading: str) -> tuple[Array, Array]:
    """Graded colours (8, 3) and their darker tones."""
    base = np.array(list(PALETTE.values()))
    return grade(base, grading), grade(base * SHADED, grading)


@dataclass(frozen=True)
class Segmentation:
    """The likeliest background and grading of a clip and what follows from them."""

    background: str
    grading: str
    mask: NDArray[np.bool_]
    """(T, H, W): object pixels."""
    pattern: Array
    """(T, H, W): 0 on the ground's first tone, 1 on its second."""
    label: NDArray[np.int64]
    """(T, H, W): index of the colour of object pixels, -1 elsewhere."""


def segment(clip: Array) -> Segmentation:
    """Finds background and grading by how well their tones and the palette explain all pixels."""
    sample = clip[:: max(1, len(clip) // 6)].reshape(-1, 3)
    _, background, grading = max(
        (_evidence(sample, background, grading), background, grading)
        for grading in GRADINGS
        for background in GROUNDS
    )
    distance, pattern = ground_distance(clip, background, grading)
    mask = distance > 0.5 * _contrast(clip, distance, TOLERANCE[grading])
    mask &= distance > TOLERANCE[grading]
    mask = np.stack([_without_specks(frame) for frame in mask])
    return Segmentation(background, grading, mask, pattern, _colours(clip, mask, grading))


def tones(background: str, grading: str) -> Array:
    """The two graded tones (2, 3) of a background."""
    return grade(np.array(GROUNDS[background])[:, None].repeat(3, 1), grading)


def ground_distance(pixels: Array, background: str, grading: str) -> tuple[Array, Array]:
    """Distance of pixels (..., 3) from the segment between the two tones, and the place on it."""
    first, second = tones(background, grading)
    along = second - first
    length = float(along @ along)
    place = np.clip((pixels - first) @ along / length, 0, 1) if length > 1e-9 else np.zeros(pixels.shape[:-1])
    return np.linalg.norm(pixels - (first + place[..., None] * along), axis=-1), place


def _evidence(sample: Array, background: str, grading: str) -> float:
    tolerance = TOLERANCE[grading]
    distance, place = ground_distance(sample, background, grading)
    ground = distance < tolerance
    if ground.mean() < 0.25:
        return float(ground.mean()) - 1
    surprise = abs(place[ground].mean() - PATTERN_SHARE[background]) if background in PATTERN_SHARE else 0.0
    crisp = np.median(np.abs(place[ground] - 0.5)) if background in PATTERN_SHARE else 0.5
    objects = sample[~ground]
    known = 0.0
    if len(objects):
        every = np.concatenate(palette(grading))
        nearest = np.linalg.norm(objects[:, None] - every[None], axis=-1).min(1)
        known = float((nearest < 1.5 * tolerance).mean())
    closeness = float(np.exp(-distance[ground].mean() / (0.3 * tolerance)))
    return (
        float(ground.mean())
        - 2.0 * surprise
        + 0.4 * (crisp - 0.5)
        + 0.25 * known * min(1, len(objects) / 80)
        + 0.3 * closeness
    )


def _contrast(clip: Array, distance: Array, tolerance: float) -> Array:
    """What a fully covered object pixel differs from the ground by, per frame (T, 1, 1)."""
    values = []
    for frame in distance:
        far = frame[frame > tolerance]
        values.append(np.median(far) if len(far) >= 4 else tolerance)
    return np.array(values)[:, None, None]


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    smallest = max(4, round(mask.size * 0.0025))
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = ndimage.sum_labels(mask, labels, np.arange(1, count + 1))
    return np.isin(labels, np.flatnonzero(sizes >= smallest) + 1)


def _colours(clip: Array, mask: NDArray[np.bool_], grading: str) -> NDArray[np.int64]:
    """Every object pixel gets the nearest of the colours that the clip's objects clearly have."""
    label = np.full(mask.shape, -1, np.int64)
    if not mask.any():
        return label
    bright, dark = palette(grading)
    pixels = clip[mask]
    distances = np.minimum(
        np.linalg.norm(pixels[:, None] - bright[None], axis=-1),
        np.linalg.norm(pixels[:, None] - dark[None], axis=-1) * 1.15,
    )
    nearest = distances.argmin(1)
    sure = distances.min(1) < 2 * TOLERANCE[grading]
    inner = np.stack([ndimage.binary_erosion(frame) for frame in mask])[mask]
    votes = (
        np.bincount(nearest[sure & inner], minlength=len(bright))
        if (sure & inner).any()
        else np.bincount(nearest, minlength=len(bright))
    )
    present = np.flatnonzero(votes >= max(3, 0.16 * votes.sum()))
    if len(present) == 0:
        present = np.array([votes.argmax()])
    if len(present) > 2:
        present = np.argsort(votes)[-2:]
    label[mask] = present[distances[:, present].argmin(1)]
    if len(present) > 1:
        certain = np.zeros(mask.shape, bool)
        certain[mask] = distances[:, present].min(1) < 2 * TOLERANCE[grading]
        # Before `_apart`: an outline is nearest to the same colour around all objects.
        label = _spread(label, mask, certain)
        if not _apart(label, (int(present[0]), int(present[1]))):
            # A rim or a tint, not a second object.
            label[mask] = present[votes[present].argmax()]
    return label


def _apart(label: NDArray[np.int64], colours: tuple[int, int]) -> bool:
    """Whether two colours lie side by side in a quarter of the frames, as two objects do.

    Two discs that touch have their centroids as far apart as their radii together; the halves of one disc .6 of that.
    """
    apart = 0
    for frame in label:
        places = [np.argwhere(frame == colour) for colour in colours]
        if min(map(len, places)) == 0:
            continue
        gap = np.linalg.norm(places[0].mean(0) - places[1].mean(0))
        apart += bool(gap > 0.8 * sum(np.sqrt(len(place) / np.pi) for place in places))
    return apart >= 0.25 * len(label)


def _spread(
    label: NDArray[np.int64], mask: NDArray[np.bool_], certain: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Pixels of unsure colour (edges, outlines) take the label of the nearest sure one."""
    result = label.copy()
    for frame in range(len(label)):
        if not certain[frame].any():
            continue
        _, (rows, columns) = ndimage.distance_transform_edt(~certain[frame], return_indices=True)
        result[frame] = np.where(mask[frame], label[frame][rows, columns], -1)
    return result
