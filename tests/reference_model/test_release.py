"""The shipped versions: sizes, digests, and that they do what a prompt says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from reference_model.encoders import embed_texts, load_encoder, prepare
from reference_model.evaluate.prompts import balanced
from reference_model.pipeline.release import load_pipeline
from reference_model.probe import observe
from reference_model.release import VERSIONS, WEIGHTS, check, manifest
from reference_model.world import render_scenes


@pytest.mark.parametrize("name", [*VERSIONS, "encoders"])
def test_files_are_those_of_the_manifest(name: str) -> None:
    check(WEIGHTS / name)


def test_all_weights_are_small_enough_to_ship() -> None:
    sizes = {path: path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 30e6
    assert max(sizes.values()) <= 8e6


def test_a_missing_and_an_added_file_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "v1"
    shutil.copytree(WEIGHTS / "v1", folder)
    (folder / "extra.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ValueError, match=r"extra\.txt: sha256 \w+ is not absent"):
        check(folder)
    (folder / "extra.txt").unlink()
    (folder / "model_index.json").unlink()
    with pytest.raises(ValueError, match=r"model_index\.json: sha256 missing"):
        check(folder)


def test_an_unknown_version_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no version 'v9'; released: v1, v2"):
        manifest("v9")
    with pytest.raises(ValueError, match=r"neither a released version \(v1, v2\) nor a folder"):
        load_pipeline("v9")


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_say_what_was_trained(version: str) -> None:
    content = json.loads((WEIGHTS / version / "manifest.json").read_text(encoding="utf-8"))
    assert content["version"] == version
    assert "steps" in content["trained"]
    assert content["licence"] == "Apache-2.0"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_shipped_version_shows_what_the_prompt_says(version: str) -> None:
    pipeline = load_pipeline(version)
    prompts = [
        "a large red ball moves left on a white background",
        "a large blue square falls on a gray background",
    ]
    made = pipeline(prompts, seed=[3, 4])
    seen = [observe(clip.permute(0, 2, 3, 1).contiguous().numpy()) for clip in made.frames]
    assert [one.motion for one in seen] == ["left", "down"]
    assert [one.objects[0].colour for one in seen] == ["red", "blue"]
    assert [one.background for one in seen] == ["white", "gray"]
    assert all(parameter.dtype == torch.float32 for parameter in pipeline.base.parameters())


@torch.no_grad()
def test_the_dual_encoder_ranks_prompts_and_tells_directions_apart() -> None:
    model, tokenizer = load_encoder()
    asked = balanced(32, 55)
    clips = render_scenes([one.scene for one in asked], 16, 64, 64)
    video = model.embed_features(model.features(torch.stack([prepare(clip) for clip in clips])))
    text = embed_texts(model, tokenizer, [one.prompt for one in asked])
    best = (video @ text.T).argmax(1)
    assert float((best == torch.arange(32)).float().mean()) > 0.4
    torch.testing.assert_close(video.norm(dim=1), torch.ones(32))
