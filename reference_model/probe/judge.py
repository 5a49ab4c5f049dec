"""The analytic probe: what a clip of the world shows, measured from its pixels.

Independent of every generator: no learned weights, no prompt. `observe` measures, `agrees` compares an observation
with what a caption states. Lengths are in the world's units (the short side is 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reference_model.probe.camera import camera_of
from reference_model.probe.segment import SHADED, Segmentation, grade, palette, segment
from reference_model.probe.shapes import NAMES, costs, profile, turned
from reference_model.world.attributes import COLOURS, TEXTURED

SMALL_MEDIUM, MEDIUM_LARGE = 0.286, 0.412


@dataclass(frozen=True)
class ObjectTrack:
    """One object over time; frames without it hold NaN."""

    shape: str
    colour: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    radius: NDArray[np.float64]
    turn: float

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Frames in which the object is visible."""
        return ~np.isnan(self.x)


@dataclass(frozen=True)
class Observation:
    """Everything the probe says about a clip. Values are those of `world.attributes`; None where nothing was seen."""

    background: str
    style: str
    camera: str
    count: int
    objects: tuple[ObjectTrack, ...]
    size: str | None
    motion: str | None
    events: tuple[str, str] | None
    present: float
    """Share of frames in which an object is visible."""
    jitter: float
    """Mean length of the second difference of the first object's path, in pixels at a short side of 64."""


def observe(frames: NDArray[np.uint8]) -> Observation:
    """Observation of a clip uint8 (T, H, W, 3)."""
    clip = frames.astype(np.float64) / 255
    seg = segment(clip)
    camera = camera_of(seg) if seg.background in TEXTURED else "static"
    tracks, count = _tracks(seg)
    tracks = sorted(tracks, key=lambda track: -int(track.seen.sum()) * 1000 - float(np.nansum(track.radius)))
    first = tracks[0] if tracks else None
    still = camera != "static"
    return Observation(
        seg.background,
        _style(clip, seg),
        camera,
        count,
        tuple(tracks),
        None if first is None else _size(first),
        None if first is None else ("still" if still else motion_of(first)),
        None if first is None else (motion_of(first, 0), motion_of(first, 1)),
        float(seg.mask.any((1, 2)).mean()),
        0.0 if first is None else _jitter(first),
    )


def _tracks(seg: Segmentation) -> tuple[list[ObjectTrack], int]:
    """Tracks of every object and the number of objects."""
    tracks, total = [], 0
    for colour in [int(value) for value in np.unique(seg.label) if value >= 0]:
        parts = [_components(seg.label[frame] == colour) for frame in range(len(seg.label))]
        counts = [len(part) for part in parts if part]
        if not counts or len(counts) < 0.3 * len(parts):
            continue
        number = int(np.bincount(counts).argmax())
        total += number
        tracks += _link(parts, number, tuple(COLOURS)[colour], seg.label.shape[1:])
    return tracks, total


