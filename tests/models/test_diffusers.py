"""Real pipeline classes with tiny random weights; nothing is downloaded."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evalkit import _torchvision
from evalkit.errors import EvalkitError, MissingWeights
from evalkit.models import GenerationFailure, GenerationRequest, load_model
from evalkit.models.diffusers_pipeline import DiffusersModel
from evalkit.suites.prompt import FrozenMapping
from evalkit.testing import check_model
from evalkit.video import Video

pytest.importorskip("transformers", reason="text encoders need the extra `transformers`")
pytestmark = pytest.mark.filterwarnings("default")  # what diffusers and transformers warn of is theirs

FAST = {"num_inference_steps": 2, "max_sequence_length": 16}


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _torchvision.ensure()
    from tests.models.checkpoints import text_to_video

    return text_to_video(tmp_path_factory.mktemp("checkpoints") / "tiny-text-to-video")


@pytest.fixture(scope="module")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _torchvision.ensure()
    from tests.models.checkpoints import image_to_video

    return image_to_video(tmp_path_factory.mktemp("checkpoints") / "tiny-image-to-video")


@pytest.fixture(scope="module")
def loaded(text_model: Path) -> DiffusersModel:
    model = DiffusersModel(pipeline=str(text_model), batch_size=2)
    model.load("cpu")
    return model


def request(prompt: str = "a red ball", **changes) -> GenerationRequest:
    shape = {"num_frames": 9, "height": 16, "width": 16, "fps": Fraction(8)}
    return GenerationRequest(
        **{"prompt": prompt, "seed": 1, **shape, "params": FrozenMapping(FAST), **changes}
    )


def video(model: DiffusersModel, one: GenerationRequest) -> Video:
    (result,) = model.generate([one])
    assert isinstance(result, Video), result
    return result


def test_the_adapter_honours_the_contract(text_model: Path) -> None:
    requests = [request(), request("a blue square", seed=7, negative_prompt="red")]
    report = check_model(lambda: DiffusersModel(pipeline=str(text_model), batch_size=2), requests)
    assert report.info.id == "tiny-text-to-video"
    assert report.notes == ()


def test_the_clip_is_the_pipelines_own_output(text_model: Path, loaded: DiffusersModel) -> None:
    """The pipeline called by hand, with the same generator, gives the same pixels: no export lies in between."""
    from diffusers import CogVideoXPipeline

    pipeline = CogVideoXPipeline.from_pretrained(text_model)
    frames = pipeline(
        prompt="a red ball",
        negative_prompt="blue",
        num_frames=9,
        height=16,
        width=16,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(5),
        output_type="np",
        **FAST,
    ).frames[0]
    ours = video(
        loaded, request(seed=5, negative_prompt="blue", params=FrozenMapping({**FAST, "guidance_scale": 4.0}))
    )
    np.testing.assert_array_equal(
        ours.frames.permute(0, 2, 3, 1).numpy(), (frames * 255).round().astype(np.uint8)
    )


def test_settings_reach_the_pipeline(loaded: DiffusersModel) -> None:
    base = request()
    plain = video(loaded, base)
    for changed in (
        replace(base, params=FrozenMapping({**FAST, "guidance_scale": 12.0})),
        replace(base, params=FrozenMapping({**FAST, "num_inference_steps": 3})),
        replace(base, negative_prompt="square"),
        replace(base, prompt="a blue square"),
        replace(base, seed=2),
    ):
        assert video(loaded, changed) != plain
    wide = video(loaded, replace(base, width=32, fps=Fraction(24000, 1001)))
    assert (wide.num_frames, wide.width, wide.fps) == (9, 32, Fraction(24000, 1001))


def test_another_shape_than_asked_is_a_failure(loaded: DiffusersModel) -> None:
    """This pipeline makes 4n or 4n + 1 frames; what it gives for 5 is not what was asked."""
    (failure,) = loaded.generate([request(num_frames=5)])
    assert isinstance(failure, GenerationFailure)
    assert "CogVideoXPipeline made 8 frames of 16x16 where 5 of 16x16 were asked" in failure.reason


def test_what_the_pipeline_does_not_take_is_recorded(loaded: DiffusersModel) -> None:
    loaded._ignored.clear()
    params = FrozenMapping({**FAST, "camera": "pan_left", "motion_bucket_id": 127, "output_type": "pil"})
    weighted = video(loaded, request("a (red:1.4) ball", params=params))
    assert loaded.ignored_params == {"camera", "motion_bucket_id", "output_type", "prompt_weights"}
    assert weighted == video(loaded, request("a red ball"))


def test_requests_of_different_shapes_share_a_call_of_generate(loaded: DiffusersModel) -> None:
    mixed = [request(seed=1), request(seed=2, width=32), request(seed=3), request(seed=4, height=1)]
    results = loaded.generate(mixed)
    assert [getattr(result, "width", None) for result in results] == [16, 32, 16, None]
    failure = results[3]
    assert isinstance(failure, GenerationFailure)
    assert failure.permanent
    assert "CogVideoXPipeline raised" in failure.reason


def test_frames_of_nan_fail_with_the_reason(text_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DiffusersModel(pipeline=str(text_model))
    model.load("cpu")
    decoder = model._pipe.vae.decoder
    with torch.no_grad():
        next(iter(decoder.parameters())).fill_(float("nan"))
    (failure,) = model.generate([request()])
    assert isinstance(failure, GenerationFailure)
    assert "pixel values are NaN or infinite" in failure.reason


def test_out_of_memory_is_transient_and_a_batch_is_split(
    loaded: DiffusersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, calls = loaded._pipe, []

    def small_memory(**arguments):
        calls.append(arguments["prompt"])
        if isinstance(arguments["prompt"], list) or arguments["width"] > 16:
            raise torch.OutOfMemoryError("no room")
        return pipeline(**arguments)

    monkeypatch.setattr(loaded, "_pipe", small_memory)
    first, second = loaded.generate([request(), request("a blue square")])
    assert isinstance(first, Video)
    assert isinstance(second, Video)
    assert calls == [["a red ball", "a blue square"], "a red ball", "a blue square"]
    (failure,) = loaded.generate([request(width=32)])
    assert isinstance(failure, GenerationFailure)
    assert not failure.permanent
    assert "out of memory: no room; use a smaller shape" in failure.reason


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near_float32(dtype: str, text_model: Path, loaded: DiffusersModel) -> None:
    model = DiffusersModel(pipeline=str(text_model), dtype=dtype)
    model.load("cpu")
    assert model._pipe.transformer.dtype == getattr(torch, dtype)
    difference = (video(model, request()).frames.float() - video(loaded, request()).frames.float()).abs()
    assert 0 < difference.mean() < (10 if dtype == "bfloat16" else 2)


def test_offloaded_weights_make_the_same_clip(text_model: Path, loaded: DiffusersModel) -> None:
    pytest.importorskip("accelerate")
    model = DiffusersModel(pipeline=str(text_model), offload="model")
    model.load("cpu")
    parts = [model._pipe.text_encoder, model._pipe.transformer, model._pipe.vae]
    assert all(hasattr(part, "_hf_hook") for part in parts)
    assert video(model, request()) == video(loaded, request())
    with pytest.raises(EvalkitError, match="offload=sequential brings weights to a GPU"):
        DiffusersModel(pipeline=str(text_model), offload="sequential").load("cpu")


def test_an_image_starts_the_clip_and_text_is_recorded_as_ignored(image_model: Path, tmp_path: Path) -> None:
    model = DiffusersModel(pipeline=str(image_model))
    model.load("cpu")
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
    base = request(num_frames=2, height=32, width=32)

    def asked(name: str) -> GenerationRequest:
        return replace(
            base, params=FrozenMapping({"num_inference_steps": 1, "image": str(tmp_path / f"{name}.png")})
        )

    assert video(model, asked("red")) != video(model, asked("blue"))
    assert model.ignored_params == {"prompt"}
    (without,) = model.generate([base])
    (missing,) = model.generate([asked("green")])
    assert isinstance(without, GenerationFailure)
    assert "StableVideoDiffusionPipeline needs image; put it into the prompt's `params`" in without.reason
    assert isinstance(missing, GenerationFailure)
    assert "green.png" in missing.reason


def test_identity_is_every_file_the_class_and_how_it_computes(text_model: Path, tmp_path: Path) -> None:
    import diffusers

    copy = tmp_path / "tiny-text-to-video"
    shutil.copytree(text_model, copy)
    first, same = DiffusersModel(pipeline=str(text_model)).info, DiffusersModel(pipeline=str(copy)).info
    assert first == same
    assert {"transformer/diffusion_pytorch_model.safetensors", "model_index.json"} <= set(first.weights)
    assert first.config == {
        "class": "CogVideoXPipeline",
        "diffusers": diffusers.__version__,
        "dtype": "auto",
        "vae_tiling": False,
    }
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "beta_start": 0.001}))
    assert DiffusersModel(pipeline=str(copy)).info.weights != first.weights
    given = load_model(
        f"diffusers@v3:pipeline={text_model},num_frames=9,height=16,width=16,fps=8,guidance_scale=5"
    ).info
    assert given.revision == "v3"
    assert given.defaults == {"num_frames": 9, "height": 16, "width": 16, "fps": "8", "guidance_scale": 5}


def test_a_loaded_model_travels_without_its_weights(loaded: DiffusersModel) -> None:
    assert len(pickle.dumps(loaded)) < 20_000
    assert pickle.loads(pickle.dumps(loaded)).info == loaded.info


def test_a_class_of_ones_own_can_be_named(text_model: Path) -> None:
    model = DiffusersModel(pipeline=str(text_model), pipeline_class="diffusers:CogVideoXPipeline")
    assert model.info.config["class"] == "CogVideoXPipeline"
    with pytest.raises(EvalkitError, match=r"pipeline_class 'no_such:Thing' cannot be imported"):
        _ = DiffusersModel(pipeline=str(text_model), pipeline_class="no_such:Thing").info
    with pytest.raises(EvalkitError, match="has no pipeline 'DreamPipeline'"):
        _ = DiffusersModel(pipeline=str(text_model), pipeline_class="DreamPipeline").info


def test_checkpoints_that_cannot_be_used_say_why(text_model: Path, tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match=r"holds no model_index\.json"):
        _ = DiffusersModel(pipeline=str(tmp_path)).info
    pickled = tmp_path / "pickled"
    shutil.copytree(text_model, pickled)
    weights = pickled / "transformer" / "diffusion_pytorch_model.safetensors"
    torch.save({"x": torch.zeros(1)}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(MissingWeights, match="only safetensors are read"):
        DiffusersModel(pipeline=str(pickled)).load("cpu")
    with pytest.raises(MissingWeights, match="is no folder and cannot be had from the hub"):
        _ = DiffusersModel(pipeline="nobody/no-such-pipeline").info


def test_offloading_needs_accelerate(text_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "accelerate" else found(name)
    )
    with pytest.raises(EvalkitError, match="pip install accelerate"):
        DiffusersModel(pipeline=str(text_model), offload="model").load("cpu")
