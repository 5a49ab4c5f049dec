"""What a known degradation is, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from evalkit.errors import NotApplicable, UnknownName
from evalkit.video import Video

__all__ = [
    "BENIGN",
    "DEFECTS",
    "STRENGTHS",
    "Benign",
    "Defect",
    "Degraded",
    "Settings",
    "apply_defect",
    "defect",
]

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""The levels of a validity study; 0 leaves a clip as it is."""

Window = tuple[int, int]


class Degraded(NamedTuple):
    """A clip with one known defect.

    video: the degraded clip.
    window: first and last frame, inclusive, in which a viewer sees the defect, counted in `video`;
        None where the whole clip has it.
    defect: id of the defect.
    strength: 0 (none) to 1.
    """

    video: Video
    window: Window | None
    defect: str
    strength: float


class Settings(NamedTuple):
    """What a change may draw on.

    strength: above 0, up to 1.
    generator: for place, time and pattern; its seed does not depend on the strength.
    donor: uint8 frames of another clip, of the same shape.
    """

    strength: float
    generator: torch.Generator
    donor: torch.Tensor


Change = Callable[[torch.Tensor, Settings], tuple[torch.Tensor, Window | None]]


@dataclass(frozen=True, slots=True)
class Defect:
    """One way to spoil a clip, by a known amount, at a known time.

    The seed decides where, when and with which random pattern; the strength only how much. So the levels
    of one clip differ in nothing else.

    Args:
        id: its name.
        leaf: the leaf of the failure taxonomy that it is an instance of.
        title: what a viewer sees.
        min_frames: frames that it needs.
        localised: it has a window; otherwise the whole clip is affected.
        pixel_monotone: the distance to the original in pixels grows with strength by construction.
        keeps_length: the clip keeps its number of frames.
        change: uint8 frames `(T, 3, H, W)` to changed frames and the window.
    """

    id: str
    leaf: str
    title: str
    min_frames: int
    localised: bool
    pixel_monotone: bool
    keeps_length: bool
    change: Change

    def __call__(
        self, video: Video, strength: float, *, seed: int = 0, donor: Video | None = None
    ) -> Degraded:
        """Degrade a clip.

        Args:
            video: the clip; it is not changed.
            strength: 0 (nothing) to 1.
            seed: decides place, time and pattern.
            donor: another clip, from which `cut` and `subject_swap` take their foreign content; without
                one they make it from the clip itself.

        Raises:
            NotApplicable: the clip has too few frames for this defect.
            ValueError: strength is outside [0, 1].
        """
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must lie in [0, 1], got {strength}")
        if video.num_frames < self.min_frames:
            raise NotApplicable(
                f"defect {self.id!r} needs {self.min_frames} frames and the clip has {video.num_frames}; "
                "use a longer clip"
            )
        if strength == 0:
            return Degraded(video, None, self.id, 0.0)
        generator = torch.Generator().manual_seed(seed)
        foreign = foreign_content(video) if donor is None else fitted(donor, video)
        frames, window = self.change(video.frames.cpu(), Settings(strength, generator, foreign))
        return Degraded(Video(frames, video.fps), window, self.id, strength)


@dataclass(frozen=True, slots=True)
class Benign:
    """A change that no viewer minds, so that no metric should either. Called with a clip."""

    id: str
    title: str
    change: Callable[[Video], Video]

    def __call__(self, video: Video) -> Video:
        return self.change(video)


DEFECTS: dict[str, Defect] = {}
"""Every defect by id."""

BENIGN: dict[str, Benign] = {}
"""Every benign change by id."""


def defect(
    name: str,
    *,
    leaf: str,
    title: str,
    min_frames: int = 4,
    localised: bool = True,
    pixel_monotone: bool = True,
    keeps_length: bool = True,
) -> Callable[[Change], Change]:
    """Register a change as a defect."""

    def register(change: Change) -> Change:
        DEFECTS[name] = Defect(name, leaf, title, min_frames, localised, pixel_monotone, keeps_length, change)
        return change

    return register


def apply_defect(
    name: str, video: Video, strength: float, *, seed: int = 0, donor: Video | None = None
) -> Degraded:
    """Look a defect up by id and degrade `video` with it; arguments and errors as `Defect.__call__`."""
    if name not in DEFECTS:
        raise UnknownName("defect", name, DEFECTS)
    return DEFECTS[name](video, strength, seed=seed, donor=donor)


def foreign_content(video: Video) -> torch.Tensor:
    """Another "shot" made of the clip itself: mirrored, backwards, channels exchanged, cut to its middle."""
    frames = video.frames.cpu().flip(0, 3)[:, [1, 2, 0]]
    height, width = video.height, video.width
    top, left = height // 4, width // 4
    middle = frames[:, :, top : top + max(1, height // 2), left : left + max(1, width // 2)]
    return resized(middle, height, width)


def fitted(donor: Video, video: Video) -> torch.Tensor:
    """The donor at the clip's size and length; a short donor is played to and fro."""
    order = [*range(donor.num_frames), *range(donor.num_frames - 2, 0, -1)]
    picked = [order[index % len(order)] for index in range(video.num_frames)]
    return resized(donor.frames.cpu()[picked], video.height, video.width)


def resized(frames: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """uint8 frames at another size (bicubic, antialiased)."""
    larger = torch.nn.functional.interpolate(
        frames.float(), (height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return to_uint8(larger)


def to_uint8(frames: torch.Tensor) -> torch.Tensor:
    """Rounded to the nearest level and clamped to 0..255."""
    return frames.round().clamp(0, 255).to(torch.uint8)
