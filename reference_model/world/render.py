"""Rendering: tracks and appearance to pixels, anti-aliased, batched, on any device.

Tracks are the geometry of a clip, shared with the generator:

    objects  (B, SLOTS, T, 6)  present (0 or 1), x, y, log radius, angle, depth (larger is nearer)
    camera   (B, T, 3)         centre x, centre y, log zoom

Appearance is everything else (`Appearance`). Colours are RGB in [0, 1]; the result is float (B, T, 3, H, W) in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from reference_model.world.attributes import BACKGROUNDS, COLOURS, SHAPES, STYLES
from reference_model.world.scenes import Scene, camera_path, frame_times, object_path

SLOTS = 3
ANGLES = 720
PIXEL_ART_CELLS = 32
CELL = 0.4
OUTLINE = 0.09

PALETTE: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.12, 0.12),
    "orange": (1.00, 0.55, 0.05),
    "yellow": (0.98, 0.88, 0.10),
    "green": (0.12, 0.65, 0.20),
    "cyan": (0.10, 0.80, 0.85),
    "blue": (0.12, 0.25, 0.90),
    "purple": (0.55, 0.15, 0.70),
    "pink": (1.00, 0.50, 0.75),
}
GROUNDS: dict[str, tuple[float, float]] = {
    "white": (0.95, 0.95),
    "gray": (0.55, 0.55),
    "black": (0.06, 0.06),
    "checkered": (0.92, 0.68),
    "dotted": (0.95, 0.60),
    "grid": (0.90, 0.55),
}
"""Gray levels of each background: the ground and the pattern on it."""

SHAPE_INDEX = {name: index for index, name in enumerate(SHAPES)}
COLOUR_INDEX = {name: index for index, name in enumerate(COLOURS)}
BACKGROUND_INDEX = {name: index for index, name in enumerate(BACKGROUNDS)}
STYLE_INDEX = {name: index for index, name in enumerate(STYLES)}


@dataclass(frozen=True)
class Appearance:
    """Everything about a batch of B clips that is not geometry: indices into the vocabularies, shades, phases."""

    shape: Tensor
    colour: Tensor
    shade: Tensor
    background: Tensor
    style: Tensor
    phase: Tensor

    def to(self, device: torch.device | str) -> Appearance:
        """The same on another device."""
        return Appearance(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@lru_cache(maxsize=1)
def outlines() -> tuple[Tensor, Tensor]:
    """Boundary radius of each shape by angle (S, ANGLES), area pi; and cosine between the radius and the edge normal.

    Every shape is star-convex about its centre, so one number per angle is the exact outline.
    """
    theta = np.arange(ANGLES) * 2 * np.pi / ANGLES
    polygons = {
        "square": [(1, 1), (-1, 1), (-1, -1), (1, -1)],
        "triangle": [(math.sin(a), -math.cos(a)) for a in (0, 2 * np.pi / 3, 4 * np.pi / 3)],
        "star": [
            (math.sin(a) * (1.0 if i % 2 == 0 else 0.45), -math.cos(a) * (1.0 if i % 2 == 0 else 0.45))
            for i, a in enumerate(np.arange(10) * np.pi / 5)
        ],
        "cross": [
            (1, 0.33), (0.33, 0.33), (0.33, 1), (-0.33, 1), (-0.33, 0.33), (-1, 0.33),
            (-1, -0.33), (-0.33, -0.33), (-0.33, -1), (0.33, -1), (0.33, -0.33), (1, -0.33),
        ],
        "heart": [
            (16 * math.sin(a) ** 3 / 16, -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 16)
            for a in np.arange(64) * 2 * np.pi / 64
        ],
    }  # fmt: skip
    rows = []
    for name in SHAPES:
        radius = np.ones(ANGLES) if name == "circle" else _boundary(np.array(polygons[name]), theta)
        radius = radius / math.sqrt(np.sum(radius**2) / ANGLES)
        rows.append(radius)
    table = np.stack(rows)
    slope = (np.roll(table, -1, 1) - np.roll(table, 1, 1)) / (2 * 2 * np.pi / ANGLES)
    normal = 1 / np.sqrt(1 + np.minimum((slope / table) ** 2, 24.0))
    return torch.from_numpy(table).float(), torch.from_numpy(normal).float()


def _boundary(points: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Distance from the centre to a star-convex polygon along each angle."""
    direction = np.stack([np.cos(theta), np.sin(theta)], 1)[:, None]
    start, end = points[None], np.roll(points, -1, 0)[None]
    edge = end - start
    cross = direction[..., 0] * edge[..., 1] - direction[..., 1] * edge[..., 0]
    safe = np.where(np.abs(cross) < 1e-9, 1e-9, cross)
    distance = (start[..., 0] * edge[..., 1] - start[..., 1] * edge[..., 0]) / safe
    along = (start[..., 0] * direction[..., 1] - start[..., 1] * direction[..., 0]) / safe
    hit = (distance > 0) & (along >= -1e-6) & (along <= 1 + 1e-6) & (np.abs(cross) > 1e-9)
    return np.where(hit, distance, 0).max(1)


