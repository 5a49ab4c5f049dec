"""Training: resuming changes nothing, configurations are checked, every stage takes a step on a tiny setting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reference_model.text import Tokenizer
from reference_model.train.base import BaseStage
from reference_model.train.encoders import EncodersStage
from reference_model.train.loop import Config, Draw, Stage, learning_rate, train
from reference_model.train.refiner import RefinerStage
from reference_model.train.text import TextStage
from reference_model.train.tracks import TracksStage

CONFIGS = Path(__file__).parents[2] / "reference_model" / "configs"
CPU = torch.device("cpu")


def config_of(stage: str, **settings: object) -> Config:
    config = Config.load(CONFIGS / f"{stage}.yaml")
    return replace(
        config,
        batch=2,
        steps=4,
        warmup=1,
        log_every=1,
        probe_every=99,
        save_every=2,
        settings=config.settings | settings,
    )


def quiet(stage: Stage) -> Stage:
    stage.probe = lambda module, folder, step: {}  # type: ignore[method-assign]
    return stage


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Weights files of barely trained text and base stages, for the stages that build on them."""
    folder = tmp_path_factory.mktemp("weights")
    text = train(
        config_of("text"), quiet(TextStage(config_of("text"), CPU)), folder / "text", say=lambda line: None
    )
    base_config = config_of("base", text=str(text), width=8)
    base = train(base_config, quiet(BaseStage(base_config, CPU)), folder / "base", say=lambda line: None)
    return {"text": str(text), "base": str(base)}


def stage_of(name: str, weights: dict[str, str]) -> tuple[Config, Stage]:
    if name == "text":
        config = config_of("text")
        return config, quiet(TextStage(config, CPU))
    if name == "tracks":
        config = config_of("tracks", text=weights["text"], pool=20, width=16, depth=1)
        return config, quiet(TracksStage(config, CPU))
    if name == "base":
        config = config_of("base", text=weights["text"], width=8)
        return config, quiet(BaseStage(config, CPU))
    if name == "refiner":
        config = config_of("refiner", **weights, width=8, base_width=8)
        return config, quiet(RefinerStage(config, CPU))
    config = config_of("encoders")
    return config, quiet(EncodersStage(config, CPU))


@pytest.mark.parametrize("name", ["text", "tracks", "base", "refiner", "encoders"])
def test_a_resumed_run_equals_an_undisturbed_one(name: str, weights: dict[str, str], tmp_path: Path) -> None:
    config, stage = stage_of(name, weights)
    whole = load_file(train(config, stage, tmp_path / "whole", say=lambda line: None))
    train(config, stage_of(name, weights)[1], tmp_path / "parts", until=2, say=lambda line: None)
    parts = load_file(train(config, stage_of(name, weights)[1], tmp_path / "parts", say=lambda line: None))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    start = stage_of(name, weights)[1].build().state_dict()
    assert any(not torch.equal(whole[key], start[key]) for key in whole)


def test_the_learning_rate_warms_up_holds_and_falls_to_zero() -> None:
    config = Config("text", steps=100, batch=1, learning_rate=1.0, warmup=10, decay=0.5)
    rates = [learning_rate(config, step) for step in (0, 9, 49, 75, 99)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.02])


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "stage: text\nsteps: 1\nbatch: 1\nlearning_rat: 0.1\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match="unknown key 'learning_rat'"):
        Config.load(tmp_path / "bad.yaml")


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    config = config_of("text")
    stage = TextStage(config, CPU)
    stage.loss = lambda module, draw: module.encoder.query.sum() * float("nan")  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match="not finite at step 0"):
        train(config, stage, tmp_path, say=lambda line: None)


def test_the_randomness_of_a_step_depends_on_seed_step_and_purpose() -> None:
    draws = [Draw.of(*key) for key in ((1, 2), (1, 2), (1, 3), (2, 2), (1, 2, "probe"))]
    values = [(draw.scenes.random(), float(torch.rand(1, generator=draw.noise))) for draw in draws]
    assert values[0] == values[1]
    assert len(set(values)) == 4


def test_the_vocabulary_that_weights_were_trained_with_is_the_shipped_one() -> None:
    words = Tokenizer.of_world().words
    assert len(words) == len(set(words))
    assert words[:2] == ("<pad>", "<unk>")
