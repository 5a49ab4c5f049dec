"""When two reports may be about the same thing: exact keys, and likeness of picture and prompt."""

from __future__ import annotations

import math
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from evalkit.canonical import content_digest
from evalkit.suites.similar import normalise

if TYPE_CHECKING:
    from evalkit.failures.record import FailureReport, Reproduction
    from evalkit.video import Video

__all__ = ["NEAR_BITS", "NEAR_PROMPT", "fingerprint", "hash_distance", "perceptual_hash", "prompt_likeness"]

_FRAMES = 4
NEAR_BITS = 10.0
"""Two clips look alike when at most this many of the 64 bits of a frame differ, on average over the frames."""
NEAR_PROMPT = 0.8
"""Two prompts say nearly the same from this likeness on."""


def fingerprint(report: FailureReport) -> str:
    """`v1:` and 32 hex digits of category, normalised prompt, model and a coarse bucket of the settings.

    Two testers who hit the same thing with the same version seldom have exactly the same settings, so sizes, lengths
    and steps fall into powers of two and guidance into whole numbers. The seed is left out on purpose.
    """
    content = [
        report.category,
        normalise(report.prompt),
        report.model.name.casefold(),
        report.model.version.casefold(),
        _bucket(report.reproduction),
    ]
    return "v1:" + content_digest(content)


def _bucket(settings: Reproduction) -> list[object]:
    def octave(number: int | None) -> int | None:
        return None if number is None else round(math.log2(number))

    area = settings.width * settings.height if settings.width and settings.height else None
    guidance = settings.guidance_scale
    return [
        octave(area),
        octave(settings.num_frames),
        octave(settings.num_inference_steps),
        None if guidance is None else round(guidance),
        settings.scheduler.casefold(),
    ]


def perceptual_hash(video: Video) -> str:
    """Difference hash of four evenly spaced frames, 16 hex digits each (Krawetz 2013, "Kind of Like That").

    Each frame becomes 9x8 grey values by area averaging; a bit says whether a value is brighter than its left
    neighbour. Re-encoding and scaling change few bits.
    """
    import torch
    from torch.nn.functional import adaptive_avg_pool2d

    last = video.num_frames - 1
    picks = [round(last * step / (_FRAMES - 1)) for step in range(_FRAMES)]
    frames = video.frames[picks].to(torch.float32)
    grey = (frames * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    small = adaptive_avg_pool2d(grey, (8, 9))[:, 0]
    bits = (small[:, :, 1:] > small[:, :, :-1]).flatten(1).tolist()
    return "".join(f"{int(''.join('1' if bit else '0' for bit in frame), 2):016x}" for frame in bits)


def hash_distance(first: str, second: str) -> float:
    """Differing bits of 64, averaged over the frames of two perceptual hashes.

    >>> hash_distance("0000000000000000", "00000000000000ff")
    8.0
    """
    if len(first) != len(second):
        return 64.0
    return (int(first, 16) ^ int(second, 16)).bit_count() / (len(first) / 16)


def prompt_likeness(first: str, second: str) -> float:
    """Likeness of two prompts in 0..1: the better of shared words and shared letter runs, after normalisation.

    >>> prompt_likeness("A red ball rolls left.", "the red ball rolls left")
    1.0
    """
    one, other = normalise(first), normalise(second)
    if one == other:
        return 1.0
    words, others = set(one.split()), set(other.split())
    shared = len(words & others) / max(1, len(words | others))
    if shared == 0:
        return 0.0
    return max(shared, SequenceMatcher(None, one, other, autojunk=False).ratio())
