"""The models and extractors as evalkit meets them."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from evalkit.models.protocol import GenerationFailure, GenerationRequest
from evalkit.testing import check_model
from evalkit.video import Video
from reference_model.adapter import ReferenceModel, WorldModel
from reference_model.encoders import EMBEDDING
from reference_model.extractors import WorldText, WorldVideo, WorldVideoText
from reference_model.probe import observe


def request(prompt: str, seed: int = 1, **changes: object) -> GenerationRequest:
    values = {"num_frames": 16, "height": 64, "width": 64, "fps": Fraction(8), **changes}
    return GenerationRequest(prompt=prompt, seed=seed, **values)  # type: ignore[arg-type]


def render(prompt: str, **changes: object) -> Video:
    (clip,) = WorldModel().generate([request(prompt, **changes)])
    assert isinstance(clip, Video), clip
    return clip


def test_world_honours_the_contract() -> None:
    check_model(WorldModel, [request("a red ball"), request("a blue square moves left", seed=7)])


def test_reference_honours_the_contract() -> None:
    small = {"num_frames": 4, "height": 32, "width": 32}
    fast = {"params": {"num_inference_steps": 2, "tracks_steps": 4}}
    check_model(
        ReferenceModel,
        [request("a red ball", **small, **fast), request("a blue square", seed=7, **small, **fast)],
    )


@pytest.mark.parametrize(
    ("prompt", "motion", "count"),
    [("a large red ball moves left on a white background", "left", 1), ("three small blue stars move up", "up", 3), ("a green square spins, at night", "rotate", 1)],
)  # fmt: skip
def test_world_renders_what_is_said(prompt: str, motion: str, count: int) -> None:
    seen = observe(render(prompt).frames.permute(0, 2, 3, 1).numpy())
    assert (seen.motion, seen.count) == (motion, count)


def test_world_takes_size_length_and_rate_from_the_request() -> None:
    clip = render("a red ball", num_frames=5, height=48, width=80, fps=Fraction(24000, 1001))
    assert tuple(clip.frames.shape) == (5, 3, 48, 80)
    assert clip.fps == Fraction(24000, 1001)


def test_world_reads_expect_where_the_text_is_not_its_own() -> None:
    expect = {"object": "star", "colour": "red", "motion": "down", "background": "gray"}
    seen = observe(render("une étoile rouge tombe", expect=expect).frames.permute(0, 2, 3, 1).numpy())
    assert (seen.objects[0].shape, seen.objects[0].colour, seen.motion) == ("star", "red", "down")


def test_world_says_why_it_cannot() -> None:
    failures = WorldModel().generate([request("a red dragon flies"), request("a red ball spins")])
    assert all(isinstance(failure, GenerationFailure) and failure.permanent for failure in failures)
    assert "no word 'dragon'" in failures[0].reason  # type: ignore[union-attr]
    assert "circle rotate" in failures[1].reason  # type: ignore[union-attr]


def test_one_impossible_request_does_not_spoil_its_neighbours() -> None:
    model = ReferenceModel(num_inference_steps=1, tracks_steps=2)
    made = model.generate(
        [request("a red ball", height=33), request("a red ball", num_frames=2, height=32, width=32)]
    )
    assert isinstance(made[0], GenerationFailure)
    assert "height is 33" in made[0].reason
    assert isinstance(made[1], Video)


def test_unknown_settings_are_reported_or_refused() -> None:
    model = WorldModel()
    model.generate([request("a red ball", params={"guidance_scale": 3.0, "style": "night"})])
    assert model.ignored_params == {"guidance_scale"}
    with pytest.raises(ValueError, match="no setting 'guidence'"):
        ReferenceModel(guidence=3.0)


def test_identity_holds_the_digest_of_every_file() -> None:
    info = ReferenceModel().info
    assert {name.partition("/")[0] for name in info.weights} >= {
        "text_encoder",
        "tracks",
        "base",
        "model_index.json",
    }
    assert all(value.startswith("sha256:") and len(value) == 71 for value in info.weights.values())
    assert ReferenceModel(revision="v1").info != ReferenceModel(revision="v2").info


def test_extractors_give_vectors_that_prefer_the_right_direction() -> None:
    clip = render("a large red ball moves left on a white background")
    video = WorldVideoText().extract(clip, {})["features"]
    right, wrong = (
        WorldText().extract(f"a large {colour} ball moves left on a {ground} background", {})["features"]
        for colour, ground in (("red", "white"), ("blue", "black"))
    )
    assert video.shape == right.shape == (EMBEDDING,)
    assert float(video @ right) > float(video @ wrong)
    features = WorldVideo().extract(clip, {})["features"]
    assert features.shape == (256,)
    assert features.dtype == torch.float32
    assert WorldVideo().spec.weights_digest.startswith("sha256:")
