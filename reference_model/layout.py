"""Tracks drawn as feature maps that the base's painter reads: where each object slot is, in the object's own frame.

For every pixel the slots whose reach covers it are put into two planes, the nearest and the one behind it. A plane
holds the slot's learned features times coordinates in the object's frame (turned and scaled with it), so that what a
shape looks like need not be learned again for each place, size and angle. The background gets periodic coordinates
that move with the camera.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from reference_model.world.render import CELL, pixel_grid

HARMONICS = 5
OBJECT_FEATURES = 4 + 2 * HARMONICS
GROUND_FEATURES = 9
WINDOW = 1.7
"""How far from its centre, in radii, a slot's features reach."""


class Layout(NamedTuple):
    """Coordinates of a clip's pixels; the leading dimensions are batch and time."""

    near: Tensor
    """(B, T, SLOTS, H, W) in {0, 1}: the slot is the nearest that covers the pixel."""
    behind: Tensor
    """(B, T, SLOTS, H, W) in {0, 1}: exactly one covering slot is nearer."""
    local: Tensor
    """(B, T, SLOTS, OBJECT_FEATURES, H, W): coordinates in each object's frame."""
    ground: Tensor
    """(B, T, GROUND_FEATURES, H, W): periodic coordinates of the background."""


def draw_layout(objects: Tensor, camera: Tensor, phase: Tensor, height: int, width: int) -> Layout:
    """Layout of tracks objects (B, SLOTS, T, 6), camera (B, T, 3) and pattern phase (B, 2)."""
    x, y, pixel = pixel_grid(height, width, objects.device)
    zoom = camera[..., 2].exp()[..., None, None]
    track = objects.transpose(1, 2)
    scale = zoom[:, :, None]
    u = x - ((track[..., 1] - camera[:, :, None, 0])[..., None, None]) * scale
    v = y - ((track[..., 2] - camera[:, :, None, 1])[..., None, None]) * scale
    radius = track[..., 3].clamp(-4, 1.5).exp()[..., None, None] * scale
    u, v = torch.broadcast_tensors(u, v)
    distance = (u * u + v * v).sqrt() / radius
    angle = torch.atan2(v, u) - track[..., 4][..., None, None]
    covers = (distance < WINDOW) & (track[..., 0] > 0.5)[..., None, None]
    depth = track[..., 5] - 1e-3 * torch.arange(track.shape[2], device=track.device)
    nearer = (depth[:, :, None, :] > depth[:, :, :, None]).float()
    ahead = torch.einsum("btij,btjhw->btihw", nearer, covers.float())
    near, behind = covers & (ahead < 0.5), covers & (ahead > 0.5) & (ahead < 1.5)
    turns = angle[:, :, :, None] * torch.arange(1, HARMONICS + 1, device=angle.device)[:, None, None]
    fade = distance.clamp(max=1.0)[:, :, :, None]
    edge = ((1 - distance) * radius / pixel).clamp(-4, 4) / 4
    local = torch.cat(
        [
            torch.ones_like(distance)[:, :, :, None],
            distance[:, :, :, None],
            edge[:, :, :, None],
            (radius + torch.zeros_like(distance))[:, :, :, None],
            turns.cos() * fade,
            turns.sin() * fade,
        ],
        3,
    )
    world_x = (x / zoom + camera[..., 0, None, None] + torch.zeros_like(y)) / CELL + phase[
        :, 0, None, None, None
    ]
    world_y = (y / zoom + camera[..., 1, None, None] + torch.zeros_like(x)) / CELL + phase[
        :, 1, None, None, None
    ]
    waves = [torch.ones_like(world_x)]
    for place in (world_x, world_y):
        for octave in (1, 2):
            waves += [(2 * math.pi * octave * place).cos(), (2 * math.pi * octave * place).sin()]
    return Layout(near.float(), behind.float(), local, torch.stack(waves, 2))


def splat(layout: Layout, weights: Tensor, ground: Tensor) -> Tensor:
    """Feature maps (B, T, 2 C + G, H, W): slot weights (B, SLOTS, C, OBJECT_FEATURES) and ground (B, G, GROUND_FEATURES)."""
    maps = torch.einsum("bscf,btsfhw->btschw", weights, layout.local)
    near = (maps * layout.near[:, :, :, None]).sum(2)
    behind = (maps * layout.behind[:, :, :, None]).sum(2)
    return torch.cat([near, behind, torch.einsum("bgf,btfhw->btghw", ground, layout.ground)], 2)
