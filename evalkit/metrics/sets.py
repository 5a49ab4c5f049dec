"""Distances between two sets of clips, each with a protocol string that holds every number behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from evalkit.errors import EvalkitError, NotApplicable
from evalkit.features.protocol import FeatureRequest
from evalkit.metrics.base import constructor_params, image_request
from evalkit.metrics.spec import MetricSpec, SetScore

if TYPE_CHECKING:
    import torch

    from evalkit.features.protocol import ClipFeatures

__all__ = [
    "GROUPS",
    "KVD",
    "T_975",
    "Coverage",
    "Density",
    "Frechet",
    "JEDi",
    "Precision",
    "Recall",
    "SetBase",
]

# Groups of the jackknife behind an interval: enough for a stable standard error (19 degrees of freedom), few
# enough that twice twenty distances cost seconds.
GROUPS = 20
T_975 = 2.093  # 97.5% quantile of Student's t with 19 degrees of freedom


class SetBase:
    """A distance on one feature: subclasses say which distance.

    Args:
        network: `world` (the reference world's video encoder), or a video network: `i3d`, `r3d_18`, ...
        checkpoint: a weights file of the user's own.
        frames: length of the window of a video network.
        stride: distance of its frames.
    """

    spec: ClassVar[MetricSpec]
    family: ClassVar[str] = ""
    min_clips: ClassVar[int] = 2

    def __init__(
        self, network: str = "world", checkpoint: str | None = None, frames: int = 16, stride: int = 1
    ) -> None:
        self.network, self.checkpoint, self.frames, self.stride = network, checkpoint, frames, stride

    @property
    def params(self) -> Mapping[str, str | int | float | bool | None]:
        """Constructor parameters; part of the score's key."""
        return constructor_params(self)

    def _options(self) -> dict[str, str | int | float | bool | None]:
        options: dict[str, str | int | float | bool | None] = {"network": self.network}
        if self.checkpoint is not None:
            options["checkpoint"] = self.checkpoint
        if self.frames != 16:
            options["frames"] = self.frames
        if self.stride != 1:
            options["stride"] = self.stride
        return options

    def requires(self) -> tuple[FeatureRequest, ...]:
        """One feature of the clip."""
        if self.network == "world":
            return (FeatureRequest("world.video"),)
        return (FeatureRequest.of("video", **self._options()),)

    def vector(self, clip: ClipFeatures) -> torch.Tensor:
        """The clip's embedding, `(k, D)`.

        Raises:
            NotApplicable: the world's encoder is asked about a clip whose prompt is not of that world.
        """
        if self.network == "world" and clip.record.prompt is not None:
            from evalkit.features.registry import load_extractor

            load_extractor(FeatureRequest("world.text")).extract(clip.record.prompt.text, {})
        features = clip.tensor(self.requires()[0], "features")
        return features.reshape(-1, features.shape[-1])

    def feature_protocol(self) -> str:
        """How the features were computed: the part of the protocol that a shared reference file must agree with."""
        from evalkit.features.registry import load_extractor

        spec = load_extractor(self.requires()[0]).spec
        digest = spec.weights_digest.partition(":")[2] or spec.weights_digest or "analytic"
        return f"{spec.id}-v{spec.version}@{digest[:12]}/{spec.preprocessing}"

    def protocol(self, generated: int, reference: int) -> str:
        """Every number behind a value."""
        return f"{self.family}/{self.feature_protocol()}{self._suffix()}/n={generated}/m={reference}"

    def _suffix(self) -> str:
        return ""

    def distance(self, generated: torch.Tensor, reference: torch.Tensor) -> float:
        """The distance itself."""
        raise NotImplementedError

    def score(self, generated: torch.Tensor, reference: torch.Tensor, *, seed: int) -> SetScore:
        """Distance with a jackknife interval and the noise floor of two halves of the reference.

        Raises:
            NotApplicable: a side has too few clips.
        """
        import torch

        short = min(len(generated), len(reference))
        if short < self.min_clips:
            raise NotApplicable(
                f"{self.spec.id} needs at least {self.min_clips} clips on each side; there are {len(generated)} "
                f"generated ones and {len(reference)} in the reference"
            )
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(reference), generator=generator)
        half = len(reference) // 2
        floor = None
        if half >= self.min_clips:
            floor = self.distance(reference[order[:half]], reference[order[half : 2 * half]])
        return SetScore(
            self.distance(generated, reference),
            self._interval(generated, reference, generator),
            floor,
            self.protocol(len(generated), len(reference)),
            len(generated),
            len(reference),
        )

    def jackknife(
        self, sample: torch.Tensor, distance: Callable[[torch.Tensor], float], generator: torch.Generator
    ) -> float:
        """Jackknife variance of `distance` over one side, from leaving out one of twenty groups at a time."""
        import torch

        groups = torch.randperm(len(sample), generator=generator) % GROUPS
        values = [distance(sample[groups != group]) for group in range(GROUPS)]
        mean = sum(values) / GROUPS
        return (GROUPS - 1) / GROUPS * sum((item - mean) ** 2 for item in values)

    def _interval(
        self, generated: torch.Tensor, reference: torch.Tensor, generator: torch.Generator
    ) -> tuple[float, float] | None:
        """95% by the delete-a-group jackknife over both sides, around the value itself.

        Unlike a bootstrap it never repeats a sample, which would add to the small-sample bias. Conservative: clips
        of one prompt are not kept together, and bias is not corrected.
        """
        if min(len(generated), len(reference)) < max(2 * GROUPS, 2 * self.min_clips):
            return None
        value = self.distance(generated, reference)
        variance = self.jackknife(generated, lambda kept: self.distance(kept, reference), generator)
        variance += self.jackknife(reference, lambda kept: self.distance(generated, kept), generator)
        width = T_975 * variance**0.5
        return value - width, value + width


