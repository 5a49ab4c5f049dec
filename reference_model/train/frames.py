"""Stage `frames`: the reader of single frames learns from the renderer's own tracks what every cell shows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_model.frames import BLEMISHES, CELLS, SIZE, FrameReader, Reading, crops_of
from reference_model.train.loop import Config, Draw
from reference_model.world import Scene, SceneOptions, render, sample_scene, scene_appearance, scene_tracks
from reference_model.world.attributes import BACKGROUNDS, SHAPES, TEXTURED
from reference_model.world.render import CELL, Appearance

ASPECTS = (1.0, 1.0, 1.0, 1.0, 5 / 3, 3 / 5)
"""Drawn once a batch: frames that are not square are stretched, as `prepare` does."""
SYMMETRY = {"circle": 0, "square": 4, "triangle": 3, "star": 5, "heart": 1, "cross": 4}
"""Angle times this is the same for all angles at which a shape looks the same; 0: it has no angle."""
INEXACT = 0.2
"""Standard deviation of the guesses that crops are cut by: of the centre in radii, and of the log half-axes."""
TOUCH = 0.9
"""Share of an object's radius within which a cell counts as on it."""


class Truth(NamedTuple):
    """What N frames show: per cell (N, CELLS * CELLS) and per frame."""

    thing: Tensor
    colour: Tensor
    place: Tensor
    """(N, cells, 4): offset and log radii, in the order of PARTS."""
    weight: Tensor
    """Cells of an object weigh 1 together, however large it is; 0 on the background."""
    textured: Tensor
    phase: Tensor
    zoom: Tensor
    frame: Tensor
    """Of the M objects whose centre is inside: frame (M,), centre, radii, angle (M, 2), shape (M,)."""
    centre: Tensor
    radii: Tensor
    angle: Tensor
    shape: Tensor


def truth_of(objects: Tensor, camera: Tensor, look: Appearance, aspect: float) -> Truth:
    """Targets of single frames: objects (N, SLOTS, 6), camera (N, 3), as `world.render` documents them."""
    wide, high = max(aspect, 1.0), max(1 / aspect, 1.0)
    zoom = camera[:, 2].exp()[:, None]
    centre = torch.stack(
        [
            (objects[..., 1] - camera[:, None, 0]) * zoom / wide,
            (objects[..., 2] - camera[:, None, 1]) * zoom / high,
        ],
        -1,
    )
    radii = torch.stack([objects[..., 3].exp() * zoom / wide, objects[..., 3].exp() * zoom / high], -1)
    ramp = (torch.arange(CELLS, device=objects.device) + 0.5) * 2 / CELLS - 1
    cells = torch.stack(torch.meshgrid(ramp, ramp, indexing="xy"), -1).view(1, 1, -1, 2)
    offset = centre[:, :, None] - cells
    # An object narrower than a cell still has the cell that its centre is in.
    near = ((offset / radii[:, :, None]).square().sum(-1) < TOUCH**2) | (offset.abs().amax(-1) <= 1 / CELLS)
    near &= (objects[..., 0] > 0.5)[..., None]
    slots = torch.arange(objects.shape[1], device=objects.device)
    front = (objects[..., 5] + 1e-3 * slots)[..., None].masked_fill(~near, -math.inf)
    owner = front.argmax(1)
    thing = near.any(1)
    rows = torch.arange(len(owner), device=owner.device)[:, None]
    place = torch.cat([offset[rows, owner, torch.arange(CELLS**2)], radii.log()[rows, owner]], -1)
    counts = torch.stack([((owner == slot) & thing).sum(1) for slot in slots], 1)
    weight = thing / counts.gather(1, owner).clamp(min=1)
    phase = 2 * math.pi * (camera[:, :2] / CELL + look.phase)
    seen = (objects[..., 0] > 0.5) & (centre.abs().amax(-1) < 1)
    fold = torch.tensor([SYMMETRY[name] for name in SHAPES], device=objects.device)[look.shape]
    turned = fold * objects[..., 4]
    angle = torch.stack([turned.cos(), turned.sin()], -1) * (fold > 0)[..., None]
    return Truth(
        thing.float(), look.colour.gather(1, owner), place, weight,
        torch.isin(look.background, torch.tensor([list(BACKGROUNDS).index(name) for name in TEXTURED], device=owner.device)),
        torch.cat([phase.cos(), phase.sin()], 1), camera[:, 2],
        seen.nonzero()[:, 0], centre[seen], radii[seen], angle[seen], look.shape[seen],
    )  # fmt: skip


