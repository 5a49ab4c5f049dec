"""Does the clip keep the prompt's typed promises (`expect`), one by one?

A *detector* is an extractor that looks at pixels alone and can compare what it saw with an expectation:

    judge(features, expect) -> {attribute: True | False}, for the attributes it can judge

The reference world's detector is found through its entry point, as any plugin's would be. Camera motion has a
detector of its own, which works on every clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from evalkit.errors import NotApplicable
from evalkit.features.protocol import FeatureRequest
from evalkit.metrics.base import FLOW, BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    import torch

    from evalkit.features.protocol import ClipFeatures, ClipRecord

__all__ = [
    "Attributes",
    "Camera",
    "Colour",
    "Count",
    "Detector",
    "Motion",
    "Object",
    "Relation",
    "Size",
    "Style",
    "TemporalOrder",
]


class Detector(Protocol):
    """What an extractor adds to be a detector."""

    def judge(self, features: Mapping[str, torch.Tensor], expect: Mapping[str, object]) -> Mapping[str, bool]:
        """Verdicts on the attributes of `expect` that this detector can judge in this clip."""
        ...


class Attributes(BaseMetric):
    """Share of the prompt's promises that the clip keeps.

    Args:
        detector: extractor with a `judge`; the reference world's by default.
    """

    attributes: ClassVar[tuple[str, ...]] = ()
    spec = MetricSpec(
        id="alignment.attributes",
        version="1",
        title="Promises kept",
        description="Objects, colours, counts, sizes, motions or relations are not as the prompt says.",
        direction="higher",
        range=(0.0, 1.0),
        min_frames=3,
        formula="verdicts that are true / attributes of the prompt's expect that the detector can judge",
        limits="Only as good as its detector; the reference world's judges clips of that world alone.",
        evidence="measured",
        leaf="prompt.attribute",
    )

    def __init__(self, detector: str = "world.detector") -> None:
        self.detector = detector

    def requires(self) -> tuple[FeatureRequest, ...]:
        """What the detector saw."""
        return (FeatureRequest(self.detector),)

    def not_for(self, record: ClipRecord) -> str | None:
        """A prompt without the typed promise needs no detector, which is slow on large clips."""
        promised = set(record.prompt.expect) if record.prompt is not None else set()
        if promised & set(self.attributes) if self.attributes else promised:
            return None
        what = " or ".join(self.attributes) if self.attributes else "anything"
        return f"the prompt does not promise {what} in its `expect`"

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Share of kept promises.

        Raises:
            NotApplicable: the prompt promises nothing that the detector can judge.
        """
        from evalkit.features.registry import load_extractor

        prompt = clip.record.prompt
        expect = dict(prompt.expect) if prompt is not None else {}
        absent = cast("Mapping[str, object]", expect.pop("absent", {}))
        wanted = [name for name in expect if not self.attributes or name in self.attributes]
        request = self.requires()[0]
        verdicts: list[bool] = []
        if wanted:
            detector = cast(Detector, load_extractor(request))
            # The whole expectation goes in: which object is meant may follow from another attribute.
            judged = detector.judge(clip.features[request], expect)
            verdicts += [judged[name] for name in wanted if name in judged]
            if not self.attributes and absent:
                seen = detector.judge(clip.features[request], {**expect, **absent})
                verdicts += [not seen[name] for name in absent if name in seen]
        if not verdicts:
            what = " or ".join(self.attributes) if self.attributes else "anything"
            raise NotApplicable(
                f"the prompt does not promise {what} that the detector {self.detector!r} can judge"
            )
        return ClipScore(sum(verdicts) / len(verdicts))


def _single(name: str, title: str, description: str, leaf: str) -> MetricSpec:
    return MetricSpec(
        id=f"alignment.{name}",
        version="1",
        title=title,
        description=description,
        direction="higher",
        range=(0.0, 1.0),
        min_frames=3,
        formula="1 when the detector sees what expect asks for, else 0",
        limits="Only as good as its detector; the reference world's judges clips of that world alone.",
        evidence="measured",
        leaf=leaf,
    )


class Object(Attributes):
    """Is the asked object there?"""

    attributes = ("object",)
    spec = _single("object", "Object", "The object is another one, or missing.", "prompt.object")


class Colour(Attributes):
    """Has it the asked colour?"""

    attributes = ("colour",)
    spec = _single("colour", "Colour", "The object has another colour.", "prompt.attribute")


class Count(Attributes):
    """Are there as many as asked?"""

    attributes = ("count",)
    spec = _single("count", "Count", "There are more or fewer objects than asked.", "prompt.object")


class Size(Attributes):
    """Has it the asked size?"""

    attributes = ("size",)
    spec = _single("size", "Size", "The object is larger or smaller than asked.", "prompt.attribute")


class Motion(Attributes):
    """Does it move as asked?"""

    attributes = ("motion",)
    spec = _single(
        "motion", "Motion", "The object moves another way than asked, or not at all.", "prompt.action"
    )


class Relation(Attributes):
    """Do two objects stand or act as asked? Left is not right, above is not below."""

    attributes = ("relation",)
    spec = _single(
        "relation", "Relation", "The two objects stand or act otherwise than asked.", "prompt.spatial"
    )


class Style(Attributes):
    """Is it drawn in the asked style, on the asked background?"""

    attributes = ("style", "background")
    spec = _single("style", "Style and background", "Style or background are not as asked.", "prompt.style")


class TemporalOrder(Attributes):
    """Do the events happen in the asked order?"""

    attributes = ("events",)
    spec = _single(
        "temporal_order",
        "Order of events",
        "Events are missing or happen in another order.",
        "scene.progression",
    )


class Camera(BaseMetric):
    """Does the picture as a whole move as the asked camera would?"""

    spec = MetricSpec(
        id="alignment.camera",
        version="1",
        title="Camera",
        description="The camera moves otherwise than asked, or moves although it should stand still.",
        direction="higher",
        range=(0.0, 1.0),
        min_frames=2,
        formula=(
            "1 when the class of the summed global motion equals expect.camera; motion: similarity fitted to the flow "
            "by RANSAC; class: the largest of pan, tilt, zoom and roll by the displacement it causes at the picture's "
            "edge, static below 4% of the short side"
        ),
        invariant_to=("brightness", "size", "fps"),
        limits="A plain background without texture shows no camera; a subject that fills the picture is the camera.",
        citation="Vocabulary of MovieNet's shot movements; robust fit as in video stabilisation",
        leaf="prompt.camera",
    )
    needs: ClassVar[tuple[FeatureRequest, ...]] = (FLOW,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        """1.0 or 0.0.

        Raises:
            NotApplicable: the prompt asks for no camera motion.
        """
        from evalkit.metrics.functional.motion import camera_class

        asked = clip.record.prompt.expect.get("camera") if clip.record.prompt is not None else None
        if asked is None:
            raise NotApplicable("the prompt does not say how the camera moves (expect.camera)")
        return ClipScore(float(camera_class(clip.tensor(FLOW, "forward")) == asked))
