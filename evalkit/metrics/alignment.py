"""Does the clip show what the prompt says? By encoders that place clips and texts in one space."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from evalkit.errors import EvalkitError, NotApplicable
from evalkit.features.protocol import FeatureRequest
from evalkit.metrics.base import BaseMetric, image_request
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    import torch

    from evalkit.features.protocol import ClipFeatures

__all__ = [
    "Clip",
    "Conse",
    "Encoder",
    "Retrieval",
    "RetrievalMargin",
    "RetrievalTop1",
    "RetrievalTop5",
    "VideoText",
    "World",
    "encoder_of",
]


class Encoder(NamedTuple):
    """A pair of features that live in one space.

    Args:
        video: feature of the clip; its `features` is `(D,)`, or `(T, D)` to be averaged over frames.
        text: feature of the prompt; its `features` is `(D,)`.
        centred: whether the clip's `centre` is to be taken from the text first.
    """

    video: FeatureRequest
    text: FeatureRequest
    centred: bool = False

    def clip_vector(self, clip: ClipFeatures) -> torch.Tensor:
        """The clip's embedding `(D,)`."""
        features = clip.tensor(self.video, "features")
        return features.mean(0) if features.ndim == 2 else features

    def text_matrix(self, clip: ClipFeatures, texts: torch.Tensor) -> torch.Tensor:
        """Text embeddings ready to be compared with `clip_vector`."""
        return texts - clip.tensor(self.video, "centre") if self.centred else texts


def encoder_of(
    name: Literal["conse", "clip", "world"], network: str = "ViT-B-32", checkpoint: str | None = None
) -> Encoder:
    """The encoder of a name.

    Raises:
        EvalkitError: there is no such encoder.
    """
    if name == "conse":
        return Encoder(FeatureRequest("conse"), FeatureRequest("text"), centred=True)
    if name == "world":
        return Encoder(FeatureRequest("world.video_text"), FeatureRequest("world.text"))
    if name == "clip":
        options: dict[str, str] = {} if network == "ViT-B-32" else {"network": network}
        if checkpoint is not None:
            options["checkpoint"] = checkpoint
        return Encoder(
            image_request(f"clip:{network}", checkpoint), FeatureRequest.of("clip_text", **options)
        )
    raise EvalkitError(f"unknown encoder {name!r}; use 'conse', 'clip' or 'world'")


class _Alignment(BaseMetric):
    """100 times the cosine of clip and prompt."""

    @property
    def encoder(self) -> Encoder:
        raise NotImplementedError

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Feature of the clip and of its prompt."""
        return (self.encoder.video, self.encoder.text)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """100 times the cosine; a series where the encoder speaks frame by frame."""
        from evalkit.metrics.functional.consistency import prompt_similarity

        features = clip.tensor(self.encoder.video, "features")
        text = self.encoder.text_matrix(clip, clip.tensor(self.encoder.text, "features"))
        similarity = prompt_similarity(features.reshape(-1, features.shape[-1]), text)
        return ClipScore(float(similarity.mean()), similarity.tolist() if features.ndim == 2 else None)


class Clip(_Alignment):
    """Mean over frames of the cosine of image and prompt in a CLIP model, times 100.

    Args:
        network: open_clip `MODEL` or `MODEL/TAG`.
        checkpoint: a weights file of the user's own.
    """

    spec = MetricSpec(
        id="alignment.clip",
        version="1",
        title="Prompt alignment (CLIP)",
        description="The frames show something else than the prompt says.",
        direction="higher",
        range=(-100.0, 100.0),
        series="frame",
        formula="mean over frames of 100 cos(image(F[t]), text(prompt))",
        invariant_to=("order of frames",),
        limits="Sees objects and scenes; counts, relations, directions and order hardly count. Cut at 77 tokens.",
        citation="Hessel et al., CLIPScore, EMNLP 2021; Radford et al., ICML 2021",
        leaf="prompt.object",
    )

    def __init__(self, network: str = "ViT-B-32", checkpoint: str | None = None) -> None:
        self.network, self.checkpoint = network, checkpoint

    @property
    def encoder(self) -> Encoder:
        """Both towers of the CLIP model."""
        return encoder_of("clip", self.network, self.checkpoint)


class Conse(_Alignment):
    """Cosine of the prompt and what an ImageNet classifier sees, in the space of a sentence encoder."""

    spec = MetricSpec(
        id="alignment.conse",
        version="1",
        title="Prompt alignment (ConSE)",
        description="The frames show other things than the prompt names.",
        direction="higher",
        range=(-100.0, 100.0),
        formula=(
            "100 cos(v, text(prompt) - m); v = mean of MiniLM(class name) - m over the 50 most probable ImageNet "
            "classes, weighted by their mean probability over frames; m = mean over all class names"
        ),
        invariant_to=("order of frames",),
        limits=(
            "A stand-in that needs no download. Sees the 1000 ImageNet classes and what is named like them; people, "
            "counts, relations, style and motion hardly count. Use alignment.clip where weights are at hand."
        ),
        citation="Norouzi et al., ConSE, ICLR 2014; weights efficientnet-lite0, all-MiniLM-L6-v2",
        leaf="prompt.object",
    )

    @property
    def encoder(self) -> Encoder:
        """Embedded classifier and sentence encoder."""
        return encoder_of("conse")


class World(_Alignment):
    """Cosine of clip and prompt by the reference world's own encoder."""

    spec = MetricSpec(
        id="alignment.world",
        version="1",
        title="Prompt alignment (world encoder)",
        description="The clip shows another object, place or motion than the prompt says.",
        direction="higher",
        range=(-100.0, 100.0),
        formula="100 cos(video(clip), text(prompt)), both by the reference model's contrastive encoder",
        limits="Trained on the reference world: it has no meaning for clips or prompts from elsewhere.",
        evidence="measured",
        citation="reference_model, card of the world encoder",
        leaf="prompt.object",
    )

    @property
    def encoder(self) -> Encoder:
        """The reference model's encoder, found through the entry points `world.*`."""
        return encoder_of("world")


