"""Training: resuming changes nothing, configurations are checked, every stage takes a step on a tiny setting."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reference_model.layout import Layout
from reference_model.text import Tokenizer
from reference_model.tracks import FEATURES, KNOTS, TrackNetwork
from reference_model.train.base import BaseStage
from reference_model.train.encoders import EncodersStage
from reference_model.train.frames import FramesStage
from reference_model.train.loop import Config, Draw, Stage, learning_rate, train
from reference_model.train.pixels import Batch
from reference_model.train.refiner import RefinerStage
from reference_model.train.text import TextStage, caption_from, grounding_losses
from reference_model.train.tracks import TracksStage, apart_errors
from reference_model.world import Caption

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
    if name == "text-directed":
        config = config_of(name, start=weights["text"], order=2, directed=2)
        return config, quiet(TextStage(config, CPU))
    if name in ("tracks", "tracks-together"):
        config = config_of(name, text=weights["text"], pool=20, width=16, depth=1)
        return config, quiet(TracksStage(config, CPU))
    if name == "base":
        config = config_of("base", text=weights["text"], width=8)
        return config, quiet(BaseStage(config, CPU))
    if name in ("refiner", "refiner-heard"):
        config = config_of(name, **weights, width=8, base_width=8)
        return config, quiet(RefinerStage(config, CPU))
    if name == "frames":
        config = config_of("frames")
        return config, quiet(FramesStage(config, CPU))
    config = config_of("encoders", ordered=1, order=2, loud=1)
    return config, quiet(EncodersStage(config, CPU))


@pytest.mark.parametrize(
    "name",
    [
        "text", "text-directed", "tracks", "tracks-together", "base", "refiner", "refiner-heard", "frames", "encoders",
    ],
)  # fmt: skip
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


@torch.no_grad()
def test_going_on_with_the_text_stage_holds_its_summaries_near_the_old_ones(weights: dict[str, str]) -> None:
    def loss(keep: float, push: float) -> float:
        stage = TextStage(config_of("text-order", start=weights["text"], order=0, keep=keep), CPU)
        module = stage.build()
        # The summaries are normed, so only some of their numbers may be pushed.
        module.encoder.query[:, :8] += push
        return float(stage.loss(module, Draw.of(0, 0)))

    assert loss(9.0, 0.0) == pytest.approx(loss(0.0, 0.0))
    assert loss(9.0, 0.1) > loss(0.0, 0.1) + 1e-3


def test_captions_from_side_to_side_say_so_of_every_kind_that_moves() -> None:
    draw = Draw.of(0, 0)
    captions = [caption_from(draw.scenes) for _ in range(40)]
    assert all("from left to right" in one.text or "from right to left" in one.text for one in captions)
    stated = [one.expect["motion"] for one in captions if "motion" in one.expect]
    assert set(stated) == {"left", "right"}
    assert {one.expect["count"] for one in captions} > {1}
    assert any("events" in one.expect for one in captions)


def test_order_is_asked_of_the_objects_that_such_captions_have() -> None:
    caption = Caption("first left then up", {"events": ("left", "up"), "count": 1})
    values = {"object": 6, "colour": 8, "size": 3, "first": 9, "then": 9}
    logits = {name: torch.zeros(1, 3, count + 2) for name, count in values.items()}
    logits |= {name: torch.zeros(1, 20) for name in ("count", "background", "style", "camera", "relation")}
    logits["then"][0, 2] = torch.arange(11) * -9.0
    two, three = (grounding_losses(logits, [caption], slots)["then"] for slots in (2, None))
    assert float(two) == pytest.approx(math.log(11))
    assert float(three) == pytest.approx((2 * math.log(11) + 9.0) / 3, rel=1e-3)


def test_tracks_that_are_wrong_alike_are_not_apart() -> None:
    network = TrackNetwork(width=16, depth=1)
    network.codec.spread.fill_(2.0)
    clean = torch.zeros(3, 4, FEATURES)
    clean[:, :3, 0] = torch.tensor([[1.0, 1.0, -1.0], [1.0, 1.0, 1.0], [1.0, -1.0, -1.0]])
    alike = torch.ones_like(clean)
    assert apart_errors(network, clean, alike).tolist() == [0.0, 0.0, 0.0]
    one_off = torch.zeros_like(clean)
    one_off[:, 0, 2] = 0.5  # the first object's mean place; any place's spread is the unit
    one_off[:, 0, 2 + 2 * KNOTS :] = 7.0  # radius and angle are no place
    # One pair of one; two pairs of three; no pair.
    torch.testing.assert_close(apart_errors(network, clean, one_off), torch.tensor([0.25, 2 * 0.25 / 3, 0.0]))


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


class Listening(torch.nn.Module):
    """A refiner that keeps what it is given and answers with the draft."""

    def denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, draft: torch.Tensor, *rest: torch.Tensor):
        self.noisy, self.sigma = noisy, sigma
        return draft


@pytest.mark.parametrize(("from_draft", "tone"), [(0.0, 5.0), (None, 0.0)])
def test_the_noisy_clip_is_the_draft_where_sampling_starts_from_it(
    weights: dict[str, str], monkeypatch: pytest.MonkeyPatch, from_draft: float | None, tone: float
) -> None:
    chosen = {} if from_draft is None else {"from_draft": from_draft}
    config = config_of("refiner", **weights, base_width=8, sigma=[-9.0, 0.0], **chosen)
    stage = RefinerStage(config, CPU)
    # A draft of a tone that no truth has.
    monkeypatch.setattr(stage, "draft", lambda batch, *rest: torch.full_like(batch.frames(*rest[1:3]), 5.0))
    module = Listening()
    stage.loss(module, Draw.of(0, 0))
    assert float(module.sigma.max()) == pytest.approx(0.01)
    near = (module.noisy - tone).abs().mean()
    assert float(near) == pytest.approx(0.008, rel=0.1) if tone else 0.1 < float(near) < 1.05


def test_the_share_and_weight_of_restyled_drafts_are_obeyed(
    weights: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def loss(**settings: object) -> float:
        stage = RefinerStage(config_of("refiner", **weights, base_width=8, **settings), CPU)
        make = stage.draft
        monkeypatch.setattr(
            stage, "draft", lambda b, restyle, *rest: asked.extend(restyle) or make(b, restyle, *rest)
        )
        return float(stage.loss(Listening(), Draw.of(0, 1)))

    assert loss(restyle=[0.0, 1.0, 0.0]) == 0.0
    assert loss(restyle=[0.0, 1.0, 1.0]) > 0.0
    assert asked == [True] * 4
    loss(restyle=[9.0, 1.0, 1.0])
    assert asked[4:] == [False] * 2


def test_a_retold_scene_is_drafted_as_it_was_and_described_in_its_new_style(
    weights: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"retold": True, "restyle": [0.0, 1.0, 1.0], "towards": ["outlined", "night"]}
    stage = RefinerStage(config_of("refiner", **weights, base_width=8, **chosen), CPU)
    drafted: list[Batch] = []
    told: list[Batch] = []
    make, retell = stage.draft, stage.retold

    def draft(batch: Batch, restyle: list[bool], *rest: object) -> torch.Tensor:
        drafted.append(batch)
        assert restyle == [False, False]
        return make(batch, restyle, *rest)

    def retold(batch: Batch, restyle: list[bool], draw: Draw) -> Batch:
        assert restyle == [True, True]
        told.append(retell(batch, [True, False], draw))
        return told[0]

    monkeypatch.setattr(stage, "draft", draft)
    monkeypatch.setattr(stage, "retold", retold)
    stage.loss(Listening(), Draw.of(0, 0))
    before, after = drafted[0], told[0]
    assert after.scenes[0].style in {"outlined", "night"} - {before.scenes[0].style}
    assert after.scenes[0] == replace(before.scenes[0], style=after.scenes[0].style)
    assert after.scenes[1] == before.scenes[1]
    assert not torch.equal(after.text[0], before.text[0])
    assert torch.equal(after.text[1], before.text[1])


def test_small_errors_in_another_style_count_by_their_squares(
    weights: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(error: float, restyled: float) -> float:
        chosen = {"retold": True, "heard": True, "restyle": [0.0, restyled, 1.0], "sigma": [0.0, 0.0]}
        stage = RefinerStage(config_of("refiner", **weights, base_width=8, **chosen), CPU)
        truth: list[torch.Tensor] = []

        def retold(batch: Batch, *rest: object) -> Batch:
            truth.append(batch.frames(*size))
            return batch

        def draft(batch: Batch, restyle: list[bool], height: int, width: int, draw: Draw) -> torch.Tensor:
            nonlocal size
            size = (height, width)
            return batch.frames(height, width)

        size = (64, 64)
        monkeypatch.setattr(stage, "retold", retold)
        monkeypatch.setattr(stage, "draft", draft)
        module = Listening()
        module.denoise = lambda *given: truth[0] + error
        return float(stage.loss(module, Draw.of(0, 0)))

    assert loss(0.1, 1.0) / loss(0.05, 1.0) == pytest.approx(4, rel=0.1)
    assert loss(0.1, 0.0) / loss(0.05, 0.0) < 2.6


def test_a_refiner_is_told_the_layout_of_most_batches_and_none_of_some(weights: dict[str, str]) -> None:
    stage = RefinerStage(config_of("refiner", **weights, base_width=8, planned=True), CPU)
    painter = stage.painter
    plans: list[torch.Tensor | None] = []

    class Told(Listening):
        def plan(self, layout: Layout, text: torch.Tensor) -> torch.Tensor:
            return painter.plan(layout, text)

        def denoise(self, *given: torch.Tensor | None) -> torch.Tensor:
            plans.append(given[5])
            return given[2]

    for step in range(25):
        stage.loss(Told(), Draw.of(0, step))
    told = [plan for plan in plans if plan is not None]
    assert 0 < len(plans) - len(told) < 10
    assert {tuple(plan.shape[-2:]) for plan in told} <= {(32, 32), (24, 40), (40, 24)}


def test_the_refiner_is_held_to_the_change_between_frames(
    weights: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(tones: list[float], steady: float) -> float:
        config = config_of("refiner", **weights, base_width=8, sigma=[0.0, 0.0], steady=steady)
        stage = RefinerStage(config, CPU)
        module = Listening()
        truth: list[torch.Tensor] = []

        def draft(batch: Batch, restyle: list[bool], height: int, width: int, draw: Draw) -> torch.Tensor:
            truth.append(batch.frames(height, width))
            return truth[0]

        monkeypatch.setattr(stage, "draft", draft)
        module.denoise = lambda *given: truth[0] + torch.tensor(tones).view(1, 2, 1, 1, 1)
        return float(stage.loss(module, Draw.of(0, 0)))

    lasting, alternating = [0.2, 0.2], [0.2, -0.2]
    assert loss(lasting, 1.0) == pytest.approx(loss(lasting, 0.0), rel=1e-4)
    assert loss(alternating, 0.0) == pytest.approx(loss(lasting, 0.0), rel=1e-4)
    # Both frames are wrong by .2 and their difference by .4, in a loss that grows linearly with large errors.
    assert 2.5 < loss(alternating, 1.0) / loss(lasting, 0.0) < 3.5