def drafts(clips: Tensor) -> Tensor:
    """Clips (B, T, 3, H, W) as if enlarged from half the size."""
    half = F.avg_pool2d(clips.flatten(0, 1), 2)
    return F.interpolate(half, scale_factor=2, mode="bicubic").view_as(clips)


def worsen(frames: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clips (B, T, 3, H, W) in [-1, 1] with softness, grain and tint on some; and how much (B, len(BLEMISHES)).

    Softness is what enlarging a draft of half the size does; grain is independent in every frame.
    """
    count = len(frames)

    def amount(share: float) -> Tensor:
        chosen = torch.rand(count, generator=generator) < share
        return torch.rand(count, generator=generator) * chosen

    soft, grain = amount(0.5), amount(0.4) ** 2
    tint = torch.randn(count, 1, 3, 1, 1, generator=generator) * 0.03
    frames = frames + tint.to(frames.device)
    rows = soft.nonzero()[:, 0]
    if len(rows):
        frames[rows] = frames[rows].lerp(
            drafts(frames[rows]), soft[rows].view(-1, 1, 1, 1, 1).to(frames.device)
        )
    rows = grain.nonzero()[:, 0]
    if len(rows):
        noise = torch.randn(frames[rows].shape, generator=generator).to(frames.device)
        frames[rows] = frames[rows] + 0.2 * grain[rows].view(-1, 1, 1, 1, 1).to(frames.device) * noise
    return frames, torch.stack([soft, grain], 1).to(frames.device)


def pixels_of(objects: Tensor, camera: Tensor, look: Appearance, aspect: float) -> Tensor:
    """Rendered clips (B, T, 3, SIZE, SIZE) in [-1, 1]; frames of another aspect are stretched as `prepare` does."""
    if aspect == 1.0:
        return render(objects, camera, look, SIZE, SIZE) * 2 - 1
    short = 48
    height, width = (short, round(short * aspect)) if aspect > 1 else (round(short / aspect), short)
    frames = render(objects, camera, look, height, width)
    square = F.interpolate(frames.flatten(0, 1), (SIZE, SIZE), mode="bilinear", antialias=True)
    return square.view(*frames.shape[:3], SIZE, SIZE) * 2 - 1


class FramesStage:
    """Dense cross-entropies and distances over cells, and of the scene: background, style, pattern's phase, blemishes."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device

    def build(self) -> nn.Module:
        """The reader."""
        return FrameReader().to(self.device)

    def batch(self, draw: Draw, count: int, worse: bool) -> tuple[Tensor, Truth, Appearance, Tensor]:
        """Frames (N, 3, SIZE, SIZE) at drawn times of drawn scenes, what they show, and their blemishes."""
        aspect = draw.scenes.choice(ASPECTS)
        options = SceneOptions(held_out="include", aspect=aspect)
        scenes: list[Scene] = [sample_scene(draw.scenes, options) for _ in range(count)]
        objects, camera = (
            part.to(self.device) for part in scene_tracks(scenes, [[draw.scenes.random()] for _ in scenes])
        )
        look = scene_appearance(scenes).to(self.device)
        frames = pixels_of(objects, camera, look, aspect)
        blemish = torch.zeros(count, len(BLEMISHES), device=self.device)
        if worse:
            frames, blemish = worsen(frames, draw.noise)
        return frames[:, 0], truth_of(objects[:, :, 0], camera[:, 0], look, aspect), look, blemish

    def loss(self, module: nn.Module, draw: Draw) -> Tensor:
        """One batch."""
        frames, truth, look, blemish = self.batch(draw, self.config.batch, worse=True)
        loss = reading_loss(module, module(frames), truth, look, blemish)
        return loss + look_loss(module, frames, truth, draw)

    def probe(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """On clean frames: accuracy of cells and scene, and mean distances of centre, radii, phase."""
        frames, truth, look, _ = self.batch(Draw.of(self.config.seed, 0, "probe"), 384, worse=False)
        reading = module(frames)
        weight = truth.weight / truth.weight.sum()
        colour = reading.part("colour").argmax(1) == truth.colour
        place = torch.cat([reading.part(name) for name in ("offset", "radii")], 1)
        gaps = ((place.transpose(1, 2) - truth.place).abs() * weight[..., None]).sum((0, 1))
        crops, shift, growth = inexact_crops(frames, truth, Draw.of(self.config.seed, 1, "probe"))
        look_ = module.look(crops)
        looks = {name: head(reading.scene) for name, head in module.looks.items()}
        found = (reading.part("thing")[:, 0] > 0) == (truth.thing > 0.5)
        return {
            "thing": float(found.float().mean()),
            "colour": float((colour * weight).sum()),
            "offset_gap": float(gaps[:2].mean()),
            "radii_gap": float(gaps[2:].mean()),
            "shape": float((look_.part("shape").argmax(1) == truth.shape).float().mean()),
            "angle_gap": float((look_.part("angle") - truth.angle).abs().mean()),
            "shift_gap": float((look_.part("shift") - shift).abs().mean()),
            "growth_gap": float((look_.part("growth") - growth).abs().mean()),
            "background": float((looks["background"].argmax(1) == look.background).float().mean()),
            "style": float((looks["style"].argmax(1) == look.style).float().mean()),
            "phase_gap": float((looks["phase"] - truth.phase)[truth.textured].abs().mean()),
            "zoom_gap": float((looks["zoom"][:, 0] - truth.zoom)[truth.textured].abs().mean()),
            "blemish_clean": float(looks["blemish"].abs().mean()),
        }


def reading_loss(
    module: nn.Module, reading: Reading, truth: Truth, look: Appearance, blemish: Tensor
) -> Tensor:
    """Sum of all parts, each weighed so that it starts near 1."""
    weight = truth.weight / truth.weight.sum()

    colour = (F.cross_entropy(reading.part("colour"), truth.colour, reduction="none") * weight).sum()
    place = torch.cat([reading.part(name) for name in ("offset", "radii")], 1)
    gaps = F.smooth_l1_loss(place.transpose(1, 2), truth.place, reduction="none", beta=0.1)
    looks = {name: head(reading.scene) for name, head in module.looks.items()}  # type: ignore[operator,union-attr]
    pattern = F.smooth_l1_loss(looks["phase"], truth.phase, reduction="none", beta=0.1).mean(1)
    zoom = F.smooth_l1_loss(looks["zoom"][:, 0], truth.zoom, reduction="none", beta=0.05)
    textured = truth.textured / truth.textured.sum().clamp(min=1)
    return (
        F.binary_cross_entropy_with_logits(reading.part("thing")[:, 0], truth.thing)
        + 0.5 * colour
        + ((gaps * gaps.new_tensor([4, 4, 2, 2])).sum(-1) * weight).sum()
        + 0.5 * F.cross_entropy(looks["background"], look.background)
        + 0.5 * F.cross_entropy(looks["style"], look.style)
        + ((pattern + 2 * zoom) * textured).sum()
        + 2 * F.smooth_l1_loss(looks["blemish"], blemish, beta=0.1)
    )


def inexact_crops(frames: Tensor, truth: Truth, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
    """Crops of every object, cut about a guess of its place, and how far the truth is from the guess (`ANSWERS`)."""

    def noise() -> Tensor:
        return INEXACT * torch.randn(truth.centre.shape, generator=draw.noise).to(frames.device)

    radii = truth.radii * noise().exp()
    centre = truth.centre + truth.radii * noise()
    crops = crops_of(frames, truth.frame, centre, radii)
    return crops, (truth.centre - centre) / radii, (truth.radii / radii).log()


def look_loss(module: nn.Module, frames: Tensor, truth: Truth, draw: Draw) -> Tensor:
    """Shape, angle, and by how much the crop was cut wrongly."""
    crops, shift, growth = inexact_crops(frames, truth, draw)
    look = module.look(crops)  # type: ignore[operator]
    return (
        F.cross_entropy(look.part("shape"), truth.shape)
        + F.smooth_l1_loss(look.part("angle"), truth.angle, beta=0.1)
        + 2 * F.smooth_l1_loss(look.part("shift"), shift, beta=0.05)
        + 2 * F.smooth_l1_loss(look.part("growth"), growth, beta=0.05)
    )