def _components(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    labels, count = ndimage.label(mask)
    pieces = [labels == index for index in range(1, count + 1)]
    largest = max((piece.sum() for piece in pieces), default=0)
    return [piece for piece in pieces if piece.sum() >= max(4, 0.3 * largest)]


def _link(
    parts: list[list[NDArray[np.bool_]]], number: int, colour: str, size: tuple[int, ...]
) -> list[ObjectTrack]:
    """Follows `number` components from frame to frame by the nearest centroid."""
    unit = 2 / min(size)
    frames = len(parts)
    x, y, radius = (np.full((number, frames), np.nan) for _ in range(3))
    shape_cost: list[list[NDArray[np.float64]]] = [[] for _ in range(number)]
    angles: list[list[NDArray[np.float64]]] = [[] for _ in range(number)]
    last: list[tuple[float, float] | None] = [None] * number
    for frame, pieces in enumerate(parts):
        measured = [profile(piece.astype(float)) for piece in pieces]
        free = list(range(len(measured)))
        for item in range(number):
            if not free:
                break
            here = last[item]
            pick = (
                free[0]
                if here is None
                else min(
                    free,
                    key=lambda index: np.hypot(
                        measured[index][1][0] - here[0], measured[index][1][1] - here[1]
                    ),
                )
            )
            free.remove(pick)
            outline, centre, area = measured[pick]
            last[item] = centre
            x[item, frame], y[item, frame] = (
                (centre[0] - size[1] / 2) * unit,
                (centre[1] - size[0] / 2) * unit,
            )
            radius[item, frame] = np.sqrt(area / np.pi) * unit
            cost, angle = costs(outline)
            shape_cost[item].append(cost * _visible(centre, np.sqrt(area / np.pi), size))
            angles[item].append(angle)
    tracks = []
    for item in range(number):
        if not shape_cost[item]:
            continue
        # What is partly hidden looks like another shape, so frames with less area than the best ones count for little.
        visible = radius[item][~np.isnan(radius[item])]
        weight = (visible / visible.max()) ** 12
        kind = int((np.stack(shape_cost[item]) * weight[:, None]).sum(0).argmin())
        turn = turned([float(angle[kind]) for angle in angles[item]], NAMES[kind])
        tracks.append(ObjectTrack(NAMES[kind], colour, x[item], y[item], radius[item], turn))
    return tracks


def _visible(centre: tuple[float, float], radius: float, size: tuple[int, ...]) -> float:
    """Little weight for objects that the frame's border cuts."""
    room = min(centre[0], centre[1], size[1] - centre[0], size[0] - centre[1])
    return 1.0 if room > 0.9 * radius else 0.1


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    count = max(1, len(values) // 6)
    return float(values[:count].mean()), float(values[-count:].mean())


def motion_of(track: ObjectTrack, half: int | None = None) -> str:
    """Motion of a track over the whole clip, or over its first (0) or second (1) half."""
    keep = track.seen
    x, y, radius = track.x[keep], track.y[keep], np.log(track.radius[keep])
    if half is not None:
        middle = len(x) // 2
        part = slice(0, middle + 1) if half == 0 else slice(middle, None)
        x, y, radius = x[part], y[part], radius[part]
    if len(x) < 3:
        return "still"
    dx, dy, growth = (end - start for start, end in (_ends(x), _ends(y), _ends(radius)))
    if half is not None:
        return _event(dx, dy, growth)
    rise = np.ptp(y)
    if rise > 0.3 and rise > 1.6 * abs(dy) and rise > 1.3 * np.ptp(x):
        return "bounce"
    if max(abs(dx), abs(dy)) > 0.3:
        return _direction(dx, dy)
    if abs(growth) > 0.35:
        return "grow" if growth > 0 else "shrink"
    if abs(track.turn) > 1.5 and track.shape != "circle":
        return "rotate"
    return "still"


def _direction(dx: float, dy: float) -> str:
    if abs(dx) > abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"


def _event(dx: float, dy: float, growth: float) -> str:
    """Half of a clip: an object that fills the frame has little room, so a short way counts where nothing grows more."""
    way, swelling = max(abs(dx), abs(dy)) / 0.08, abs(growth) / 0.1
    if max(way, swelling) < 1:
        return "still"
    return _direction(dx, dy) if way > swelling else "grow" if growth > 0 else "shrink"


def _size(track: ObjectTrack, hidden: bool = False) -> str:
    """Size by the mean radius; of what is `hidden` for a while by the radius that a tenth of its frames exceed."""
    seen = track.radius[track.seen]
    radius = float(np.quantile(seen, 0.9) if hidden else np.exp(np.log(seen).mean()))
    return "small" if radius < SMALL_MEDIUM else "medium" if radius < MEDIUM_LARGE else "large"


def _jitter(track: ObjectTrack) -> float:
    keep = track.seen
    path = np.stack([track.x[keep], track.y[keep]], 1)
    if len(path) < 3:
        return 0.0
    return float(np.linalg.norm(path[2:] - 2 * path[1:-1] + path[:-2], axis=1).mean() * 32)


def _style(clip: NDArray[np.float64], seg: Segmentation) -> str:
    if seg.grading != "plain":
        return seg.grading
    if not seg.mask.any():
        return "flat"
    line = grade(np.array([0.96] * 3 if seg.background == "black" else [0.04] * 3), seg.grading)
    rim = np.stack([frame & ~ndimage.binary_erosion(frame, iterations=2) for frame in seg.mask])
    if (np.linalg.norm(clip[rim] - line, axis=-1) < 0.35).mean() > 0.35:
        return "outlined"
    bright, dark = palette(seg.grading)
    pixels, label = clip[seg.mask], seg.label[seg.mask]
    inner = np.stack([ndimage.binary_erosion(frame) for frame in seg.mask])[seg.mask]
    if inner.sum() < 6:
        return "flat"
    to_bright = np.linalg.norm(pixels - bright[label], axis=-1)
    to_dark = np.linalg.norm(pixels - dark[label], axis=-1)
    share = float((to_dark < to_bright)[inner].mean())
    return "pixel_art" if 0.1 < share < 0.75 else "flat"


def relation_holds(relation: str, first: ObjectTrack, second: ObjectTrack) -> bool:
    """Whether two tracks show `first` <relation> `second`."""
    both = first.seen & second.seen
    if both.sum() < 3:
        return False
    dx, dy = (first.x - second.x)[both], (first.y - second.y)[both]
    if relation in ("left_of", "right_of", "above", "below"):
        x, y = float(dx.mean()), float(dy.mean())
        axis = x if relation in ("left_of", "right_of") else y
        sign = -1 if relation in ("left_of", "above") else 1
        return abs(axis) > 0.3 and abs(axis) > (abs(y) if axis is x else abs(x)) and axis * sign > 0
    moves = [_shift(track) for track in (first, second)]
    if relation == "chases":
        same = moves[0] * moves[1] > 0 and min(abs(moves[0]), abs(moves[1])) > 0.25
        return bool(same and (np.sign(dx) == -np.sign(moves[1])).mean() > 0.8)
    if relation == "collides":
        return _collides(first, second)
    if relation == "passes_behind":
        crosses = np.sign(dx[0]) != np.sign(dx[-1]) and abs(moves[0]) > 0.5 and abs(moves[1]) < 0.35
        hidden = np.nanmin(first.radius) < 0.9 * np.nanmedian(first.radius) or not first.seen.all()
        whole = np.nanmin(second.radius) > 0.82 * np.nanmedian(second.radius)
        return bool(crosses and hidden and whole)
    raise ValueError(f"unknown relation {relation!r}")


def _collides(first: ObjectTrack, second: ObjectTrack) -> bool:
    """The second rests until the first touches it, then moves off; the first does not move on with it.

    Large objects start close to each other, so how far the first comes is not asked.
    """
    early = [_shift(track, 0) for track in (first, second)]
    late = [_shift(track, 1) for track in (first, second)]
    middle = len(first.x) // 2
    ahead = (second.x - first.x)[: middle + 1]
    away = np.sign(np.nanmean(ahead))
    reach = np.nanmedian(first.radius) + np.nanmedian(second.radius)
    touches = np.nanmin(np.abs(ahead)) < reach + 0.12
    rests = abs(early[1]) < 0.12 and early[0] * away > -0.1
    return bool(touches and rests and late[1] * away > 0.15 and late[0] * away < 0.1)


def _shift(track: ObjectTrack, half: int | None = None) -> float:
    x = track.x
    middle = len(x) // 2
    part = x if half is None else x[: middle + 1] if half == 0 else x[middle:]
    part = part[~np.isnan(part)]
    return float(part[-1] - part[0]) if len(part) > 1 else 0.0


def agrees(seen: Observation, expect: Mapping[str, object]) -> dict[str, bool]:
    """For each stated attribute that the probe judges in this clip: whether the clip shows it.

    Not judged: colour under sepia (the style takes it away), the size of something that grows or shrinks, the count
    in relations.
    """
    result: dict[str, bool] = {}
    relation = expect.get("relation")
    first, second = _match(seen, expect)
    sepia = expect.get("style") == "sepia"
    for name, value in expect.items():
        if name == "object":
            result[name] = first is not None and first.shape == value
        elif name == "colour" and not sepia:
            result[name] = first is not None and first.colour == value
        elif name == "count" and relation is None:
            result[name] = seen.count == value
        elif name == "size" and not _size_changes(expect):
            result[name] = first is not None and _size(first, hidden=relation == "passes_behind") == value
        elif name == "motion":
            result[name] = seen.motion == value
        elif name == "events":
            result[name] = seen.events is not None and tuple(seen.events) == tuple(value)  # type: ignore[arg-type]
        elif name in ("background", "style"):
            result[name] = getattr(seen, name) == value
        elif name == "camera":
            result[name] = seen.camera == value
        elif name == "relation" and not sepia:
            result[name] = (
                first is not None and second is not None and relation_holds(str(value), first, second)
            )
    return result


def _size_changes(expect: Mapping[str, object]) -> bool:
    return bool({"grow", "shrink"} & {expect.get("motion"), *(expect.get("events") or ())})  # type: ignore[misc]


def _match(seen: Observation, expect: Mapping[str, object]) -> tuple[ObjectTrack | None, ObjectTrack | None]:
    """Which tracks are the first and the second object: by colour, else by order."""
    tracks = list(seen.objects)
    if not tracks:
        return None, None
    if "relation" not in expect:
        return tracks[0], None
    first = next((track for track in tracks if track.colour == expect.get("colour")), None)
    second = next((track for track in tracks if track.colour == expect.get("second_colour")), None)
    if first is None and second is not None:
        first = next((track for track in tracks if track is not second), None)
    return first, second


__all__ = ["SHADED", "ObjectTrack", "Observation", "agrees", "motion_of", "observe", "relation_holds"]
