"""The clips that are spoilt: single shots of camera footage, and rendered clips of the reference world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

__all__ = ["shots", "study_clips", "unseen_clips", "world_clips", "world_prompts"]

# Footage at hand is edited, and thinned to about two frames a second in places. A shot is a stretch in which every
# frame can be followed into the next one over more than half of the picture.
_FOLLOWED = 0.5


def shots(followed: NDArray[np.float64]) -> list[tuple[int, int]]:
    """First and last frame of every stretch whose transitions can all be followed.

    Args:
        followed: share of the picture that can be followed, per transition.

    Example:
        >>> shots(np.array([0.9, 0.1, 0.8, 0.7]))
        [(0, 1), (2, 4)]
    """
    borders = [place for place, share in enumerate(followed) if share < _FOLLOWED]
    return list(zip([0, *(place + 1 for place in borders)], [*borders, len(followed)], strict=True))


def _footage(data: Path, short_side: int) -> Iterator[tuple[str, Video, list[tuple[int, int]]]]:
    """Distinct camera clips of the rated set by their files, reduced, with their shots.

    Raises:
        EvalkitError: the rated clips are not there.
    """
    rated = data / "rated"
    if not (rated / "ratings.csv").is_file():
        raise EvalkitError(
            f"no rated clips at {rated}: give the folder that holds rated/ with --data or EVALKIT_DATA"
        )
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
        yield row["file"], small, shots(coherence(*dis_flow(luma)).numpy())


def study_clips(data: Path, count: int, short_side: int, frames: int) -> dict[str, Video]:
    """Shots of `frames` frames from distinct camera clips of the rated set, evenly spread over it.

    Raises:
        EvalkitError: the rated clips are not there.
    """
    found = {}
    for file, video, stretches in _footage(data, short_side):
        first, last = max(stretches, key=_length)
        if last - first + 1 >= frames:
            found[file] = _span(video, first, frames)
    names = list(found)
    step = max(1.0, len(names) / count)
    return {
        names[int(place * step)]: found[names[int(place * step)]] for place in range(min(count, len(names)))
    }


def unseen_clips(data: Path, short_side: int, frames: int, length: int) -> dict[str, Video]:
    """Spans of `length` frames of the same footage that `study_clips` with that many `frames` leaves out.

    What comes after its part of a shot, the other shots, and shots too short for it: for what was chosen on the study's
    clips, and is to be confirmed on others.

    Raises:
        EvalkitError: the rated clips are not there.
    """
    found = {}
    for file, video, stretches in _footage(data, short_side):
        longest = max(stretches, key=_length)
        for first, last in stretches:
            start = first + frames if (first, last) == longest and last - first + 1 >= frames else first
            if last - start + 1 >= length:
                found[f"{file}@{start}"] = _span(video, start, length)
    return found


def _length(shot: tuple[int, int]) -> int:
    return shot[1] - shot[0]


def _span(video: Video, first: int, frames: int) -> Video:
    return Video(video.frames[first : first + frames].contiguous(), video.fps)


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
