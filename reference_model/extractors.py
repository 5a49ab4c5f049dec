"""The world's encoders as extractors of evalkit (entry-point group `evalkit.extractors`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from evalkit.errors import NotApplicable
from evalkit.features.protocol import ExtractorSpec, FeatureRequest

if TYPE_CHECKING:
    import torch

    from evalkit.video import Video
    from reference_model.encoders import WorldEncoder
    from reference_model.text import Tokenizer

PREPROCESSING = "16 frames evenly, 64x64 bilinear with antialias, float32"
# Every prompt of the core suite is made of the world's words alone; of the open-domain suite, at least a quarter of
# every prompt's words are unknown.
UNKNOWN_SHARE = 0.2


@cache
def _encoder() -> tuple[WorldEncoder, Tokenizer]:
    from reference_model.encoders import load_encoder

    return load_encoder()


@cache
def _vocabulary() -> frozenset[str]:
    from reference_model.text import world_words

    return frozenset(world_words())


@cache
def _digest() -> str:
    from reference_model.release import WEIGHTS

    manifest = json.loads((WEIGHTS / "encoders" / "manifest.json").read_text(encoding="utf-8"))
    return f"sha256:{manifest['sha256']['model.safetensors']}"


class _World:
    requires: ClassVar[tuple[FeatureRequest, ...]] = ()
    id: ClassVar[str]
    subject: ClassVar[Any]
    title: ClassVar[str]
    preprocessing: ClassVar[str] = PREPROCESSING

    @property
    def spec(self) -> ExtractorSpec:
        """Identity, with the digest of the shipped weights."""
        return ExtractorSpec(
            id=self.id,
            version="2",
            subject=self.subject,
            title=self.title,
            weights_digest=_digest(),
            preprocessing=self.preprocessing,
            citation="reference_model/README.md, section Encoders",
        )


class WorldVideoText(_World):
    """Clip side of the dual encoder: a unit vector (EMBEDDING,)."""

    id, subject = "world.video_text", "clip"
    title = "Text-video encoder of the reference world (clip)"

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Any]
    ) -> Mapping[str, torch.Tensor]:
        """`features` (EMBEDDING,)."""
        import torch

        from reference_model.encoders import prepare

        model, _ = _encoder()
        with torch.no_grad():
            features = model.features(prepare(subject.frames)[None])  # type: ignore[union-attr]
            return {"features": model.embed_features(features)[0]}


class WorldText(_World):
    """Text side of the dual encoder: a unit vector (EMBEDDING,)."""

    id, subject = "world.text", "text"
    title = "Text-video encoder of the reference world (text)"
    preprocessing = "words, lower case; weights in prompts ignored"

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Any]
    ) -> Mapping[str, torch.Tensor]:
        """`features` (EMBEDDING,).

        Raises:
            NotApplicable: the text speaks of another world; an embedding of unknown words would mean nothing.
        """
        import torch

        from reference_model.encoders import embed_texts
        from reference_model.text import split_weights, words_of

        words = [word for part, _ in split_weights(str(subject)) for word in words_of(part)]
        unknown = [word for word in words if word not in _vocabulary()]
        if not words or len(unknown) > UNKNOWN_SHARE * len(words):
            raise NotApplicable(
                f"the prompt speaks of things that the reference world does not have ({', '.join(unknown[:5])})"
            )
        model, tokenizer = _encoder()
        with torch.no_grad():
            return {"features": embed_texts(model, tokenizer, [str(subject)])[0]}


class WorldVideo(_World):
    """Features of the attribute classifier: (256,), for distances between sets of clips."""

    id, subject = "world.video", "clip"
    title = "Attribute classifier of the reference world (penultimate layer)"

    def extract(
        self, subject: Video | str, inputs: Mapping[FeatureRequest, Any]
    ) -> Mapping[str, torch.Tensor]:
        """`features` (256,)."""
        import torch

        from reference_model.encoders import prepare

        model, _ = _encoder()
        with torch.no_grad():
            return {"features": model.features(prepare(subject.frames)[None])[0]}  # type: ignore[union-attr]