def scene_tracks(scenes: Sequence[Scene], times: Sequence[Sequence[float]]) -> tuple[Tensor, Tensor]:
    """Exact tracks of the scenes, each at its own list of times (all lists equally long)."""
    count = len(times[0])
    objects = np.zeros((len(scenes), SLOTS, count, 6), np.float32)
    camera = np.zeros((len(scenes), count, 3), np.float32)
    for row, (scene, at) in enumerate(zip(scenes, times, strict=True)):
        for frame, time in enumerate(at):
            camera[row, frame] = camera_path(scene, time)
            for slot, item in enumerate(scene.objects):
                objects[row, slot, frame] = (1.0, *object_path(scene, slot, time), item.depth)
    return torch.from_numpy(objects), torch.from_numpy(camera)


def scene_appearance(scenes: Sequence[Scene]) -> Appearance:
    """Appearance indices of the scenes."""
    shape, colour = (
        torch.zeros(len(scenes), SLOTS, dtype=torch.long),
        torch.zeros(len(scenes), SLOTS, dtype=torch.long),
    )
    shade = torch.ones(len(scenes), SLOTS)
    for row, scene in enumerate(scenes):
        for slot, item in enumerate(scene.objects):
            shape[row, slot] = SHAPE_INDEX[item.shape]
            colour[row, slot] = COLOUR_INDEX[item.colour]
            shade[row, slot] = item.shade
    return Appearance(
        shape,
        colour,
        shade,
        torch.tensor([BACKGROUND_INDEX[scene.background] for scene in scenes]),
        torch.tensor([STYLE_INDEX[scene.style] for scene in scenes]),
        torch.tensor([scene.phase for scene in scenes]),
    )


def pixel_grid(height: int, width: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor, float]:
    """Coordinates x (1, W), y (H, 1) of pixel centres and the size of a pixel, in world units."""
    size = 2.0 / min(height, width)
    x = (torch.arange(width, device=device) + 0.5 - width / 2) * size
    y = (torch.arange(height, device=device) + 0.5 - height / 2) * size
    return x[None, :], y[:, None], size


def render(objects: Tensor, camera: Tensor, look: Appearance, height: int, width: int) -> Tensor:
    """Pixels (B, T, 3, H, W) in [0, 1] of tracks and appearance."""
    art = look.style == STYLE_INDEX["pixel_art"]
    cells = min(height, width, PIXEL_ART_CELLS)
    size = (round(height * cells / min(height, width)), round(width * cells / min(height, width)))
    frames = torch.empty((*camera.shape[:2], 3, height, width), device=camera.device)
    for chosen, (rows, columns), hard in ((~art, (height, width), False), (art, size, True)):
        if not bool(chosen.any()):
            continue
        part = Appearance(*(getattr(look, name)[chosen] for name in look.__dataclass_fields__))
        drawn = _draw(objects[chosen], camera[chosen], part, rows, columns, hard)
        if drawn.shape[-2:] != (height, width):
            drawn = torch.nn.functional.interpolate(
                drawn.flatten(0, 1), (height, width), mode="nearest-exact"
            ).view(*drawn.shape[:3], height, width)
        frames[chosen] = drawn
    return frames


