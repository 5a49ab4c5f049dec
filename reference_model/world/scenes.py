"""Scenes: what happens in a clip of the reference world, exactly.

Space: the short side of the frame spans [-1, 1]; x grows to the right, y grows downward; the long side spans
[-aspect, aspect] (or its inverse). Time: [0, 1] over the whole clip, so a scene can be rendered at any length and
frame rate. Radii are those of the circle of equal area, whatever the shape.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from reference_model.world.attributes import (
    BACKGROUNDS,
    CAMERAS,
    COLOURS,
    HELD_OUT_PAIRS,
    MOTIONS,
    RELATIONS,
    SHAPES,
    STATIC_RELATIONS,
    STYLES,
    TEXTURED,
)

RADIUS: dict[str, float] = {"small": 0.24, "medium": 0.34, "large": 0.50}
REACH = 1.4
"""How many radii from its centre an object is kept inside the frame (the tips of stars and triangles reach 1.55)."""


@dataclass(frozen=True)
class SceneObject:
    """One object: what it looks like and how it moves. `motions` has one entry, or two for ordered events."""

    shape: str
    colour: str
    size: str
    motions: tuple[str, ...] = ("still",)
    x: float = 0.0
    y: float = 0.0
    radius: float = RADIUS["medium"]
    tilt: float = 0.0
    travel: float = 0.8
    turn: float = 4.0
    depth: float = 0.0
    shade: float = 1.0


@dataclass(frozen=True)
class Scene:
    """A whole clip. Objects are in the order in which captions mention them; a larger `depth` is nearer."""

    objects: tuple[SceneObject, ...]
    background: str = "white"
    style: str = "flat"
    camera: str = "static"
    relation: str | None = None
    direction: float = 1.0
    camera_travel: float = 0.6
    phase: tuple[float, float] = (0.0, 0.0)
    aspect: float = 1.0

    @property
    def is_group(self) -> bool:
        """Several objects that look and move alike ("three red stars")."""
        return len(self.objects) > 1 and self.relation is None


UNIT: dict[str, tuple[float, float]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
CAMERA_UNIT: dict[str, tuple[float, float]] = {
    "pan_left": (-1, 0),
    "pan_right": (1, 0),
    "tilt_up": (0, -1),
    "tilt_down": (0, 1),
}
GROWTH = 0.4
"""Natural logarithm of the change of radius from the middle of a `grow` to its end."""
ZOOM = 0.3
"""Natural logarithm of the change of scale from the middle of a zoom to its end."""


def displacement(
    motions: tuple[str, ...], travel: float, turn: float, time: float
) -> tuple[float, float, float, float]:
    """Offset x, offset y, change of log radius and of angle at `time` (0 to 1) for one motion or two in order."""
    dx = dy = growth = angle = 0.0
    span = 1.0 / len(motions)
    for index, motion in enumerate(motions):
        done = min(max((time - index * span) / span, 0.0), 1.0)
        if motion in UNIT:
            dx += UNIT[motion][0] * travel * done
            dy += UNIT[motion][1] * travel * done
        elif motion == "bounce":
            dy -= travel * abs(math.sin(2 * math.pi * done))
        elif motion == "rotate":
            angle += turn * done
        elif motion == "grow":
            growth += GROWTH * (2 * done - 1) if len(motions) == 1 else 1.2 * GROWTH * done
        elif motion == "shrink":
            growth -= GROWTH * (2 * done - 1) if len(motions) == 1 else 1.2 * GROWTH * done
    return dx, dy, growth, angle


@dataclass(frozen=True)
class SceneOptions:
    """What a sampler may draw. `held_out` is "exclude" (training), "only" (generalisation test) or "include"."""

    held_out: str = "exclude"
    kinds: tuple[str, ...] = ("single", "single", "single", "events", "camera", "group", "relation")
    styles: tuple[str, ...] = tuple(STYLES)
    aspect: float = 1.0


def sample_scene(rng: random.Random, options: SceneOptions | None = None) -> Scene:
    """A scene drawn from `rng`: attributes balanced, positions so that everything stays inside the frame."""
    options = options or SceneOptions()
    kind = rng.choice(options.kinds)
    shape, colour = _appearance(rng, options)
    style = (
        rng.choice(options.styles) if rng.random() < 0.5 and len(options.styles) > 1 else options.styles[0]
    )
    attributes: dict[str, object] = {"background": rng.choice(list(BACKGROUNDS)), "style": style}
    if kind == "relation":
        other = _appearance(rng, replace(options, held_out="exclude"))
        while other[0] == shape or other[1] == colour:
            other = _appearance(rng, replace(options, held_out="exclude"))
        first = SceneObject(shape, colour, rng.choice(("small", "medium")))
        second = SceneObject(*other, rng.choice(("small", "medium")))
        return compose(
            rng, (first, second), relation=rng.choice(list(RELATIONS)), aspect=options.aspect, **attributes
        )
    if kind == "group":
        count = rng.choice((2, 3))
        motion = rng.choice(("still", "left", "right", "up", "down", "rotate"))
        if motion == "rotate" and shape == "circle":
            motion = "still"
        size = "small" if count == 3 and motion in UNIT else rng.choice(("small", "medium"))
        one = SceneObject(shape, colour, size, (motion,))
        return compose(rng, (one,) * count, aspect=options.aspect, **attributes)
    motions: tuple[str, ...] = (rng.choice([m for m in MOTIONS if m != "rotate" or shape != "circle"]),)
    if kind == "events":
        motions = tuple(rng.sample(("left", "right", "up", "down", "grow", "shrink", "still"), 2))
    if kind == "camera":
        motions = ("still",)
        attributes["camera"] = rng.choice([c for c in CAMERAS if c != "static"])
        attributes["background"] = rng.choice(TEXTURED)
    one = SceneObject(shape, colour, rng.choice(list(RADIUS)), motions)
    return compose(rng, (one,), aspect=options.aspect, **attributes)


def compose(
    rng: random.Random,
    objects: tuple[SceneObject, ...],
    *,
    background: str = "white",
    style: str = "flat",
    camera: str = "static",
    relation: str | None = None,
    aspect: float = 1.0,
) -> Scene:
    """Places the objects: draws positions, travel, tilt and shade so that the attributes are true and visible."""
    turn_sign = rng.choice((-1.0, 1.0))
    shade = rng.uniform(0.94, 1.06)
    drawn = tuple(
        replace(
            item,
            radius=RADIUS[item.size] * rng.uniform(0.94, 1.06),
            tilt=rng.uniform(-0.25, 0.25),
            turn=turn_sign * rng.uniform(1.2, 1.5) * math.pi,
            shade=shade if relation is None else rng.uniform(0.94, 1.06),
        )
        for item in objects
    )
    scene = Scene(
        drawn,
        background,
        style,
        camera,
        relation,
        direction=rng.choice((-1.0, 1.0)),
        camera_travel=rng.uniform(0.5, 0.7),
        phase=(rng.random(), rng.random()),
        aspect=aspect,
    )
    if relation is not None:
        return _place_relation(rng, scene)
    if len(objects) > 1:
        return _place_group(rng, scene)
    return replace(scene, objects=(_place_single(rng, scene),))


def _appearance(rng: random.Random, options: SceneOptions) -> tuple[str, str]:
    if options.held_out == "only":
        colour, shape = rng.choice(sorted(HELD_OUT_PAIRS))
        return shape, colour
    while True:
        shape, colour = rng.choice(list(SHAPES)), rng.choice(list(COLOURS))
        if options.held_out == "include" or (colour, shape) not in HELD_OUT_PAIRS:
            return shape, colour


def _place_single(rng: random.Random, scene: Scene) -> SceneObject:
    item = scene.objects[0]
    wide, high = max(scene.aspect, 1.0), max(1 / scene.aspect, 1.0)
    item = replace(item, travel=rng.uniform(0.6, 1.1) * (0.75 if len(item.motions) > 1 else 1.0))
    for _ in range(8):
        path = [displacement(item.motions, item.travel, item.turn, step / 16) for step in range(17)]
        camera = [camera_path(scene, step / 16) for step in range(17)]
        reach = max(item.radius * REACH * math.exp(p[2] + c[2]) for p, c in zip(path, camera, strict=True))
        xs = [p[0] - c[0] for p, c in zip(path, camera, strict=True)]
        ys = [p[1] - c[1] for p, c in zip(path, camera, strict=True)]
        x_low, x_high = -wide + reach - min(xs), wide - reach - max(xs)
        y_low, y_high = -high + reach - min(ys), high - reach - max(ys)
        if x_low <= x_high and y_low <= y_high:
            break
        item = replace(item, travel=item.travel * 0.8)
    x = rng.uniform(x_low, x_high) if x_low <= x_high else (x_low + x_high) / 2
    y = rng.uniform(y_low, y_high) if y_low <= y_high else (y_low + y_high) / 2
    if scene.camera.startswith("zoom"):
        x, y = 0.5 * x, 0.5 * y
    return replace(item, x=x, y=y)


def _place_group(rng: random.Random, scene: Scene) -> Scene:
    count, motion = len(scene.objects), scene.objects[0].motions[0]
    wide, high = max(scene.aspect, 1.0), max(1 / scene.aspect, 1.0)
    if motion in UNIT:
        line = (-0.5, 0.5) if count == 2 else (-0.64, 0.0, 0.64)
        spots = [(0.0, at * high) if UNIT[motion][0] else (at * wide, 0.0) for at in line]
    elif count == 2:
        spots = (
            [(-0.5 * wide, 0.0), (0.5 * wide, 0.0)]
            if rng.random() < 0.5
            else [(0.0, -0.5 * high), (0.0, 0.5 * high)]
        )
    else:
        flip = rng.choice((-1.0, 1.0))
        spots = [
            (-0.54 * wide, 0.44 * flip * high),
            (0.0, -0.5 * flip * high),
            (0.54 * wide, 0.44 * flip * high),
        ]
    radius = scene.objects[0].radius if count == 2 or motion not in UNIT else RADIUS["small"]
    reach = radius * REACH
    along = wide if motion in ("left", "right") else high
    travel = min(rng.uniform(0.6, 1.0), 2 * (along - reach) - 0.1)
    shift = -travel / 2
    placed = []
    for item, (x, y) in zip(scene.objects, spots, strict=True):
        jitter_x, jitter_y = rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.04)
        ux, uy = UNIT.get(motion, (0.0, 0.0))
        placed.append(
            replace(
                item, x=x + jitter_x + ux * shift, y=y + jitter_y + uy * shift, radius=radius, travel=travel
            )
        )
    return replace(scene, objects=tuple(placed))


def _place_relation(rng: random.Random, scene: Scene) -> Scene:
    first, second = scene.objects
    wide, high = max(scene.aspect, 1.0), max(1 / scene.aspect, 1.0)
    y = rng.uniform(-0.3, 0.3) * high
    near = rng.uniform(-0.06, 0.06)
    if scene.relation in STATIC_RELATIONS:
        gap = rng.uniform(0.42, 0.52)
        sign = -1.0 if scene.relation in ("left_of", "above") else 1.0
        if scene.relation in ("left_of", "right_of"):
            first = replace(first, x=sign * gap * wide, y=y)
            second = replace(second, x=-sign * gap * wide, y=y + near)
        else:
            first = replace(first, x=y, y=sign * gap * high)
            second = replace(second, x=y + near, y=-sign * gap * high)
    elif scene.relation == "passes_behind":
        first = replace(first, y=y, depth=-1.0, radius=min(first.radius, 0.3))
        second = replace(second, x=near, y=y + near, depth=0.0)
    else:
        first, second = replace(first, y=y), replace(second, y=y + near / 2)
    return replace(scene, objects=(first, second))


def camera_path(scene: Scene, time: float) -> tuple[float, float, float]:
    """Camera centre x, y and log zoom at `time`; a pan is centred on the middle of the clip."""
    along = time - 0.5
    if scene.camera in CAMERA_UNIT:
        ux, uy = CAMERA_UNIT[scene.camera]
        return ux * scene.camera_travel * along, uy * scene.camera_travel * along, 0.0
    if scene.camera in ("zoom_in", "zoom_out"):
        return 0.0, 0.0, (2 * ZOOM * along) * (1.0 if scene.camera == "zoom_in" else -1.0)
    return 0.0, 0.0, 0.0


def object_path(scene: Scene, index: int, time: float) -> tuple[float, float, float, float]:
    """World x, y, log radius and angle of object `index` at `time`."""
    item = scene.objects[index]
    log_radius = math.log(item.radius)
    wide = max(scene.aspect, 1.0)
    if scene.relation == "passes_behind" and index == 0:
        return scene.direction * (1.3 * time - 0.65) * wide, item.y, log_radius, item.tilt
    if scene.relation == "chases":
        lead = 0.1 if index == 1 else -0.65
        return scene.direction * (lead + 0.55 * time) * wide, item.y, log_radius, item.tilt
    if scene.relation == "collides":
        contact = scene.objects[0].radius + scene.objects[1].radius
        rest = 0.12 * wide
        if index == 1:
            x = rest + 0.9 * max(time - 0.5, 0.0) * wide
        else:
            stop = rest - contact
            start = -wide + item.radius * REACH
            x = start + (stop - start) * min(time / 0.5, 1.0) - 0.3 * max(time - 0.5, 0.0)
        return scene.direction * x, item.y, log_radius, item.tilt
    dx, dy, growth, angle = displacement(item.motions, item.travel, item.turn, time)
    return item.x + dx, item.y + dy, log_radius + growth, item.tilt + angle


def frame_times(num_frames: int) -> list[float]:
    """Times of the frames: the first is 0, the last is 1 (a clip of one frame shows time 0)."""
    return [0.0] if num_frames == 1 else [index / (num_frames - 1) for index in range(num_frames)]
