"""What the two pixel stages share: batches of rendered clips with captions, and sheets of samples."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from reference_model.layout import Layout, draw_layout
from reference_model.text import TextEncoder, Tokenizer
from reference_model.train.data import encode_texts, training_pair
from reference_model.world import Scene, frame_times, render, scene_appearance, scene_tracks

FRAMES = 16
"""Clips are thought of as having this many frames; a batch may show a stretch of them."""


class Batch(NamedTuple):
    """Scenes, their exact tracks (objects, camera, phase) at the drawn times, and text summaries."""

    scenes: list[Scene]
    objects: Tensor
    camera: Tensor
    phase: Tensor
    text: Tensor

    def frames(self, height: int, width: int) -> Tensor:
        """Pixels in [-1, 1]."""
        look = scene_appearance(self.scenes).to(self.objects.device)
        return render(self.objects, self.camera, look, height, width) * 2 - 1

    def layout(self, height: int, width: int) -> Layout:
        """Where the objects are, as painter and refiner are told."""
        return draw_layout(self.objects, self.camera, self.phase, height, width)


def stretch(rng: random.Random, frames: int) -> list[float]:
    """Times of `frames` frames in a row of a clip of FRAMES."""
    times = frame_times(FRAMES)
    start = rng.randrange(FRAMES - frames + 1)
    return times[start : start + frames]


def batch_of(
    scenes: list[Scene],
    texts: Sequence[str],
    times: list[list[float]],
    encoder: TextEncoder,
    tokenizer: Tokenizer,
    device: torch.device,
) -> Batch:
    """A batch of given scenes and captions."""
    objects, camera = (part.to(device) for part in scene_tracks(scenes, times))
    phase = torch.tensor([scene.phase for scene in scenes], device=device)
    return Batch(scenes, objects, camera, phase, encode_texts(encoder, tokenizer, texts, device))


def draw_batch(
    rng: random.Random,
    count: int,
    frames: int,
    aspect: float,
    encoder: TextEncoder,
    tokenizer: Tokenizer,
    device: torch.device,
) -> Batch:
    """Training pairs: one aspect for the batch, an own stretch of time for each clip."""
    pairs = [training_pair(rng, aspect=aspect) for _ in range(count)]
    times = [stretch(rng, frames) for _ in range(count)]
    return batch_of(
        [scene for scene, _ in pairs], [c.text for _, c in pairs], times, encoder, tokenizer, device
    )


def save_sheet(rows: Sequence[Tensor], path: Path, zoom: int = 2, every: int = 3) -> None:
    """PNG of clips (T, 3, H, W) in [-1, 1], one a row, every `every`-th frame."""
    strips = [torch.cat(list(clip[::every]), -1) for clip in rows]
    sheet = ((torch.cat(strips, -2).clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(sheet)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST).save(path)