class KVD(SetBase):
    """Unbiased kernel distance of the same features.

    Args:
        network: `world`, `i3d`, or another video network.
        checkpoint: a weights file of the user's own.
        frames: length of the window.
        stride: distance of its frames.
    """

    family = "kvd"
    spec = MetricSpec(
        id="set.kvd",
        version="1",
        title="KVD",
        description="The clips as a set look and move unlike the reference clips.",
        direction="lower",
        formula="unbiased squared MMD with (x'y / D + 1)^3 on all samples",
        invariant_to=("order of clips", "number of clips, in the mean"),
        limits=(
            "Slightly negative when the sets cannot be told apart. Its scale depends on the features' scale. The "
            "permutation p-value takes clips as independent: with several seeds a prompt it is too small."
        ),
        citation="Binkowski et al., Demystifying MMD GANs, ICLR 2018; Unterthiner et al., 2018",
    )

    def score(self, generated: torch.Tensor, reference: torch.Tensor, *, seed: int) -> SetScore:
        """Distance as of every set metric, and the p-value of 1000 shuffles of the pooled clips' labels."""
        import torch

        from evalkit.metrics.functional.kernels import mmd_permutation_p

        found = super().score(generated, reference, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        return found._replace(p_value=mmd_permutation_p(generated, reference, generator=generator))

    def distance(self, generated: torch.Tensor, reference: torch.Tensor) -> float:
        """Unbiased squared MMD."""
        from evalkit.metrics.functional.kernels import mmd

        return mmd(generated, reference)


class JEDi(SetBase):
    """MMD with JEDi's kernel.

    Args:
        network: JEDi itself uses V-JEPA; any video network of evalkit may stand in and is named.
        checkpoint: a weights file of the user's own.
        frames: length of the window.
        stride: distance of its frames.
        parity: JEDi's own V-statistic instead of the unbiased one.
    """

    family = "jedi"
    spec = MetricSpec(
        id="set.jedi",
        version="1",
        title="JEDi distance",
        description="The clips as a set look and move unlike the reference clips.",
        direction="lower",
        formula="100 MMD^2 with (x'y / D)^2; U-statistic, or V-statistic with parity=true",
        invariant_to=("order of clips",),
        limits="The published V-statistic (parity) grows as clips get fewer: .78 at n=256 between equal sets.",
        citation="Luo et al., Beyond FVD, ICLR 2025",
        default=False,
    )

    def __init__(
        self,
        network: str = "world",
        checkpoint: str | None = None,
        frames: int = 16,
        stride: int = 1,
        parity: bool = False,
    ) -> None:
        super().__init__(network, checkpoint, frames, stride)
        self.parity = parity

    def _suffix(self) -> str:
        return "/V" if self.parity else "/U"

    def distance(self, generated: torch.Tensor, reference: torch.Tensor) -> float:
        """100 times the squared MMD."""
        from evalkit.metrics.functional.kernels import mmd

        return 100 * mmd(generated, reference, degree=2, offset=0.0, unbiased=not self.parity)


class _Manifold(SetBase):
    """One of precision, recall, density and coverage."""

    family = "manifold-k5"
    min_clips = 6
    part: ClassVar[str]

    def distance(self, generated: torch.Tensor, reference: torch.Tensor) -> float:
        """The measure."""
        from evalkit.metrics.functional.kernels import precision_recall_density_coverage

        return float(getattr(precision_recall_density_coverage(generated, reference), self.part))


def _manifold_spec(name: str, title: str, description: str, formula: str, upper: float | None) -> MetricSpec:
    return MetricSpec(
        id=f"set.{name}",
        version="1",
        title=title,
        description=description,
        direction="higher",
        range=(0.0, upper),
        formula=f"{formula}; a ball reaches to the 5th nearest neighbour",
        invariant_to=("order of clips", "rotation and scale of the feature space"),
        limits="Depends on both sample sizes; one outlier's ball can be huge (density and coverage bear it better).",
        citation="Kynkaanniemi et al., NeurIPS 2019; Naeem et al., ICML 2020",
        default=False,
    )


class Precision(_Manifold):
    """Share of generated clips that could be reference clips."""

    part = "precision"
    spec = _manifold_spec(
        "precision",
        "Precision",
        "Clips look like nothing in the reference.",
        "share of generated clips inside a reference ball",
        1.0,
    )


class Recall(_Manifold):
    """Share of the reference that the model could have made."""

    part = "recall"
    spec = _manifold_spec(
        "recall",
        "Recall",
        "Much of the reference is never made.",
        "share of reference clips inside a generated ball",
        1.0,
    )


class Density(_Manifold):
    """Mean number of reference balls that a generated clip lies in, over k."""

    part = "density"
    spec = _manifold_spec(
        "density",
        "Density",
        "Clips lie where reference clips are rare.",
        "mean number of reference balls a generated clip lies in / 5",
        None,
    )


class Coverage(_Manifold):
    """Share of reference clips with a generated clip nearby."""

    part = "coverage"
    spec = _manifold_spec(
        "coverage",
        "Coverage",
        "Parts of the reference have no counterpart.",
        "share of reference balls that hold a generated clip",
        1.0,
    )


class Frechet(SetBase):
    """Frechet distance of embedded image features: how clips look, or how they change.

    Args:
        view: `appearance` (mean over frames) or `change` (mean absolute change between frames).
        components: principal axes of the reference that are kept. 24 leaves hundreds of clips more samples than
            dimensions, below which the distance is mostly bias.
    """

    family = "frechet"
    min_clips = 8
    spec = MetricSpec(
        id="set.frechet",
        version="1",
        title="Frechet distance (image features)",
        description="The clips as a set look unlike the reference clips.",
        direction="lower",
        range=(0.0, None),
        formula="Frechet distance of EfficientNet features on the reference's first principal axes",
        invariant_to=("order of clips",),
        limits=(
            "No FVD: an image network sees no motion, view=change only how much the picture changes. Use it where "
            "no video network is at hand."
        ),
        citation="Heusel et al., NeurIPS 2017, on embedded features",
    )

    def __init__(self, view: Literal["appearance", "change"] = "appearance", components: int = 24) -> None:
        if view not in ("appearance", "change"):
            raise EvalkitError(f"set.frechet: unknown view {view!r}; use 'appearance' or 'change'")
        self.view, self.components = view, components

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Embedded frame features."""
        return (image_request(),)

    def vector(self, clip: ClipFeatures) -> torch.Tensor:
        """`(1, 1280)`."""
        features = clip.tensor(self.requires()[0], "features")
        if self.view == "appearance":
            return features.mean(0, keepdim=True)
        if len(features) < 2:
            raise NotApplicable("the clip has one frame, so nothing changes")
        return (features[1:] - features[:-1]).abs().mean(0, keepdim=True)

    def _suffix(self) -> str:
        return f"/{self.view}/pca{self.components}-of-reference/ddof1"

    def score(self, generated: torch.Tensor, reference: torch.Tensor, *, seed: int) -> SetScore:
        """Distance on the reference's principal axes."""
        from evalkit.metrics.functional.frechet import principal_axes

        project = principal_axes(reference, self.components)
        return super().score(project(generated), project(reference), seed=seed)

    def distance(self, generated: torch.Tensor, reference: torch.Tensor) -> float:
        """Frechet distance."""
        from evalkit.metrics.functional.frechet import frechet_distance

        return frechet_distance(generated, reference)
