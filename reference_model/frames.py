"""What the judging encoders see in a single frame: things in a 16 x 16 map of cells, and the scene around them.

A convolutional network reads every frame by itself, and then looks at each object in a crop of its own, in which it is
as large as any other. Both are trained with the renderer's exact tracks (`train.frames`), so that place, size and shape
are learned from every object in every frame, not from one label a clip.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_model.world.attributes import BACKGROUNDS, COLOURS, SHAPES, STYLES

SIZE, CELLS = 64, 16
SCENE = 128
PARTS = {"thing": 1, "colour": len(COLOURS), "offset": 2, "radii": 2}
"""Channels of a cell: is it on an object; of which colour; from the cell to the object's centre, and logarithm of its
half-axes (frame width and height are 2)."""
CROP, WINDOW, GLANCE = 24, 1.6, 96
"""An object is looked at in a crop of so many pixels, so many radii to each side."""
ANSWERS = {"shape": len(SHAPES), "angle": 2, "shift": 2, "growth": 2}
"""What a look at one object says: shape; cosine and sine of its angle times the shape's symmetry; and how far the true
centre (in radii) and half-axes (logarithm) are from those that the crop was cut by."""
BLEMISHES = ("softness", "grain")
"""Faults of a single frame that the network also learns to see, so that features tell drafts from sharp frames."""


class Reading(NamedTuple):
    """Of N frames: `cells` (N, sum of PARTS, CELLS, CELLS) and `scene` (N, SCENE)."""

    cells: Tensor
    scene: Tensor

    def part(self, name: str) -> Tensor:
        """The channels of one of PARTS, (N, channels, CELLS * CELLS)."""
        return _part(self.cells.flatten(2), PARTS, name)


class Look(NamedTuple):
    """Of M crops: `answers` (M, sum of ANSWERS) and `features` (M, GLANCE)."""

    answers: Tensor
    features: Tensor

    def part(self, name: str) -> Tensor:
        """The channels of one of ANSWERS, (M, channels)."""
        return _part(self.answers, ANSWERS, name)


def _part(values: Tensor, sizes: dict[str, int], name: str) -> Tensor:
    start = sum(list(sizes.values())[: list(sizes).index(name)])
    return values[:, start : start + sizes[name]]


def crops_of(frames: Tensor, rows: Tensor, centre: Tensor, radii: Tensor) -> Tensor:
    """Crops (M, 3, CROP, CROP) of `frames[rows]` about centres (M, 2), WINDOW half-axes (M, 2, not logarithms) wide.

    An object fills its crop the same way whatever its size, place and the aspect of the frame.
    """
    ramp = (torch.arange(CROP, device=frames.device) + 0.5) * 2 / CROP - 1
    grid = torch.stack(torch.meshgrid(ramp, ramp, indexing="xy"), -1)
    at = centre[:, None, None] + WINDOW * radii[:, None, None] * grid
    return F.grid_sample(frames[rows], at, mode="bilinear", padding_mode="border", align_corners=False)


class Residual(nn.Module):
    """Two convolutions beside an identity; no normalisation, which would take brightness and contrast away."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, 1, 1) for _ in range(2))
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """X (N, channels, H, W), not negative."""
        return F.relu(x + self.second(F.relu(self.first(x))))


class FrameReader(nn.Module):
    """Frames (N, 3, SIZE, SIZE) in [-1, 1] to a `Reading`."""

    def __init__(self, width: int = 48, deep: int = 72) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 5, 2, 2)
        self.down = nn.Conv2d(16, 32, 3, 2, 1)
        self.fine = nn.Conv2d(32, width, 3, 1, 1)
        self.deeper = nn.Conv2d(width, deep, 3, 2, 1)
        self.context = Residual(deep)
        self.back = nn.Conv2d(deep, width, 1)
        self.mixed = nn.Conv2d(width, width, 3, 1, 1)
        self.cells = nn.Conv2d(width, sum(PARTS.values()), 1)
        self.reduce = nn.Conv2d(deep, 24, 1)
        self.scene = nn.Linear(24 * (CELLS // 2) ** 2 + 32 + width, SCENE)
        self.looks = nn.ModuleDict(
            {
                "background": nn.Linear(SCENE, len(BACKGROUNDS)),
                "style": nn.Linear(SCENE, len(STYLES)),
                "phase": nn.Linear(SCENE, 4),
                "zoom": nn.Linear(SCENE, 1),
                "blemish": nn.Linear(SCENE, len(BLEMISHES)),
            }
        )
        self.glance = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2), nn.ReLU(),
            nn.Conv2d(24, 32, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(32, 48, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(48 * (CROP // 4) ** 2, GLANCE), nn.ReLU(),
        )  # fmt: skip
        self.answers = nn.Linear(GLANCE, sum(ANSWERS.values()))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if module.weight.any():
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def look(self, crops: Tensor) -> Look:
        """Crops (M, 3, CROP, CROP) of `crops_of` to what they show."""
        features = self.glance(crops)
        return Look(self.answers(features), features)

    def forward(self, frames: Tensor) -> Reading:
        """Both outputs of `Reading`."""
        early = F.relu(self.down(F.relu(self.stem(frames.contiguous(memory_format=torch.channels_last)))))
        fine = F.relu(self.fine(early))
        deep = self.context(F.relu(self.deeper(fine)))
        both = fine + F.interpolate(self.back(deep), scale_factor=2.0, mode="nearest")
        cells = self.cells(F.relu(self.mixed(F.relu(both))))
        texture = torch.cat([early.mean((2, 3)), fine.mean((2, 3))], 1)
        scene = self.scene(torch.cat([F.relu(self.reduce(deep)).flatten(1), texture], 1))
        return Reading(cells, F.relu(scene))
