"""Text embeddings, and the embedded way to compare pictures with words (ConSE)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch

from evalkit.errors import EvalkitError
from evalkit.features.protocol import ExtractorSpec, FeatureRequest
from evalkit.features.requests import image_request
from evalkit.weights import file_digest, locate

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["ClipText", "Conse", "Text", "class_names"]


class Text:
    """Embeds a prompt with MiniLM: `{"features": float32 (384,)}`, of length 1."""

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()

    @cached_property
    def _encoder(self) -> Any:
        from evalkit.features.networks.minilm import MiniLM

        return MiniLM()

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network."""
        return ExtractorSpec(
            id="text",
            version="1",
            subject="text",
            title="all-MiniLM-L6-v2 sentence encoder (embedded)",
            weights_digest=self._encoder.digest,
            preprocessing="word pieces, at most 256, mean pooling, unit length",
            citation="Reimers & Gurevych, Sentence-BERT, EMNLP 2019; Wang et al., MiniLM, NeurIPS 2020",
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Embed one text."""
        return {"features": self._encoder.encode(str(subject))}


class ClipText:
    """Embeds a prompt with the text tower of an open_clip model: `{"features": float32 (D,)}`.

    Args:
        network: `MODEL` or `MODEL/TAG`, as in the image network `clip:MODEL/TAG`.
        checkpoint: a weights file of the user's own.
    """

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()

    def __init__(self, network: str = "ViT-B-32", checkpoint: str | None = None) -> None:
        self.network, self.checkpoint = network, checkpoint

    @cached_property
    def _loaded(self) -> tuple[Any, str, Any]:
        from evalkit.features.networks.image import load_clip

        model, digest = load_clip(self.network, self.checkpoint)
        import open_clip

        return model, digest, open_clip.get_tokenizer(self.network.partition("/")[0])

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network."""
        return ExtractorSpec(
            id="clip_text",
            version="1",
            subject="text",
            title=f"CLIP {self.network} text tower (open_clip)",
            weights_digest=self._loaded[1],
            preprocessing="the model's own tokenizer and context length",
            citation="Radford et al., CLIP, ICML 2021; Ilharco et al., OpenCLIP, 2021",
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Embed one text."""
        model, _, tokenizer = self._loaded
        with torch.inference_mode():
            return {"features": model.encode_text(tokenizer([str(subject)]))[0].float().clone()}


def class_names() -> tuple[str, ...]:
    """Names of the 1000 ImageNet classes, in the order of a classifier's logits (from OpenCLIP, MIT licence)."""
    text = files("evalkit.features").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


class Conse:
    """Places a clip among texts through what an ImageNet classifier sees in it (ConSE).

    The clip's class probabilities are the mean over frames; the 50 most probable weigh MiniLM's embeddings of
    the class names, centred on the mean over all classes: `{"features": float32 (384,), "centre": (384,)}`.

    Args:
        top: how many classes speak. Norouzi et al. found little change beyond ten; fifty keeps scenes in, of
            which ImageNet has few.
    """

    def __init__(self, top: int = 50) -> None:
        if not 1 <= top <= 1000:
            raise EvalkitError(f"conse: top is {top}; it must lie within 1 and 1000 classes")
        self.top = top

    @property
    def requires(self) -> tuple[FeatureRequest, ...]:
        """Frame logits of the embedded classifier."""
        return (image_request(),)

    @cached_property
    def _encoder(self) -> Any:
        from evalkit.features.networks.minilm import MiniLM

        return MiniLM()

    @cached_property
    def _classes(self) -> torch.Tensor:
        return cast(torch.Tensor, self._encoder.encode_all(class_names()))

    @property
    def spec(self) -> ExtractorSpec:
        """Identity of the extractor; loads the network."""
        return ExtractorSpec(
            id="conse",
            version="1",
            subject="clip",
            title="ConSE: ImageNet classes spoken in MiniLM embeddings (embedded)",
            weights_digest=f"{file_digest(locate('efficientnet-lite0'))}+{self._encoder.digest}",
            preprocessing=f"mean probabilities over frames, top {self.top} classes, centred on all class names",
            citation="Norouzi et al., Zero-shot learning by convex combination of semantic embeddings, ICLR 2014",
        )

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Mapping[str, torch.Tensor]]
    ) -> Mapping[str, torch.Tensor]:
        """Embed one clip."""
        classes = self._classes
        probabilities = inputs[image_request()]["logits"].softmax(-1).mean(0)
        weight, index = probabilities.topk(self.top)
        centre = classes.mean(0)
        features = (weight / weight.sum()) @ (classes[index] - centre)
        return {"features": features, "centre": centre}