def _draw(objects: Tensor, camera: Tensor, look: Appearance, height: int, width: int, hard: bool) -> Tensor:
    x, y, pixel = pixel_grid(height, width, camera.device)
    zoom = camera[..., 2].exp()[..., None, None]
    frames = _ground(camera, zoom, look, x, y, pixel, hard)[:, :, None].expand(-1, -1, 3, -1, -1).clone()
    table, normal = (part.to(camera.device) for part in outlines())
    palette = torch.tensor(list(PALETTE.values()), device=camera.device)
    dark = torch.tensor([0.04, 0.04, 0.04], device=camera.device)
    order = objects[:, :, 0, 5].argsort(dim=1, stable=True)
    outlined = look.style == STYLE_INDEX["outlined"]
    edge_colour = torch.where((look.background == BACKGROUND_INDEX["black"])[:, None], 1 - dark, dark)
    for layer in range(objects.shape[1]):
        slot = order[:, layer]
        every = torch.arange(len(slot), device=slot.device)
        track = objects[every, slot]
        rows = (track[:, :, 0] > 0.5).any(1).nonzero()[:, 0]
        if len(rows) == 0:
            continue
        track, slot = track[rows], slot[rows]
        scale = zoom[rows]
        u = (x - (track[..., 1] - camera[rows][..., 0])[..., None, None] * scale) + torch.zeros_like(y)
        v = (y - (track[..., 2] - camera[rows][..., 1])[..., None, None] * scale) + torch.zeros_like(x)
        radius = track[..., 3].exp()[..., None, None] * scale
        turned = torch.atan2(v, u) - track[..., 4][..., None, None]
        index = (turned * (ANGLES / (2 * math.pi))).round().long() % ANGLES
        shape = look.shape[rows, slot][:, None, None, None]
        inside = (table[shape, index] * radius - (u * u + v * v).sqrt()) * normal[shape, index]
        cover = (inside > 0).float() if hard else (inside / pixel + 0.5).clamp(0, 1)
        cover = (cover * (track[..., 0] > 0.5)[..., None, None])[:, :, None]
        colour = (palette[look.colour[rows, slot]] * look.shade[rows, slot][:, None]).clamp(0, 1)
        fill = colour[:, None, :, None, None].expand(-1, cover.shape[1], -1, *cover.shape[-2:])
        if hard:
            fill = torch.where((u + v > 0.25 * radius)[:, :, None], fill * 0.65, fill)
        if bool(outlined[rows].any()):
            body = ((inside - OUTLINE) / pixel + 0.5).clamp(0, 1)[:, :, None]
            line = edge_colour[rows][:, None, :, None, None]
            body = torch.where(outlined[rows][:, None, None, None, None], body, torch.ones_like(body))
            fill = line + (fill - line) * body
        frames[rows] = frames[rows] + (fill - frames[rows]) * cover
    return _grade(frames, look.style)


def _ground(
    camera: Tensor, zoom: Tensor, look: Appearance, x: Tensor, y: Tensor, pixel: float, hard: bool
) -> Tensor:
    """Gray background (B, T, H, W): plain, or a pattern fixed in the world that the camera moves over."""
    tones = torch.tensor(list(GROUNDS.values()), device=camera.device)[look.background]
    world_x = (x / zoom + camera[..., 0, None, None] + torch.zeros_like(y)) / CELL + look.phase[
        :, 0, None, None, None
    ]
    world_y = (y / zoom + camera[..., 1, None, None] + torch.zeros_like(x)) / CELL + look.phase[
        :, 1, None, None, None
    ]
    soft = pixel / CELL / zoom

    def step(distance: Tensor) -> Tensor:
        return (distance > 0).float() if hard else (distance / soft + 0.5).clamp(0, 1)

    fx, fy = world_x - world_x.floor(), world_y - world_y.floor()
    kind = look.background[:, None, None, None]
    square_x = step(0.25 - (fx - 0.5).abs()) if hard else ((0.25 - (fx - 0.5).abs()) / soft + 0.5).clamp(0, 1)
    square_y = step(0.25 - (fy - 0.5).abs()) if hard else ((0.25 - (fy - 0.5).abs()) / soft + 0.5).clamp(0, 1)
    checker = square_x + square_y - 2 * square_x * square_y
    dots = step(0.27 - ((fx - 0.5) ** 2 + (fy - 0.5) ** 2).sqrt())
    lines = 1 - (1 - step(0.1 - (fx - 0.5).abs())) * (1 - step(0.1 - (fy - 0.5).abs()))
    pattern = torch.zeros_like(fx)
    for name, value in (("checkered", checker), ("dotted", dots), ("grid", lines)):
        pattern = torch.where(kind == BACKGROUND_INDEX[name], value, pattern)
    first, second = tones[:, 0, None, None, None], tones[:, 1, None, None, None]
    return first + (second - first) * pattern


def _grade(frames: Tensor, style: Tensor) -> Tensor:
    """Colour grading of the styles `sepia` and `night`."""
    style = style[:, None, None, None, None]
    gray = (frames * frames.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(2, keepdim=True)
    toned = 0.2 * frames + 0.8 * gray * frames.new_tensor([1.0, 0.80, 0.55])[:, None, None]
    dark = (
        frames * frames.new_tensor([0.30, 0.34, 0.50])[:, None, None]
        + frames.new_tensor([0.0, 0.01, 0.06])[:, None, None]
    )
    frames = torch.where(style == STYLE_INDEX["sepia"], toned, frames)
    return torch.where(style == STYLE_INDEX["night"], dark, frames)


def render_scenes(scenes: Sequence[Scene], num_frames: int, height: int, width: int) -> Tensor:
    """Clips uint8 (B, T, 3, H, W) of scenes; every scene's `aspect` should be that of the frame."""
    times = [frame_times(num_frames)] * len(scenes)
    objects, camera = scene_tracks(scenes, times)
    frames = render(objects, camera, scene_appearance(scenes), height, width)
    return (frames * 255).round().clamp(0, 255).to(torch.uint8)
