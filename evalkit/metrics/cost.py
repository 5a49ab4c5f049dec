"""What a clip cost to make, measured while generating."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.errors import NotApplicable
from evalkit.metrics.base import BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures

__all__ = ["PeakMemory", "SecondsPerClip", "SecondsPerFrame"]


def _seconds(clip: ClipFeatures) -> float:
    if clip.record.seconds is None:
        raise NotApplicable("the clip existed already, so nobody measured how long generating it took")
    return clip.record.seconds


class SecondsPerClip(BaseMetric):
    """Wall-clock seconds that `generate` took, divided evenly over the clips of its batch."""

    spec = MetricSpec(
        id="cost.seconds_per_clip",
        version="1",
        title="Seconds per clip",
        description="How long a person waits for one clip.",
        direction="lower",
        unit="s",
        range=(0.0, None),
        formula="wall-clock time of the generate call / clips in its batch",
        limits="Depends on the machine and its load: compare only runs of one machine.",
        evidence="measured",
    )

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Seconds of this clip."""
        return ClipScore(_seconds(clip))


class SecondsPerFrame(BaseMetric):
    """Seconds per clip divided by its frames, to compare models that make clips of different lengths."""

    spec = MetricSpec(
        id="cost.seconds_per_frame",
        version="1",
        title="Seconds per frame",
        description="How long one frame takes; comparable between clip lengths.",
        direction="lower",
        unit="s",
        range=(0.0, None),
        formula="seconds per clip / frames",
        limits="Depends on the machine and its load: compare only runs of one machine.",
        evidence="measured",
    )

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Seconds per frame of this clip."""
        return ClipScore(_seconds(clip) / clip.record.num_frames)


class PeakMemory(BaseMetric):
    """Peak memory of the process (CPU) or device (GPU) while the clip was generated."""

    spec = MetricSpec(
        id="cost.peak_memory",
        version="1",
        title="Peak memory",
        description="Whether the model fits on the machine at hand.",
        direction="lower",
        unit="MiB",
        range=(0.0, None),
        formula="peak bytes while generating / 2^20",
        limits="On CPU the whole process counts, loaded weights included.",
        evidence="measured",
    )

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Peak memory in MiB."""
        if clip.record.peak_memory_bytes is None:
            raise NotApplicable("the clip existed already, so nobody measured the memory generating it took")
        return ClipScore(clip.record.peak_memory_bytes / 2**20)
