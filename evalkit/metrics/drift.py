"""Drift of sharpness over a clip's length, and seams between the pieces that it was made in."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.metrics.base import FRAMES, BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures, FeatureRequest

__all__ = ["Seams", "SharpnessDrift"]


class SharpnessDrift(BaseMetric):
    """How fast the clip loses (or gains) sharpness against its opening."""

    spec = MetricSpec(
        id="temporal.sharpness_drift",
        version="1",
        title="Sharpness drift",
        description="The picture grows soft, or harsh, while the clip runs.",
        direction="lower",
        unit="1/s",
        range=(0.0, None),
        min_frames=8,
        formula=(
            "slope a second of |s(w) - s(0)| / max(s(w), s(0)), forced through 0 at the opening; s(w) = mean "
            "visual.sharpness of window w; windows of 2 s, or of a quarter of a shorter clip"
        ),
        invariant_to=("brightness away from clipping", "mirroring"),
        limits="A focus pull, motion that sets in and new scenery change the sharpness honestly.",
        citation="Windows as in VBench-Long; sharpness of Crete et al., SPIE 2007",
        default=False,
        leaf="scene.long_drift",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FRAMES,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Least-squares slope through the opening."""
        from evalkit.metrics.functional.drift import drift_slope, sharpness_drift
        from evalkit.metrics.functional.picture import sharpness

        frames = clip.tensor(FRAMES, "frames")
        fps = float(clip.record.fps)
        window = max(1, min(round(2 * fps), len(frames) // 4))
        return ClipScore(drift_slope(sharpness_drift(sharpness(frames), window), window / fps))


class Seams(BaseMetric):
    """Glitches that come back every so many frames."""

    spec = MetricSpec(
        id="temporal.seams",
        version="1",
        title="Seams between chunks",
        description="A jolt comes back every so many frames, where the model joined its pieces.",
        direction="lower",
        unit="doublings",
        range=(0.0, None),
        min_frames=10,
        series="transition",
        formula=(
            "weakest spike among transitions phase, phase + P, ... of the period P >= 4 and phase with at least three "
            "borders where weakest spike x sqrt(borders) is largest; spike = log2((d[t] + .255) / (largest d of the two transitions on either side + "
            ".255)) where positive; d = mean |F[t+1] - F[t]| of 255"
        ),
        invariant_to=("mirroring", "time reversal"),
        limits=(
            "Needs three borders, so a clip of three chunks shows none. Drums, blinking lights and strides are "
            "periodic too. A border that blends over several frames does not stand out."
        ),
        citation="Peak over its neighbours as in shot boundary detection; period search over all combs",
        default=False,
        leaf="scene.long_drift",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FRAMES,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Strength of the best comb; the series holds its spikes and 0 elsewhere."""
        import torch

        from evalkit.metrics.functional.drift import periodic_seams, spikes
        from evalkit.metrics.functional.frames import frame_differences

        spike = spikes(frame_differences(clip.tensor(FRAMES, "frames")))
        found = periodic_seams(spike)
        series = torch.zeros_like(spike)
        if found.period:
            series[found.phase :: found.period] = spike[found.phase :: found.period]
        return ClipScore(found.strength, series.tolist())
