"""Drift of sharpness and of looks over a clip's length, and seams between the pieces that it was made in."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.errors import NotApplicable
from evalkit.metrics.base import FLOW, FRAMES, LUMA, BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures, FeatureRequest

__all__ = ["AppearanceDrift", "Seams", "SharpnessDrift"]


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


class AppearanceDrift(BaseMetric):
    """How fast what can be followed changes its look."""

    spec = MetricSpec(
        id="temporal.appearance_drift",
        version="2",
        title="Appearance drift",
        description="What moves along keeps its place in the motion but slowly becomes something else.",
        direction="lower",
        unit="doublings/s",
        range=(0.0, None),
        min_frames=9,
        formula=(
            "frames a second times the mean over cells of sqrt(max(0, u)); u = mean over pairs of different transitions i, j "
            "of the same window and over channels of c[i] c[j]; c[t] = mean over a cell's visible pixels of the change of "
            "its look along the flow; look: tint (log2(level + 16) of red, green and blue, less their mean) and contrast "
            "(standard deviation of each log2(level + 16) over a square of a cell's side); cells 2/19 of the shorter side, "
            "weighed by what is seen of them; windows of 2 s, or of a quarter of a shorter clip; visible: passes the "
            "forward-backward check, on no motion boundary, not leaving the picture"
        ),
        invariant_to=("light that changes, away from black and clipping", "mirroring", "flicker"),
        limits=(
            "Coloured light, and things that turn, drift honestly. Light is told from looks by its multiplying all colours "
            "alike, so that a plain grey thing that brightens shows only at its rim. Where flow cannot follow, a change of "
            "look cannot be told from motion: a flat shape that grows or shrinks leaves a steady change at its rim; "
            "see temporal.long_drift."
        ),
        citation="Change along optical flow; light as a common factor as in Land and McCann, JOSA 1971; unbiased square of a mean as in the U-statistic of KVD",
        default=False,
        leaf="identity.character",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (LUMA, FLOW)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Steady change a second.

        Raises:
            NotApplicable: no place can be followed over two transitions of a window.
        """
        import torch

        from evalkit.metrics.functional.drift import change_of_looks, steady_change

        planes = torch.cat([clip.tensor(LUMA, "luma")[..., None], clip.tensor(LUMA, "chroma")], -1)
        found = change_of_looks(planes, clip.tensor(FLOW, "forward"), clip.tensor(FLOW, "backward"))
        fps, transitions = float(clip.record.fps), len(found.change)
        # No window has fewer than two transitions, which very slow clips would cut them to.
        windows = min(max(4, round(transitions / (2 * fps))), transitions // 2)
        rate = steady_change(found, windows)
        if rate is None:
            raise NotApplicable("nothing can be followed over three frames, so there is no look to compare")
        return ClipScore(rate * fps)


class Seams(BaseMetric):
    """Glitches that come back every so many frames."""

    spec = MetricSpec(
        id="temporal.seams",
        version="2",
        title="Seams between chunks",
        description="A jolt comes back every so many frames, where the model joined its pieces.",
        direction="lower",
        unit="doublings",
        range=(0.0, None),
        min_frames=10,
        series="transition",
        formula=(
            "weakest spike among transitions phase, phase + P, ... of the period P >= 4 and phase with at least three "
            "borders where weakest spike x sqrt(borders) is largest; of jolts or of brightness, whichever is stronger. "
            "Spike of a jolt: log2((d[t] + .255) / (largest d of the two transitions on either side + .255)) where "
            "positive, d = mean |F[t+1] - F[t]| of 255. Spike of brightness: the same with d = |mean over a cell's visible "
            "pixels of log2(Y[t+1] + 16) - log2(Y[t] + 16) along the flow| and .0029 (.255 of mid-grey), cell by cell, "
            "mean over what is visible in all five transitions, less the largest such mean on either side; Y luma, "
            "cells 2/19 of the shorter side"
        ),
        invariant_to=("mirroring",),
        limits=(
            "Needs three borders, so a clip of three chunks shows none. Drums, blinking lights and strides are "
            "periodic too. A border that blends over several frames does not stand out, nor does one that only shifts "
            "the tint of a picture in which much moves."
        ),
        citation="Peak over its neighbours as in shot boundary detection; period search over all combs; flow DIS",
        default=False,
        leaf="scene.long_drift",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FRAMES, LUMA, FLOW)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Strength of the best comb; the series holds its spikes and 0 elsewhere."""
        import torch

        from evalkit.metrics.functional.drift import (
            brightness_spikes,
            change_along_motion,
            periodic_seams,
            spikes,
        )
        from evalkit.metrics.functional.frames import frame_differences

        brightness = torch.log2(clip.tensor(LUMA, "luma").clamp(min=0) + 16)[..., None]
        steps = change_along_motion(brightness, clip.tensor(FLOW, "forward"), clip.tensor(FLOW, "backward"))
        readings = [spikes(frame_differences(clip.tensor(FRAMES, "frames"))), brightness_spikes(steps)]
        # A border shows in one way all through the clip: the two are not mixed within a comb.
        found, spike = max(
            ((periodic_seams(item), item) for item in readings), key=lambda pair: pair[0].strength
        )
        series = torch.zeros_like(spike)
        if found.period:
            series[found.phase :: found.period] = spike[found.phase :: found.period]
        return ClipScore(found.strength, series.tolist())