class VideoText(_Alignment):
    """Cosine of the mean frame embedding and the prompt.

    Args:
        network: open_clip `MODEL` or `MODEL/TAG`.
        checkpoint: a weights file of the user's own.
    """

    spec = MetricSpec(
        id="alignment.video_text",
        version="1",
        title="Prompt alignment (whole clip)",
        description="The clip as a whole is about something else than the prompt.",
        direction="higher",
        range=(-100.0, 100.0),
        formula="100 cos(mean over frames of image(F[t]) / |image(F[t])|, text(prompt))",
        invariant_to=("order of frames",),
        limits="Mean pooling as in CLIP4Clip: order does not count. VBench's overall_consistency uses ViCLIP.",
        citation="Luo et al., CLIP4Clip, Neurocomputing 2022",
        default=False,
        leaf="prompt.object",
    )

    def __init__(self, network: str = "ViT-B-32", checkpoint: str | None = None) -> None:
        self.network, self.checkpoint = network, checkpoint

    @property
    def encoder(self) -> Encoder:
        """Both towers of the CLIP model."""
        return encoder_of("clip", self.network, self.checkpoint)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """100 times the cosine of the pooled clip."""
        import torch

        from evalkit.metrics.functional.consistency import prompt_similarity

        unit = torch.nn.functional.normalize(clip.tensor(self.encoder.video, "features").double(), dim=-1)
        return ClipScore(
            float(prompt_similarity(unit.mean(0)[None], clip.tensor(self.encoder.text, "features")))
        )


