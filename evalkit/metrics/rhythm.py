"""Freezes, repeats, cuts, loops, jitter, smoothness and drift over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from evalkit.errors import EvalkitError, NotApplicable
from evalkit.features.protocol import FeatureRequest
from evalkit.metrics.base import FLOW, FRAMES, LUMA, BaseMetric, image_request
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    import torch

    from evalkit.features.protocol import ClipFeatures

__all__ = [
    "ColourDrift",
    "Cuts",
    "Duplicates",
    "Freeze",
    "Jitter",
    "LongDrift",
    "Loop",
    "MotionSmoothness",
    "Wobble",
]

LEAP = FeatureRequest("flow_leap")
_STILL = "still: mean |F[t+1] - F[t]| < .255 of 255 (-60 dB, ffmpeg's freezedetect)"


class Freeze(BaseMetric):
    """Share of the clip that stands still."""

    spec = MetricSpec(
        id="temporal.freeze",
        version="1",
        title="Frozen share",
        description="The picture stands still for a while.",
        direction="lower",
        range=(0.0, 1.0),
        min_frames=4,
        series="transition",
        formula=f"share of transitions in runs of more than two still ones; {_STILL}",
        invariant_to=("brightness", "mirroring", "time reversal"),
        limits="A scene in which truly nothing moves counts as frozen: check what the prompt asked for.",
        evidence="measured",
        leaf="temporal.frozen",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FRAMES,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Share of frozen transitions; the series is 1 where frozen."""
        from evalkit.metrics.functional.frames import frame_differences
        from evalkit.metrics.functional.rhythm import stillness

        frozen = stillness(frame_differences(clip.tensor(FRAMES, "frames"))).frozen.double()
        return ClipScore(float(frozen.mean()), frozen.tolist())


