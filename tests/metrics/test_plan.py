"""From metrics to scores: what the run engine calls."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from evalkit.errors import EvalkitError, MissingWeights, UnknownName
from evalkit.features import compute
from evalkit.features.compute import FeaturePlan, score_clip
from evalkit.features.protocol import ClipRecord, ExtractorSpec, FeatureRequest
from evalkit.features.registry import EXTRACTORS, load_extractor
from evalkit.metrics.base import BaseMetric
from evalkit.metrics.registry import load_metric, load_metrics, metric_ids
from evalkit.metrics.spec import ClipScore, MetricSpec
from evalkit.suites import Prompt

BASE, MEAN, WORDS, ABSENT = (FeatureRequest(name) for name in ("t.base", "t.mean", "t.words", "t.absent"))


def make_video(num_frames: int = 5, size: int = 32, seed: int = 0) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (num_frames, 3, size, size), dtype=torch.uint8, generator=generator)
    return SimpleNamespace(frames=frames, fps=Fraction(8), num_frames=num_frames)


def make_record(
    num_frames: int = 5, prompt: Prompt | None = None, seconds: float | None = None
) -> ClipRecord:
    return ClipRecord(prompt, num_frames, 32, 32, Fraction(8), seconds=seconds)


class Counting:
    """An extractor that counts its calls."""

    calls: ClassVar[list[str]] = []
    name, needs, subject, cached = "", (), "clip", True

    @property
    def requires(self) -> tuple[FeatureRequest, ...]:
        return self.needs

    @property
    def spec(self) -> ExtractorSpec:
        return ExtractorSpec(
            id=self.name, version="1", subject=self.subject, title=self.name, cached=self.cached
        )


class Base(Counting):
    name, cached = "t.base", False

    def extract(self, subject, inputs):
        self.calls.append(self.name)
        return {"x": subject.frames.float()}


class Mean(Counting):
    name, needs = "t.mean", (BASE,)

    def extract(self, subject, inputs):
        self.calls.append(self.name)
        return {"x": inputs[BASE]["x"].mean((1, 2, 3))}


class Words(Counting):
    name, subject = "t.words", "text"

    def extract(self, subject, inputs):
        self.calls.append(self.name)
        return {"x": torch.tensor([float(len(subject))])}


class Absent(Counting):
    name = "t.absent"

    def __init__(self) -> None:
        raise MissingWeights("t.absent: weights missing, get them with ...")


def metric(name, *needs, value=1.0, min_frames=1):
    spec = MetricSpec(
        id=name, version="1", title=name, description="", direction="higher", min_frames=min_frames
    )

    class Made(BaseMetric):
        def score(self, clip):
            if isinstance(value, Exception):
                raise value
            return ClipScore(value(clip) if callable(value) else value)

    Made.spec, Made.needs = spec, needs
    return Made()


@pytest.fixture(autouse=True)
def extractors(monkeypatch):
    table = {cls.name: f"{__name__}:{cls.__name__}" for cls in (Base, Mean, Words, Absent)}
    monkeypatch.setattr(EXTRACTORS, "table", {**EXTRACTORS.table, **table})
    load_extractor.cache_clear()
    Counting.calls.clear()
    yield
    load_extractor.cache_clear()


def test_every_feature_is_computed_once_and_requirements_first():
    plan = FeaturePlan([metric("a", MEAN), metric("b", MEAN, BASE), metric("c", BASE)])
    clip = plan.clip_features(make_video(), make_record())
    assert Counting.calls == ["t.base", "t.mean"]
    assert clip.tensor(MEAN, "x").shape == (5,)


def test_a_missing_feature_skips_only_the_metrics_that_read_it():
    plan = FeaturePlan([metric("a", ABSENT), metric("b", MEAN)])
    clip = plan.clip_features(make_video(), make_record())
    first, second = (score_clip(item, clip) for item in plan.clip_metrics)
    assert (first.status, first.value) == ("skipped", None)
    assert "get them with" in first.reason
    assert (second.status, second.value) == ("ok", 1.0)


@pytest.mark.parametrize(
    ("value", "status", "words"),
    [
        (float("nan"), "failed", "not finite"),
        (float("inf"), "failed", "not finite"),
        (ZeroDivisionError("boom"), "failed", "ZeroDivisionError: boom"),
        (MissingWeights("no weights"), "skipped", "no weights"),
    ],
)
def test_whatever_a_metric_does_becomes_a_status(value, status, words):
    made = metric("a", value=value)
    scored = score_clip(made, FeaturePlan([made]).clip_features(make_video(), make_record()))
    assert scored.status == status
    assert scored.value is None
    assert words in scored.reason


def test_too_few_frames_is_not_applicable():
    made = metric("a", min_frames=9)
    scored = score_clip(made, FeaturePlan([made]).clip_features(make_video(), make_record()))
    assert (scored.status, scored.reason) == ("not_applicable", "needs at least 9 frames, the clip has 5")


def test_texts_are_computed_once_each_and_reach_the_metric_of_their_prompt():
    plan = FeaturePlan([metric("a", WORDS, value=lambda clip: float(clip.tensor(WORDS, "x")))])
    texts = plan.text_features(["red ball", "cat", "red ball"])
    assert Counting.calls == ["t.words", "t.words"]
    prompt = Prompt(id="p", text="cat", category="c")
    clip = plan.clip_features(make_video(), make_record(prompt=prompt), texts)
    assert score_clip(plan.clip_metrics[0], clip).value == 3.0
    assert clip.suite_texts[WORDS].texts == ("red ball", "cat")
    assert clip.suite_texts[WORDS].matrix("x").tolist() == [[8.0], [3.0]]
    bare = plan.clip_features(make_video(), make_record(), texts)
    assert score_clip(plan.clip_metrics[0], bare).status == "not_applicable"


class Store(dict):
    def get(self, request, spec, subject):
        return super().get((request, subject))

    def put(self, request, spec, subject, tensors):
        self[request, subject] = tensors


def test_a_stored_feature_needs_neither_decoding_nor_what_it_was_made_from():
    store = Store()
    plan = FeaturePlan([metric("a", MEAN)])
    first = plan.clip_features(make_video(), make_record(), clip_id="k", store=store)
    assert list(store) == [(MEAN, "k")]

    def decode():
        raise AssertionError("decoded although everything is stored")

    again = plan.clip_features(decode, make_record(), clip_id="k", store=store)
    assert Counting.calls == ["t.base", "t.mean"]
    assert torch.equal(first.tensor(MEAN, "x"), again.tensor(MEAN, "x"))


def test_the_clip_is_decoded_at_most_once():
    decoded = []

    def decode():
        decoded.append(1)
        return make_video()

    FeaturePlan([metric("a", MEAN, BASE)]).clip_features(decode, make_record())
    assert decoded == [1]


def test_only_the_wanted_requests_are_computed():
    plan = FeaturePlan([metric("a", MEAN), metric("b", BASE)])
    plan.clip_features(make_video(), make_record(), wanted=[BASE])
    assert Counting.calls == ["t.base"]


def test_unknown_names_answer_with_close_ones():
    with pytest.raises(UnknownName, match=r"did you mean 'temporal\.flicker'"):
        load_metric("temporal.fliker")


def test_parameters_are_read_from_the_string_and_wrong_ones_are_named():
    with pytest.raises(EvalkitError, match="speed"):
        load_metric("visual.sharpness:speed=3")
    with pytest.raises(EvalkitError, match="is no parameter"):
        load_metric("visual.sharpness:speed")


def test_default_is_a_subset_of_all():
    assert set(metric_ids(default_only=True)) <= set(metric_ids())
    assert [item.spec.id for item in load_metrics(["default"])] == list(metric_ids(default_only=True))


def test_metric_ids_agree_with_their_cards():
    for name in metric_ids():
        assert load_metric(name).spec.id == name


def test_problem_of_keeps_the_type_of_unexpected_errors():
    assert compute.problem_of(KeyError("x")) == ("failed", "KeyError: 'x'")
