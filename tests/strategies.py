"""Hypothesis strategies that several areas of the tests share."""

from __future__ import annotations

from fractions import Fraction

import torch
from hypothesis import strategies as st

from evalkit.video import Video

CAMERA_RATES = (
    Fraction(24),
    Fraction(25),
    Fraction(24_000, 1001),
    Fraction(30_000, 1001),
    Fraction(60),
    Fraction(8),
)


def rates() -> st.SearchStrategy[Fraction]:
    """Frame rates: those of cameras, and any other that a file can hold."""
    return st.sampled_from(CAMERA_RATES) | st.fractions(Fraction(1, 10), 240, max_denominator=1001)


@st.composite
def videos(
    draw: st.DrawFn,
    *,
    min_frames: int = 1,
    max_frames: int = 5,
    min_side: int = 1,
    max_side: int = 40,
) -> Video:
    """Clips of any size, odd ones too: noise (hard to compress), a gradient, or one flat colour."""
    frames = draw(st.integers(min_frames, max_frames))
    height, width = draw(st.integers(min_side, max_side)), draw(st.integers(min_side, max_side))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shape = (frames, 3, height, width)
    match draw(st.sampled_from(["noise", "gradient", "flat"])):
        case "noise":
            pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        case "gradient":
            steps = torch.arange(frames * 3 * height * width) * draw(st.integers(1, 5))
            pixels = (steps % 256).to(torch.uint8).reshape(shape)
        case _:
            pixels = torch.full(shape, draw(st.integers(0, 255)), dtype=torch.uint8)
    return Video(pixels, draw(rates()))
