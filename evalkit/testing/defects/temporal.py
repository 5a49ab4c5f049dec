"""Defects of time: brightness, place and order of frames."""

from __future__ import annotations

import math

import torch

from evalkit.testing.defects.registry import Settings, Window, defect, to_uint8
from evalkit.testing.defects.tools import draw, draw_window, event_frame, smooth_noise, warp

__all__: list[str] = []

Changed = tuple[torch.Tensor, Window | None]


def alternating(first: int, last: int) -> torch.Tensor:
    """+1, -1, +1, ... for the frames of a window, as `(n, 1, 1, 1)`."""
    return (1.0 - 2.0 * (torch.arange(last - first + 1) % 2))[:, None, None, None]


@defect("flicker_gain", leaf="temporal.flicker", title="brightness jumps up and down from frame to frame")
def _flicker_gain(frames: torch.Tensor, settings: Settings) -> Changed:
    first, last = draw_window(len(frames), settings.generator)
    out = frames.clone()
    # +-20% is a lamp failing; +-4%, the weakest level, is barely seen on a still picture.
    gain = 1 + 0.20 * settings.strength * alternating(first, last)
    out[first : last + 1] = to_uint8(frames[first : last + 1] * gain)
    return out, (first, last)


@defect("flicker_colour", leaf="temporal.flicker", title="the tint alternates from frame to frame")
def _flicker_colour(frames: torch.Tensor, settings: Settings) -> Changed:
    first, last = draw_window(len(frames), settings.generator)
    out = frames.clone()
    tint = 30 * settings.strength * _tint(settings.generator)
    out[first : last + 1] = to_uint8(frames[first : last + 1] + alternating(first, last) * tint)
    return out, (first, last)