class Duplicates(BaseMetric):
    """Share of frames that only repeat the one before while the clip moves."""

    spec = MetricSpec(
        id="temporal.duplicates",
        version="1",
        title="Repeated frames",
        description="Motion stutters because frames are shown twice.",
        direction="lower",
        range=(0.0, 1.0),
        min_frames=4,
        series="transition",
        formula=f"share of transitions in runs of one or two still ones with motion on both sides; {_STILL}",
        invariant_to=("brightness", "mirroring", "time reversal"),
        limits="Animation on twos or threes repeats frames on purpose.",
        evidence="measured",
        leaf="temporal.frozen",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FRAMES,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Share of repeats; the series is 1 where a frame is repeated."""
        from evalkit.metrics.functional.frames import frame_differences
        from evalkit.metrics.functional.rhythm import stillness

        repeated = stillness(frame_differences(clip.tensor(FRAMES, "frames"))).repeated.double()
        return ClipScore(float(repeated.mean()), repeated.tolist())


class Cuts(BaseMetric):
    """Shot changes beyond those that the prompt asks for.

    Args:
        detector: `analytic`, or `transnetv2` (extra `cuts`).
    """

    spec = MetricSpec(
        id="temporal.cuts",
        version="2",
        title="Unrequested cuts",
        description="Another shot begins without being asked for.",
        direction="lower",
        unit="cuts",
        range=(0.0, None),
        min_frames=4,
        series="transition",
        formula=(
            "sum of c over transitions, without the largest expect.shots - 1; c = (change of the 8x8x8 colour "
            "histogram beyond the largest and beyond three times the mean change of the two transitions on either "
            "side) x (1 - coherence); a hard cut between shots of other colours has c near 1"
        ),
        invariant_to=("mirroring", "time reversal"),
        limits=(
            "Cuts between shots of the same colours count little, and so do cuts between pictures without any texture, "
            "which flow can always follow; fades are no cuts. TransNetV2 sees more."
        ),
        evidence="measured",
        citation=(
            "Three times the change around it: PySceneDetect's adaptive detector. Soucek & Lokoc, TransNet V2, 2020, for "
            "detector=transnetv2"
        ),
        leaf="scene.transition",
    )

    def __init__(self, detector: Literal["analytic", "transnetv2"] = "analytic") -> None:
        if detector not in ("analytic", "transnetv2"):
            raise EvalkitError(
                f"temporal.cuts: unknown detector {detector!r}; use 'analytic' or 'transnetv2'"
            )
        self.detector = detector

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Frames and flow, or TransNetV2's cut probabilities."""
        return (FeatureRequest("transnetv2"),) if self.detector == "transnetv2" else (FRAMES, FLOW)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Strength of the cuts beyond those asked for; the series is the strength at every transition."""
        strength = self._strength(clip)
        asked = 0
        if clip.record.prompt is not None:
            asked = max(0, int(clip.record.prompt.expect.get("shots", 1)) - 1)
        unasked = strength.sort(descending=True).values[asked:]
        return ClipScore(float(unasked.sum()), strength.tolist())

    def _strength(self, clip: ClipFeatures) -> torch.Tensor:
        if self.detector == "transnetv2":
            return clip.tensor(self.requires()[0], "probability").double()
        from evalkit.metrics.functional.coherence import coherence
        from evalkit.metrics.functional.rhythm import cut_strength

        followed = coherence(clip.tensor(FLOW, "forward"), clip.tensor(FLOW, "backward"))
        return cut_strength(clip.tensor(FRAMES, "frames"), followed)


class Loop(BaseMetric):
    """Whether the clip repeats itself."""

    spec = MetricSpec(
        id="temporal.loop",
        version="2",
        title="Repetition",
        description="The clip starts over, as if on a loop.",
        direction="lower",
        range=(0.0, 1.0),
        min_frames=12,
        formula=(
            "max over lags L >= T/4 of (1 - m(L) / max of m(l) over l <= L) min(1, 2 (T - L) / T); m(L) = mean RMS "
            "difference of 32x32 frames L apart"
        ),
        invariant_to=("contrast", "mirroring", "time reversal"),
        limits="Periodic motion (a pendulum, a walk) repeats itself on purpose.",
        default=False,
        leaf="scene.loop",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (LUMA,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Repetition in 0..1."""
        from evalkit.metrics.functional.rhythm import repetition

        luma = clip.tensor(LUMA, "luma")
        value, lag = repetition(luma, shortest=max(3, len(luma) // 4))
        if lag == 0:
            raise NotApplicable("nothing changes in the clip, so nothing can repeat")
        return ClipScore(value)


def _by_transition(inner: torch.Tensor) -> ClipScore:
    """Mean of values at inner frames; in the series a transition has the smaller of its two ends."""
    import torch

    series = torch.minimum(torch.cat([inner[:1], inner]), torch.cat([inner, inner[-1:]]))
    return ClipScore(float(inner.mean()), series.tolist())


class Jitter(BaseMetric):
    """Acceleration along the paths of the motion."""

    spec = MetricSpec(
        id="temporal.jitter",
        version="1",
        title="Jitter",
        description="The picture or things in it tremble or jump instead of moving smoothly.",
        direction="lower",
        unit="% of the short side",
        range=(0.0, None),
        min_frames=3,
        series="transition",
        formula=(
            "mean over pixels visible in three frames of |f[t+1] - f[t] along the path| / short side x 100; in the "
            "series a transition has the smaller of its two ends, so that one jump marks one transition"
        ),
        invariant_to=("brightness", "size", "steady motion of any speed"),
        limits="Bounces and collisions are honest accelerations. Flicker of texture unsettles the flow as well.",
        leaf="temporal.jitter",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FLOW,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean acceleration."""
        from evalkit.metrics.functional.rhythm import jitter

        inner = jitter(clip.tensor(FLOW, "forward"), clip.tensor(FLOW, "backward"))
        return _by_transition(inner)


class Wobble(BaseMetric):
    """Acceleration that is not the whole picture's: shapes that bend to and fro."""

    spec = MetricSpec(
        id="temporal.wobble",
        version="1",
        title="Wobble",
        description="Shapes bend and swell like jelly.",
        direction="lower",
        unit="% of the short side",
        range=(0.0, None),
        min_frames=3,
        series="transition",
        formula=(
            "median over pixels visible in three frames of |a - A| / short side x 100; a = f[t+1] - f[t] along the path, "
            "A the shift, zoom and roll fitted to a; mean over t; in the series a transition has the smaller of its two "
            "ends"
        ),
        invariant_to=("brightness", "shakes of the camera", "steady motion of any speed"),
        limits="Water and foliage bend honestly. One thing that wobbles in a still picture is less than half of it.",
        evidence="measured",
        default=False,
        leaf="temporal.morph",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FLOW,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean over the inner frames."""
        from evalkit.metrics.functional.rhythm import wobble

        inner = wobble(clip.tensor(FLOW, "forward"), clip.tensor(FLOW, "backward"))
        return _by_transition(inner)


class MotionSmoothness(BaseMetric):
    """Can the odd frames be interpolated from the even ones?"""

    spec = MetricSpec(
        id="temporal.motion_smoothness",
        version="1",
        title="Motion smoothness",
        description="Motion jerks, so that a frame does not lie between its neighbours.",
        direction="higher",
        range=(0.0, 1.0),
        min_frames=3,
        formula=(
            "(255 - mean |F[2k+1] - (F[2k](x - f/2) + F[2k+2](x + f/2)) / 2|) / 255 on luma, f flow from 2k to 2k+2"
        ),
        invariant_to=("mirroring",),
        limits="Stillness is perfectly smooth. VBench interpolates with AMT-S instead of along the flow.",
        citation="VBench (Huang et al., CVPR 2024) with another interpolator",
        leaf="temporal.jitter",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (LUMA, LEAP)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Smoothness in VBench's convention."""
        from evalkit.metrics.functional.rhythm import interpolation_error

        error = interpolation_error(clip.tensor(LUMA, "luma"), clip.tensor(LEAP, "forward"))
        return ClipScore((255 - float(error.mean())) / 255)


class ColourDrift(BaseMetric):
    """How far the mean colour wanders from the opening's."""

    spec = MetricSpec(
        id="temporal.colour_drift",
        version="1",
        title="Colour drift",
        description="The colours slide away from the beginning's.",
        direction="lower",
        unit="Delta E",
        range=(0.0, None),
        min_frames=8,
        series="frame",
        formula="CIELAB distance of the mean colour of the last tenth from that of the first tenth of the frames",
        invariant_to=("mirroring", "motion inside the frame"),
        limits="Things that enter or leave, and a camera that turns, change the mean colour as well.",
        citation="CIE 1976 colour difference",
        leaf="scene.long_drift",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FRAMES,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Drift between opening and ending; the series is the distance of every frame to the opening."""
        from evalkit.metrics.functional.rhythm import colour_drift

        series = colour_drift(clip.tensor(FRAMES, "frames"))
        return ClipScore(float(series[-max(1, len(series) // 10) :].mean()), series.tolist())


class LongDrift(BaseMetric):
    """How fast what is seen moves away from the opening.

    Args:
        network: image network.
        checkpoint: a weights file of the user's own.
    """

    spec = MetricSpec(
        id="temporal.long_drift",
        version="1",
        title="Content drift",
        description="Over its length the clip becomes something else than it began as.",
        direction="lower",
        unit="1/s",
        range=(0.0, None),
        min_frames=8,
        formula=(
            "slope a second of d(w), forced through 0 at the opening; d(w) = 1 - cos of the mean image features of "
            "window w and of the opening window; windows of 2 s, or of a quarter of a shorter clip"
        ),
        invariant_to=("mild compression",),
        limits="A story that moves on drifts honestly. Meant for clips of many seconds.",
        citation="Windows as in VBench-Long",
        leaf="scene.long_drift",
    )

    def __init__(self, network: str = "efficientnet-lite0", checkpoint: str | None = None) -> None:
        self.network, self.checkpoint = network, checkpoint

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Frame features of the network."""
        return (image_request(self.network, self.checkpoint),)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Least-squares slope through the opening."""
        import torch

        from evalkit.metrics.functional.rhythm import feature_drift

        features = clip.tensor(self.requires()[0], "features")
        fps = float(clip.record.fps)
        window = max(1, min(round(2 * fps), len(features) // 4))
        distance = feature_drift(features, window)
        seconds = torch.arange(len(distance), dtype=torch.float64) * window / fps
        return ClipScore(float((seconds * distance).sum() / seconds.square().sum()))
