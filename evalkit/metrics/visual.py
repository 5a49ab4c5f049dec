"""Quality of the pictures themselves, frame by frame and without a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from evalkit.metrics.base import FRAMES, BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures, FeatureRequest

__all__ = ["Banding", "Blockiness", "EffectiveResolution", "Exposure", "Noise", "Sharpness"]


class _Picture(BaseMetric):
    """Mean over frames of a function of `functional.picture`."""

    needs: ClassVar[tuple[FeatureRequest, ...]] = (FRAMES,)
    function: ClassVar[str]

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Mean over the frames; the series holds it per frame."""
        from evalkit.metrics.functional import picture

        per_frame = getattr(picture, self.function)(clip.tensor(FRAMES, "frames"))
        return ClipScore(float(per_frame.mean()), per_frame.tolist())


class Sharpness(_Picture):
    """Perceptual sharpness: how much of the edge strength a further blur would take away."""

    function = "sharpness"
    spec = MetricSpec(
        id="visual.sharpness",
        version="1",
        title="Sharpness",
        description="Edges are soft; the picture looks out of focus or smeared.",
        direction="higher",
        range=(0.0, 1.0),
        series="frame",
        formula="min over axes of sum max(0, |sobel(Y)| - |sobel(blur11(Y))|) / sum |sobel(Y)|; mean over frames",
        invariant_to=("contrast", "brightness away from clipping"),
        limits="Noise and ringing count as sharpness; wanted depth of field counts as blur; depends on the size.",
        citation="Crete et al., The blur effect: perception and estimation with a new no-reference metric, SPIE 2007",
        leaf="visual.blur",
    )


class Blockiness(_Picture):
    """Excess of luma steps on a regular grid of 8 or 16 pixels."""

    function = "blockiness"
    spec = MetricSpec(
        id="visual.blockiness",
        version="1",
        title="Blockiness",
        description="The picture falls into squares.",
        direction="lower",
        range=(0.0, None),
        series="frame",
        formula=(
            "mean over axes of (largest - median) / (median + .1) of the mean luma step beyond the slope around it (capped at 16) over "
            "the places of a grid of 8 or 16 pixels; the larger of both; mean over frames"
        ),
        invariant_to=("position of the grid", "mirroring"),
        limits="Regular man-made patterns of 8 or 16 pixels count as blocks; scaling moves blocks off the grid.",
        citation="After Wu & Yuen, A generalized block-edge impairment metric, IEEE SPL 1997",
        leaf="visual.pixelation",
    )


class Banding(_Picture):
    """Share of smooth gradients that are broken into flat steps."""

    function = "banding"
    spec = MetricSpec(
        id="visual.banding",
        version="1",
        title="Banding",
        description="A smooth gradient shows steps.",
        direction="lower",
        range=(0.0, 1.0),
        series="frame",
        formula=(
            "share of pixels whose 3x3 is flat while 13x13 spans 2 to 48 levels and skips the level above its lowest; "
            "mean over frames"
        ),
        invariant_to=("mirroring",),
        limits="Dithered bands pass unseen, as they should; the borders of drawn flat areas of similar tones count.",
        default=False,
        leaf="visual.pixelation",
    )


class EffectiveResolution(_Picture):
    """Smallest size at which nothing visible of the frame would be lost."""

    function = "effective_resolution"
    spec = MetricSpec(
        id="visual.effective_resolution",
        version="1",
        title="Effective resolution",
        description="The clip has fewer details than its size promises.",
        direction="higher",
        unit="share of the size",
        range=(0.1, 1.0),
        series="frame",
        formula="smallest of .1, .2, ... at which reducing and enlarging keeps 42 dB PSNR of luma; mean over frames",
        invariant_to=("mirroring",),
        limits="Pictures without detail need little resolution; noise needs all of it. Compare on equal prompts.",
        default=False,
        leaf="visual.blur",
    )


class Exposure(_Picture):
    """Share of pixels without detail in shadows or highlights."""

    function = "exposure"
    spec = MetricSpec(
        id="visual.exposure",
        version="1",
        title="Clipped tones",
        description="Shadows are crushed or highlights burnt.",
        direction="lower",
        range=(0.0, 1.0),
        series="frame",
        formula="share of pixels with luma <= 4 or >= 251; mean over frames",
        invariant_to=("mirroring",),
        limits="Plain black or white backgrounds count fully; night scenes are dark on purpose.",
        default=False,
        leaf="visual.color",
    )


class Noise(_Picture):
    """Standard deviation of additive noise."""

    function = "noise_level"
    spec = MetricSpec(
        id="visual.noise",
        version="1",
        title="Noise",
        description="The picture is grainy.",
        direction="lower",
        unit="levels",
        range=(0.0, None),
        series="frame",
        formula=(
            "sqrt(pi/2)/6 times the mean |luma * [1 -2 1; -2 4 -2; 1 -2 1]| over the tenth of the picture with the "
            "fewest edges; mean over frames"
        ),
        invariant_to=("brightness", "mirroring"),
        limits=(
            "Fine texture that fills the whole picture counts as noise; wanted film grain and the dither of GIFs do too. A "
            "model that smears has little of it: on rated clips it rises with sharpness and so with people's rating (see "
            "benchmarks/validity/results), hence read it beside visual.sharpness and on equal prompts."
        ),
        default=False,
        citation="Immerkaer, Fast noise variance estimation, CVIU 1996",
        leaf="visual.distortion",
    )
