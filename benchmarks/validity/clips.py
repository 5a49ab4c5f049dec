"""The clips that are spoilt: single shots of camera footage, and rendered clips of the reference world."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.validity.people import read_ratings
from benchmarks.validity.scoring import reduced
from evalkit.errors import EvalkitError
from evalkit.features.flow import dis_flow
from evalkit.features.pixels import planes_of
from evalkit.metrics.functional.coherence import coherence
from evalkit.models.protocol import GenerationFailure, GenerationRequest
from evalkit.models.registry import load_model
from evalkit.suites import Prompt, load_suite
from evalkit.video import Video, decode

__all__ = ["longest_shot", "study_clips", "world_clips", "world_prompts"]

# Footage at hand is edited, and thinned to about two frames a second in places. A shot is a stretch in which every
# frame can be followed into the next one over more than half of the picture.
_FOLLOWED = 0.5


def longest_shot(followed: NDArray[np.float64]) -> tuple[int, int]:
    """First and last frame of the longest stretch whose transitions can all be followed.

    Args:
        followed: share of the picture that can be followed, per transition.
    """
    best, start = (0, 0), 0
    for place in range(len(followed) + 1):
        if place == len(followed) or followed[place] < _FOLLOWED:
            if place - start > best[1] - best[0]:
                best = (start, place)
            start = place + 1
    return best


def study_clips(data: Path, count: int, short_side: int, frames: int) -> dict[str, Video]:
    """Shots of `frames` frames from distinct camera clips of the rated set, evenly spread over it.

    Raises:
        EvalkitError: the rated clips are not there.
    """
    rated = data / "rated"
    if not (rated / "ratings.csv").is_file():
        raise EvalkitError(
            f"no rated clips at {rated}: give the folder that holds rated/ with --data or EVALKIT_DATA"
        )
    shots: dict[str, Video] = {}
    seen = set()
    for row in read_ratings(rated, "file"):
        if row["model"] != "gt":
            continue
        video = decode(rated / row["file"])
        if video.clip_id in seen:
            continue
        seen.add(video.clip_id)
        small = reduced(video, short_side, video.num_frames)
        luma = planes_of(small.frames, 256)[..., 0].contiguous()
        first, last = longest_shot(coherence(*dis_flow(luma)).numpy())
        if last - first + 1 >= frames:
            shots[row["file"]] = Video(small.frames[first : first + frames].contiguous(), video.fps)
    names = list(shots)
    step = max(1.0, len(names) / count)
    return {
        names[int(place * step)]: shots[names[int(place * step)]] for place in range(min(count, len(names)))
    }


def world_prompts(count: int) -> list[Prompt]:
    """Prompts of the core suite in which something moves, evenly spread over it."""
    moving = [
        prompt for prompt in load_suite("core").prompts if prompt.expect.get("motion") not in (None, "still")
    ]
    step = max(1.0, len(moving) / count)
    return [moving[int(place * step)] for place in range(min(count, len(moving)))]


def world_clips(
    prompts: list[Prompt], *, seed: int = 0, side: int = 64, frames: int = 16
) -> Mapping[str, Video]:
    """The rendered truth of the prompts: clips without any defect of their own.

    Raises:
        EvalkitError: a prompt is outside the reference world.
    """
    made = load_model("world").generate(
        [
            GenerationRequest(
                prompt=prompt.text, seed=seed, num_frames=frames, height=side, width=side, fps=Fraction(8),
                expect=prompt.expect,
            )
            for prompt in prompts
        ]
    )  # fmt: skip
    clips = {}
    for prompt, video in zip(prompts, made, strict=True):
        if isinstance(video, GenerationFailure):
            raise EvalkitError(f"validity: prompt {prompt.id!r} cannot be rendered: {video.reason}")
        clips[prompt.id] = Video(torch.as_tensor(video.frames), video.fps)
    return clips
