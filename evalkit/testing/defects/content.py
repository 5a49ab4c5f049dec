"""Defects of what is shown: subjects that change, jump, vanish. Found by motion alone, so best effort."""

from __future__ import annotations

import math

import torch

from evalkit.testing.defects.registry import Settings, Window, defect, to_uint8
from evalkit.testing.defects.tools import draw, draw_window, event_frame, subject_mask, wide_blur

__all__: list[str] = []

Changed = tuple[torch.Tensor, Window | None]


@defect(
    "subject_swap", leaf="identity.object", title="from one frame to the next, something else is in its place"
)
def _subject_swap(frames: torch.Tensor, settings: Settings) -> Changed:
    at = event_frame(len(frames), settings.generator)
    mask = subject_mask(frames)[at:] * settings.strength
    out = frames.clone()
    here = frames[at:].float()
    out[at:] = to_uint8(here + mask * (settings.donor[at:] - here))
    # As with a cut: what comes after is consistent in itself, so the exchange is what a viewer can point at.
    return out, (at - 1, at)


@defect(
    "identity_drift",
    leaf="identity.character",
    title="the subject slowly turns into something else",
    localised=False,
)
def _identity_drift(frames: torch.Tensor, settings: Settings) -> Changed:
    ramp = torch.linspace(0, 1, len(frames))[:, None, None, None]
    mask = subject_mask(frames) * ramp * settings.strength
    here = frames.float()
    return to_uint8(here + mask * (settings.donor - here)), None


@defect("vanish", leaf="physics.permanence", title="the subject is gone for a while")
def _vanish(frames: torch.Tensor, settings: Settings) -> Changed:
    first, last = draw_window(len(frames), settings.generator)
    mask = subject_mask(frames)
    empty = _background(frames, mask)
    out = frames.clone()
    here = frames[first : last + 1].float()
    shown = settings.strength * mask[first : last + 1]
    out[first : last + 1] = to_uint8(here + shown * (empty[first : last + 1] - here))
    return out, (first, last)


@defect(
    "teleport", leaf="physics.mechanics", title="the subject is suddenly somewhere else", pixel_monotone=False
)
def _teleport(frames: torch.Tensor, settings: Settings) -> Changed:
    at = event_frame(len(frames), settings.generator)
    mask = subject_mask(frames)
    empty = _background(frames, mask)
    angle = draw(settings.generator, 0, 2 * math.pi)
    distance = settings.strength * 0.35 * min(frames.shape[2:])
    shift = (round(distance * math.sin(angle)), round(distance * math.cos(angle)))
    here = frames[at:].float()
    bare = here + mask[at:] * (empty[at:] - here)
    # Rolling lets a subject that leaves on one side come in on the other, which keeps its size.
    moved, moved_mask = here.roll(shift, (2, 3)), mask[at:].roll(shift, (2, 3))
    out = frames.clone()
    out[at:] = to_uint8(bare + moved_mask * (moved - bare))
    return out, (at - 1, at)


def _background(frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The clip without its subject: the mean of the frames in which a place is free, else its surroundings."""
    pixels = frames.float()
    free = 1 - mask
    seen = free.sum(0, keepdim=True)
    across_time = (pixels * free).sum(0, keepdim=True) / seen.clamp_min(1e-3)
    sigma = max(2.0, 0.12 * min(frames.shape[2:]))
    around = wide_blur(pixels * free, sigma) / wide_blur(free, sigma).clamp_min(1e-3)
    # A place that is free in a quarter of the frames is known well enough.
    trust = (4 * seen / len(frames)).clamp(0, 1)
    return trust * across_time + (1 - trust) * around
