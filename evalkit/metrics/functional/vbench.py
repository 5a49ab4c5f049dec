"""VBench's verdicts on what detectors, captioners and classifiers saw, flaws included. Pure: words and boxes in, shares out.

A dimension's score is the share of the sampled frames (16 of a clip) that pass; colour divides by the frames in which
the object was named with any colour.

Source: Huang et al., VBench, CVPR 2024; Vchitect/VBench, release 0.1.5.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

__all__ = [
    "color",
    "human_action",
    "middle_frames",
    "multiple_objects",
    "object_class",
    "scene",
    "spatial_relationship",
]

Box = Sequence[float]
# The colours that VBench looks for in a caption, both spellings of grey.
_COLORS = (
    *("white", "red", "pink", "blue", "silver", "purple", "orange", "green", "gray", "yellow", "black"),
    "grey",
)
# Boxes that overlap by less than this share of their union count as beside each other.
_OVERLAP = 0.1
# Probability from which on one of the five likeliest Kinetics-400 classes is what is being done.
_SURE = 0.85


def middle_frames(count: int, wanted: int) -> list[int]:
    """Frames that VBench samples: the middle one of each of `wanted` equal parts; a short clip's last one repeats.

    Args:
        count: frames of the clip, at least 1.
        wanted: frames that are sampled.

    Example:
        >>> middle_frames(16, 4), middle_frames(2, 4)
        ([1, 5, 9, 13], [0, 1, 1, 1])
    """
    parts = min(wanted, count)
    edges = [int(count * part / parts) for part in range(parts + 1)]
    middles = [(first + last - 1) // 2 for first, last in pairwise(edges)]
    return middles + middles[-1:] * (wanted - parts)


def object_class(name: str, found: Sequence[Collection[str]]) -> float:
    """Share of frames in which the object was detected.

    Args:
        name: the object.
        found: names of the objects that GRiT detected, a frame each.

    Raises:
        ValueError: no frame.

    Example:
        >>> object_class("cat", [{"cat", "sofa"}, {"dog"}])
        0.5
    """
    return _share([name in names for names in found])


def multiple_objects(first: str, second: str, found: Sequence[Collection[str]]) -> float:
    """Share of frames in which both objects were detected.

    Raises:
        ValueError: no frame.

    Example:
        >>> multiple_objects("bird", "cat", [{"bird", "cat"}, {"bird"}, {"cat"}, set()])
        0.25
    """
    return _share([first in names and second in names for names in found])


def color(wanted: str, name: str, captions: Sequence[Sequence[tuple[str, str]]]) -> float | None:
    """Frames whose caption gives the object the wanted colour, over frames whose caption gives it any.

    A caption counts by containing the word, so that "blue" is found in "a bluebird" as well.

    Args:
        wanted: the colour.
        name: the object.
        captions: a list of (caption, object) a frame, as GRiT describes what it detects.

    Returns:
        The share; None where no frame names the object with a colour: VBench leaves such clips out.

    Example:
        >>> color("red", "car", [[("a red car", "car")], [("a blue car", "car")], [("a road", "road")]])
        0.5
    """
    own = [[caption for caption, item in frame if item == name] for frame in captions]
    coloured = sum(any(word in caption for caption in frame for word in _COLORS) for frame in own)
    right = sum(any(wanted in caption for caption in frame) for frame in own)
    return right / coloured if coloured else None


def spatial_relationship(
    relation: str, first: str, second: str, found: Sequence[Sequence[tuple[str, Box]]]
) -> float:
    """Mean over frames of the best pair of boxes of the two objects.

    A pair counts 1 when its centres lie further apart along the relation's axis than across it, and `.1 / IoU` of that
    where the boxes overlap by .1 and more. Left and right, and top and bottom, are not told apart; nor are the two
    objects: two boxes of one of them will do.

    Args:
        relation: `on the left of`, `on the right of`, `on the top of` or `on the bottom of`.
        first, second: the objects.
        found: (object, (x0, y0, x1, y1)) of what was detected, a list a frame.

    Raises:
        ValueError: no frame, or another relation.

    Example:
        >>> frame = [("dog", (0, 0, 10, 10)), ("car", (20, 0, 30, 10))]
        >>> spatial_relationship("on the right of", "dog", "car", [frame, []])
        0.5
    """
    across = {"left": 0, "right": 0, "top": 1, "bottom": 1}
    words = [word for word in across if relation == f"on the {word} of"]
    if not words:
        raise ValueError(f"unknown relation {relation!r}; VBench knows: on the left|right|top|bottom of")
    scores = []
    for frame in found:
        boxes = [box for name, box in frame if name in (first, second)]
        pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]]
        scores.append(max([0.0, *(_beside(a, b, across[words[0]]) for a, b in pairs)]))
    if not scores:
        raise ValueError("there is no frame to judge")
    return sum(scores) / len(scores)


def _beside(a: Box, b: Box, axis: int) -> float:
    apart = [abs((b[k] + b[k + 2]) / 2 - (a[k] + a[k + 2]) / 2) for k in (0, 1)]
    if apart[axis] <= apart[1 - axis]:
        return 0.0
    shared = 1.0
    for k in (0, 1):
        shared *= max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k]))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    overlap = shared / (areas - shared)
    return 1.0 if overlap < _OVERLAP else _OVERLAP / overlap


def scene(wanted: str, captions: Sequence[str]) -> float:
    """Share of frames whose caption by Tag2Text contains every word of the scene.

    Raises:
        ValueError: no frame.

    Example:
        >>> scene("train station", ["people in a station with a train", "a platform"])
        0.5
    """
    return _share([all(word in caption for word in wanted.split(" ")) for caption in captions])


def human_action(wanted: str, probabilities: Mapping[str, float]) -> float:
    """1 if the action is among the five likeliest classes and has a probability of at least .85, else 0.

    Args:
        wanted: the action, in lower case.
        probabilities: of every Kinetics-400 class, by UMT (sigmoids, which do not sum to 1), as rounded to 4 digits.

    Example:
        >>> human_action("riding a bike", {"riding a bike": 0.93, "skiing": 0.1})
        1.0
    """
    likeliest = sorted(probabilities, key=lambda name: -probabilities[name])[:5]
    return float(wanted in likeliest and round(probabilities[wanted], 4) >= _SURE)


def _share(passed: Sequence[bool]) -> float:
    if not passed:
        raise ValueError("there is no frame to judge")
    return sum(passed) / len(passed)