@defect(
    "flicker_texture",
    leaf="temporal.flicker",
    title="surfaces boil: patches brighten and darken on their own",
)
def _flicker_texture(frames: torch.Tensor, settings: Settings) -> Changed:
    first, last = draw_window(len(frames), settings.generator)
    count, (height, width) = last - first + 1, frames.shape[2:]
    cell = max(3, min(height, width) // 16)
    field = smooth_noise(count, height, width, cell, settings.generator)
    out = frames.clone()
    out[first : last + 1] = to_uint8(frames[first : last + 1] + 45 * settings.strength * field)
    return out, (first, last)


@defect("jitter", leaf="temporal.jitter", title="the picture shakes", pixel_monotone=False)
def _jitter(frames: torch.Tensor, settings: Settings) -> Changed:
    first, last = draw_window(len(frames), settings.generator)
    count, side = last - first + 1, min(frames.shape[2:])
    reach = settings.strength * max(1.5, 0.03 * side)
    # To and fro in about one direction, as a shake does; a random walk would be a pan.
    angles = draw(settings.generator, 0, 2 * math.pi) + math.pi * (torch.arange(count) % 2)
    angles = angles + 0.6 * torch.randn(count, generator=settings.generator)
    dx, dy = (reach * torch.cos(angles))[:, None, None], (reach * torch.sin(angles))[:, None, None]
    out = frames.clone()
    out[first : last + 1] = to_uint8(warp(frames[first : last + 1].float(), dx, dy))
    return out, (first, last)


@defect("morph", leaf="temporal.morph", title="shapes wobble like jelly", pixel_monotone=False)
def _morph(frames: torch.Tensor, settings: Settings) -> Changed:
    first, last = draw_window(len(frames), settings.generator)
    count, (height, width) = last - first + 1, frames.shape[2:]
    cell = max(4, min(height, width) // 4)
    reach = settings.strength * max(1.5, 0.04 * min(height, width))
    # Two fixed fields, mixed by a phase that turns a quarter per frame: a wobble without a jump.
    fields = smooth_noise(4, height, width, cell, settings.generator)[:, 0]
    phase = (torch.arange(count) + 1)[:, None, None] * (math.pi / 2.5)
    dx = reach * (fields[0] * torch.sin(phase) + fields[1] * (1 - torch.cos(phase)) / 2)
    dy = reach * (fields[2] * torch.sin(phase) + fields[3] * (1 - torch.cos(phase)) / 2)
    out = frames.clone()
    out[first : last + 1] = to_uint8(warp(frames[first : last + 1].float(), dx, dy))
    return out, (first, last)


@defect(
    "dropped_frames",
    leaf="temporal.jitter",
    title="frames are missing: things jump ahead",
    min_frames=6,
    pixel_monotone=False,
    keeps_length=False,
)
def _dropped_frames(frames: torch.Tensor, settings: Settings) -> Changed:
    count = len(frames)
    most = max(1, count // 3)
    # The gap begins where even the longest one leaves a frame after it.
    first = 2 + int(torch.randint(max(1, count - most - 3), (), generator=settings.generator))
    missing = math.ceil(settings.strength * most)
    return torch.cat([frames[:first], frames[first + missing :]]), (first - 1, first)


@defect(
    "duplicated_frames", leaf="temporal.jitter", title="frames are shown twice: motion stutters", min_frames=6
)
def _duplicated_frames(frames: torch.Tensor, settings: Settings) -> Changed:
    # A long window, so that the five levels of a clip of 16 frames differ in how many frames repeat.
    first, last = draw_window(len(frames), settings.generator, share=0.7)
    # Every second frame may become a copy of the one before it, which itself stays.
    candidates = torch.arange(first, last + 1, 2)
    order = candidates[torch.randperm(len(candidates), generator=settings.generator)]
    repeated = order[: math.ceil(settings.strength * len(order))]
    out = frames.clone()
    out[repeated] = frames[repeated - 1]
    return out, (int(repeated.min()) - 1, int(repeated.max()))


@defect("frozen_frames", leaf="temporal.frozen", title="the clip stands still, then jumps on", min_frames=6)
def _frozen_frames(frames: torch.Tensor, settings: Settings) -> Changed:
    count = len(frames)
    longest = max(2, count // 2)
    first = 1 + int(torch.randint(max(1, count - longest - 2), (), generator=settings.generator))
    last = min(count - 1, first + math.ceil(settings.strength * longest))
    out = frames.clone()
    out[first : last + 1] = frames[first]
    return out, (first, last)


@defect(
    "loop",
    leaf="scene.loop",
    title="the clip starts over",
    min_frames=6,
    pixel_monotone=False,
)
def _loop(frames: torch.Tensor, settings: Settings) -> Changed:
    count = len(frames)
    repeated = math.ceil(settings.strength * (count // 2))
    return torch.cat([frames[: count - repeated], frames[:repeated]]), (count - repeated, count - 1)


@defect(
    "reversed_time",
    leaf="physics.mechanics",
    title="the clip turns round and runs backwards",
    pixel_monotone=False,
)
def _reversed_time(frames: torch.Tensor, settings: Settings) -> Changed:
    count = len(frames)
    forwards = count - max(2, math.ceil(settings.strength * count))
    # Up to a turning point and back, so that nothing jumps; at full strength only backwards.
    start = max(0, count - 2 * forwards + 1) if forwards else 0
    turn = start + forwards - 1 if forwards else count
    up = list(range(start, start + forwards))
    down = list(range(turn - 1, -1, -1))[: count - forwards]
    return frames[up + down], (forwards, count - 1)


@defect(
    "cut",
    leaf="scene.transition",
    title="another shot begins without being asked for",
)
def _cut(frames: torch.Tensor, settings: Settings) -> Changed:
    at = event_frame(len(frames), settings.generator)
    out = frames.clone()
    here = frames[at:].float()
    out[at:] = to_uint8(here + settings.strength * (settings.donor[at:] - here))
    return out, (at - 1, at)


@defect(
    "chunk_seams",
    leaf="scene.long_drift",
    title="a jolt comes back every so many frames, where pieces were joined",
    min_frames=6,
    localised=False,
)
def _chunk_seams(frames: torch.Tensor, settings: Settings) -> Changed:
    """Pieces are lighter and darker by turns, as when every piece is made, or decoded, on its own."""
    count = len(frames)
    # 4 frames are the shortest piece of current models; a clip has at least three borders from 13 frames on.
    length = max(4, count // 5)
    phase, sign = (int(torch.randint(most, (), generator=settings.generator)) for most in (length, 2))
    piece = (torch.arange(count) + phase) // length
    gain = 1 + 0.10 * settings.strength * (1.0 - 2.0 * ((piece + sign) % 2))
    return to_uint8(frames * gain[:, None, None, None]), None


@defect(
    "colour_drift",
    leaf="scene.long_drift",
    title="the colours slide away from the beginning's",
    localised=False,
)
def _colour_drift(frames: torch.Tensor, settings: Settings) -> Changed:
    ramp = torch.linspace(0, 1, len(frames))[:, None, None, None]
    tint = 60 * settings.strength * _tint(settings.generator)
    return to_uint8(frames + ramp * tint), None


def _tint(generator: torch.Generator) -> torch.Tensor:
    """A direction in RGB `(1, 3, 1, 1)` that leaves luma as it is, of length 1 in its largest channel."""
    angle = draw(generator, 0, 2 * math.pi)
    # Two directions that span the plane of constant BT.601 luma: red against green, blue against green.
    red = torch.tensor([1.0, -0.299 / 0.587, 0.0])
    blue = torch.tensor([0.0, -0.114 / 0.587, 1.0])
    tint = math.cos(angle) * red + math.sin(angle) * blue
    return (tint / tint.abs().max())[None, :, None, None]