class Retrieval(BaseMetric):
    """How many of the suite's prompts fit the clip better than its own.

    Args:
        encoder: `conse` (embedded, real clips), `clip`, or `world` (reference world).
        network: open_clip model, for `clip`.
        checkpoint: a weights file of the user's own, for `clip`.
    """

    spec = MetricSpec(
        id="alignment.retrieval",
        version="1",
        title="Prompt retrieval",
        description="Another prompt of the suite describes the clip better than its own.",
        direction="higher",
        range=(0.0, 1.0),
        formula=(
            "1 - (rank - 1) / (n - 1), rank of the clip's own prompt among the n distinct prompts of the suite by "
            "cosine; 1 is first, .5 is chance"
        ),
        invariant_to=("any monotone scaling of the encoder's similarity",),
        limits=(
            "Comparable between encoders, not between suites: near-duplicate prompts make it harder. Has the "
            "encoder's blind spots."
        ),
        leaf="prompt.object",
    )
    min_prompts: ClassVar[int] = 2

    def __init__(
        self,
        encoder: Literal["conse", "clip", "world"] = "conse",
        network: str = "ViT-B-32",
        checkpoint: str | None = None,
    ) -> None:
        self.encoder, self.network, self.checkpoint = encoder, network, checkpoint

    @property
    def _pair(self) -> Encoder:
        return encoder_of(self.encoder, self.network, self.checkpoint)

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Feature of the clip and of its prompt."""
        return (self._pair.video, self._pair.text)

    def _place(self, clip: ClipFeatures) -> tuple[int, float, int]:
        """Rank of the own prompt, its margin over the best other one, and the number of prompts."""
        from evalkit.metrics.functional.consistency import prompt_rank

        suite = clip.suite_texts[self._pair.text]
        if clip.record.prompt is None or len(suite.texts) < self.min_prompts:
            raise NotApplicable(
                f"ranking needs a suite of at least two prompts, this one has {len(suite.texts)}"
            )
        texts = self._pair.text_matrix(clip, suite.matrix("features"))
        own = suite.texts.index(clip.record.prompt.text)
        rank, margin = prompt_rank(self._pair.clip_vector(clip), texts, own)
        return rank, margin, len(suite.texts)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """1 for the first place, 0 for the last."""
        rank, _, prompts = self._place(clip)
        return ClipScore(1 - (rank - 1) / (prompts - 1))


_RANK = "rank of the clip's own prompt among the n distinct prompts of the suite by cosine"


class RetrievalTop1(Retrieval):
    """Whether no other prompt of the suite fits the clip better than its own (R@1).

    Args:
        encoder: `conse` (embedded, real clips), `clip`, or `world` (reference world).
        network: open_clip model, for `clip`.
        checkpoint: a weights file of the user's own, for `clip`.
    """

    top: ClassVar[int] = 1
    spec = MetricSpec(
        id="alignment.retrieval_top1",
        version="1",
        title="Prompt retrieval, R@1",
        description="Another prompt of the suite describes the clip better than its own.",
        direction="higher",
        range=(0.0, 1.0),
        formula=f"1 if rank = 1, else 0; {_RANK}; the mean over clips is R@1, chance is 1/n",
        invariant_to=("any monotone scaling of the encoder's similarity",),
        limits="Comparable between encoders, not between suites. Has the encoder's blind spots.",
        default=False,
        leaf="prompt.object",
    )

    def score(self, clip: ClipFeatures) -> ClipScore:
        """1.0 or 0.0."""
        rank, _, prompts = self._place(clip)
        if prompts <= self.top:
            raise NotApplicable(f"the first {self.top} of {prompts} prompts are all of them")
        return ClipScore(float(rank <= self.top))


class RetrievalTop5(RetrievalTop1):
    """Whether at most four other prompts of the suite fit the clip better than its own (R@5).

    Args:
        encoder: `conse` (embedded, real clips), `clip`, or `world` (reference world).
        network: open_clip model, for `clip`.
        checkpoint: a weights file of the user's own, for `clip`.
    """

    top = 5
    spec = MetricSpec(
        id="alignment.retrieval_top5",
        version="1",
        title="Prompt retrieval, R@5",
        description="Many prompts of the suite describe the clip better than its own.",
        direction="higher",
        range=(0.0, 1.0),
        formula=f"1 if rank <= 5, else 0; {_RANK}; the mean over clips is R@5, chance is 5/n",
        invariant_to=("any monotone scaling of the encoder's similarity",),
        limits="Comparable between encoders, not between suites. Has the encoder's blind spots.",
        default=False,
        leaf="prompt.object",
    )


class RetrievalMargin(Retrieval):
    """How clearly the clip's own prompt beats the best other one.

    Args:
        encoder: `conse` (embedded, real clips), `clip`, or `world` (reference world).
        network: open_clip model, for `clip`.
        checkpoint: a weights file of the user's own, for `clip`.
    """

    spec = MetricSpec(
        id="alignment.retrieval_margin",
        version="1",
        title="Prompt retrieval, margin",
        description="Another prompt of the suite describes the clip as well as its own, or better.",
        direction="higher",
        range=(-2.0, 2.0),
        formula="cosine of clip and own prompt less the largest cosine with another prompt of the suite",
        limits="Near-duplicate prompts leave no margin; the scale is the encoder's: compare within one encoder.",
        default=False,
        leaf="prompt.object",
    )

    def score(self, clip: ClipFeatures) -> ClipScore:
        """The margin, below 0 when another prompt fits better."""
        return ClipScore(self._place(clip)[1])
