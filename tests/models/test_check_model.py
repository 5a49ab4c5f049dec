from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from evalkit.models import GenerationFailure, GenerationRequest, ModelInfo
from evalkit.testing import check_model, sample_requests
from evalkit.video import Video
from tests.models.good import NoiseModel, request


def test_a_good_model_passes_and_the_report_says_what_was_checked() -> None:
    report = check_model(NoiseModel)
    assert report.info.id == "noise"
    assert len(report.checks) == 11
    assert report.notes == ()
    assert "the same request gives the same clip, from a fresh model too" in report.checks


def test_own_requests_are_used() -> None:
    check_model(NoiseModel, [request("a", height=8), request("b", height=8, seed=2)])
    with pytest.raises(AssertionError, match="at least two requests"):
        check_model(NoiseModel, [request()])


def test_sample_requests_follow_the_models_defaults() -> None:
    info = ModelInfo(
        id="m", revision="1", defaults={"num_frames": 5, "fps": "24000/1001", "guidance_scale": 3}
    )
    first, second = sample_requests(info)
    assert (first.num_frames, first.height, str(first.fps), dict(first.params)) == (
        5,
        64,
        "24000/1001",
        {"guidance_scale": 3},
    )
    assert first.seed != second.seed


class NoRevision(NoiseModel):
    @property
    def info(self) -> ModelInfo:
        return replace(super().info, revision="")


class BareDigest(NoiseModel):
    @property
    def info(self) -> ModelInfo:
        return replace(super().info, weights={"net": "abcdef"})


class NotJson(NoiseModel):
    @property
    def info(self) -> ModelInfo:
        return replace(super().info, config={"device": torch.device("cpu")})


class InfoOfObject(NoiseModel):
    @property
    def info(self) -> ModelInfo:
        return replace(super().info, config={"id": id(self)})


class NoPickle(NoiseModel):
    def __init__(self) -> None:
        super().__init__()
        self.handle = lambda: None


class GlobalTorch(NoiseModel):
    def make(self, one: GenerationRequest) -> Video | GenerationFailure:
        torch.manual_seed(one.seed)
        return super().make(one)


class GlobalPython(NoiseModel):
    def make(self, one: GenerationRequest) -> Video | GenerationFailure:
        random.seed(one.seed)
        return super().make(one)


class Forgetful(NoiseModel):
    def generate(self, requests):
        return super().generate(requests)[:1]


class Resizing(NoiseModel):
    def make(self, one: GenerationRequest) -> Video | GenerationFailure:
        return super().make(replace(one, height=max(8, one.height) + 2))


class Arrays(NoiseModel):
    def make(self, one: GenerationRequest):
        made = super().make(one)
        return made.frames if isinstance(made, Video) else made


class Failing(NoiseModel):
    def make(self, one: GenerationRequest) -> GenerationFailure:
        return GenerationFailure("today is Sunday")


class Counting(NoiseModel):
    """Another clip every time."""

    calls = 0

    def make(self, one: GenerationRequest) -> Video | GenerationFailure:
        type(self).calls += 1
        return super().make(replace(one, seed=one.seed + type(self).calls))


class Seedless(NoiseModel):
    def make(self, one: GenerationRequest) -> Video | GenerationFailure:
        return super().make(replace(one, seed=len(one.prompt)))


class BatchSeed(NoiseModel):
    """One generator for the whole batch."""

    def generate(self, requests):
        return [self.make(replace(one, seed=requests[0].seed + place)) for place, one in enumerate(requests)]


class Silent(NoiseModel):
    """Swallows parameters without a word."""

    @property
    def ignored_params(self) -> frozenset[str]:
        return frozenset()


class Raising(NoiseModel):
    def make(self, one: GenerationRequest) -> Video | GenerationFailure:
        if one.height < 8:
            raise RuntimeError("too small")
        return super().make(one)


class Hopeful(NoiseModel):
    def make(self, one: GenerationRequest) -> Video | GenerationFailure:
        return GenerationFailure("later", permanent=False) if one.height < 8 else super().make(one)


class Dizzy(NoiseModel):
    def generate(self, requests):
        return super().generate(requests or [request()])


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (NoRevision, "info.revision is empty"),
        (BareDigest, "must read `algorithm:digest`"),
        (NotJson, "info.config must hold JSON types only"),
        (InfoOfObject, "must not depend on the object"),
        (NoPickle, "cannot be sent to a worker process"),
        (GlobalTorch, "used a global random number generator"),
        (GlobalPython, "used a global random number generator"),
        (Forgetful, "1 results for 2 requests"),
        (Resizing, "asked for \\(4, 16, 24\\) \\(frames, height, width\\), got \\(4, 18, 24\\)"),
        (Arrays, "must give Video or GenerationFailure, got Tensor"),
        (Failing, "failed: today is Sunday"),
        (Counting, "give other clips the second time"),
        (Seedless, "another seed gives the very same clip"),
        (BatchSeed, "made alone differs by up to \\d+ from the one made in a batch"),
        (Silent, "must be recorded in ignored_params"),
        (Raising, "raised RuntimeError: too small; return a GenerationFailure"),
        (Hopeful, "is a permanent failure"),
        (Dizzy, "no requests must give no results"),
    ],
)
def test_each_broken_rule_is_found_and_named(broken: type[NoiseModel], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_model(broken)


def test_something_else_is_no_model() -> None:
    with pytest.raises(AssertionError, match="object lacks info, ignored_params, load, generate of"):
        check_model(object)  # type: ignore[arg-type]
