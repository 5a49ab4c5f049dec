"""`Video`: the value that models return, decoders produce and metrics read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction

import torch

from evalkit.errors import VideoError
from evalkit.video.files import DIGEST_SIZE
from evalkit.video.frame_rate import MAX_FPS, MAX_RATE_TERM

__all__ = ["Video"]


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """One clip, decoded.

    Frames are never written to after construction: `clip_id` is computed once and cached.

    Args:
        frames: uint8 tensor `(T, 3, H, W)`, RGB, full range 0..255. Any memory layout: a decoder hands
            over a permuted view of `(T, H, W, 3)`, which is what resizing and re-encoding want.
        fps: frames per second, exact (`Fraction(24000, 1001)`); integers are accepted.

    Raises:
        VideoError: the tensor is not such a clip, or the rate is not within (0, 1000].
    """

    frames: torch.Tensor
    fps: Fraction
    _clip_id: str | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        frames = self.frames
        if not isinstance(frames, torch.Tensor):
            raise VideoError(f"frames must be a torch.Tensor (T, 3, H, W), got {type(frames).__name__}")
        if frames.dtype != torch.uint8:
            raise VideoError(
                f"frames must be uint8 in 0..255, got {frames.dtype}; convert floats in [0, 1] with "
                "(x * 255).round().to(torch.uint8)"
            )
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise VideoError(f"frames must have the shape (T, 3, H, W), got {tuple(frames.shape)}")
        if 0 in frames.shape:
            raise VideoError(f"a clip needs at least one frame of one pixel, got {tuple(frames.shape)}")
        if not isinstance(self.fps, int | Fraction):
            raise VideoError(
                f"fps must be a Fraction or an int, got {self.fps!r}; floats are not exact: "
                "use Fraction(24000, 1001) for 23.976"
            )
        fps = Fraction(self.fps)
        if not 0 < fps <= MAX_FPS or max(fps.numerator, fps.denominator) > MAX_RATE_TERM:
            raise VideoError(
                f"fps must lie in (0, {MAX_FPS}] with both terms up to {MAX_RATE_TERM}, got {fps}"
            )
        object.__setattr__(self, "fps", fps)

    @property
    def num_frames(self) -> int:
        return self.frames.shape[0]

    @property
    def height(self) -> int:
        return self.frames.shape[2]

    @property
    def width(self) -> int:
        return self.frames.shape[3]

    @property
    def duration(self) -> Fraction:
        """Seconds, counting every frame, the last one too, as shown for 1/fps."""
        return self.num_frames / self.fps

    @property
    def clip_id(self) -> str:
        """blake2b of shape, rate and the SHA-256 of every frame (rows of RGB), 40 hex digits.

        Two files with the same pixels and rate are the same clip, whatever their containers' bytes.
        Frames are hashed by SHA-256 because processors compute it twice as fast as blake2b, and at 720p
        this costs about as much as decoding (benchmarks/perf/decode.py).
        """
        if self._clip_id is None:
            t, _, h, w = self.frames.shape
            header = f"evalkit.clip.v1 {t}x{h}x{w} {self.fps.numerator}/{self.fps.denominator}\n"
            digest = hashlib.blake2b(header.encode(), digest_size=DIGEST_SIZE)
            for frame in self.frames.detach().cpu():
                pixels = frame.permute(1, 2, 0).contiguous().numpy()
                digest.update(hashlib.sha256(pixels).digest())
            object.__setattr__(self, "_clip_id", digest.hexdigest())
        assert self._clip_id is not None
        return self._clip_id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Video):
            return NotImplemented
        return self.fps == other.fps and torch.equal(self.frames, other.frames)

    def __hash__(self) -> int:
        return hash(self.clip_id)

    def __repr__(self) -> str:
        return f"Video({self.num_frames} frames, {self.width}x{self.height}, {self.fps} fps)"
