"""Figures of the card: calibration, confusions and retrieval against hand-made answers."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reference_model.evaluate.__main__ import flicker_of, reduced
from reference_model.evaluate.ceiling import ceiling
from reference_model.evaluate.controls import enlarged, frames_of, guidance, restyle
from reference_model.evaluate.encoders import calibration_error, factor_figures, retrieval
from reference_model.evaluate.figures import Share, flicker, frechet, sharpness
from reference_model.evaluate.painter import Schedule, drawn_and_painted, errors
from reference_model.evaluate.prompts import balanced
from reference_model.pipeline.release import load_pipeline
from reference_model.probe import observe
from reference_model.world import render_scenes
from reference_model.world.parse import expectations, scene_of


def test_calibration_error_is_the_gap_of_confidence_and_accuracy() -> None:
    three_of_four = torch.tensor([True, True, True, False])
    assert calibration_error(torch.full((4,), 0.75), three_of_four) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error(torch.full((4,), 0.95), ~torch.ones(4, dtype=torch.bool)) == pytest.approx(0.95)
    # Two bins of two: (.95 against .5) and (.15 against 1), each with half of the weight.
    mixed = calibration_error(torch.tensor([0.95, 0.95, 0.15, 0.15]), torch.tensor([True, False, True, True]))
    assert mixed == pytest.approx(0.5 * 0.45 + 0.5 * 0.85)


def test_factor_figures_skip_clips_without_the_factor_and_name_mistakes() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    row = factor_figures(probabilities, torch.tensor([0, 1, -1, 1]), ("red", "blue"))
    assert (row.accuracy.hits, row.accuracy.count) == (1, 3)
    assert row.confidence == pytest.approx((0.9 + 0.8 + 0.6) / 3)
    assert row.confusions == (("blue", "red", 2),)


def test_retrieval_looks_among_a_block_only() -> None:
    scores = torch.zeros(4, 4)
    scores[0, 0] = scores[1, 0] = scores[2, 2] = scores[3, 3] = 1.0
    scores[3, 0] = 9.0  # another block: not asked
    share = retrieval(scores, among=2)
    assert (share.hits, share.count) == (3, 4)


def test_wilson_interval_of_a_share() -> None:
    assert Share(8, 10).interval == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_frechet_distance_of_shifted_gaussians_is_the_squared_shift() -> None:
    sample = np.random.default_rng(0).normal(size=(50, 3))
    assert frechet(sample, sample) == pytest.approx(0.0, abs=1e-6)
    assert frechet(sample, sample + np.array([3.0, 0.0, 4.0])) == pytest.approx(25.0)


def test_sharpness_and_flicker_of_known_clips() -> None:
    still = np.zeros((4, 8, 8, 3), np.uint8)
    assert sharpness(still) == flicker(still) == 0
    ramp = still + (np.arange(4, dtype=np.uint8) * 10)[:, None, None, None]
    assert flicker(ramp) == 0
    blinking = still + (np.arange(4, dtype=np.uint8) % 2 * 10)[:, None, None, None]
    assert flicker(blinking) == 20
    board = still + ((np.indices((8, 8)).sum(0) % 2) * 10).astype(np.uint8)[None, :, :, None]
    assert sharpness(board) == pytest.approx(40.0)


def test_flicker_is_compared_at_one_size() -> None:
    board = (
        ((torch.arange(8)[:, None] + torch.arange(8)) % 2 * 100).to(torch.uint8).expand(4, 3, 8, 8).clone()
    )
    board[1] += 40
    assert flicker_of([board]) == pytest.approx((80 + 40) / 2)
    (small,) = reduced([board])
    assert small.shape == (4, 3, 4, 4)
    assert small[0].unique().tolist() == [50]
    assert flicker_of([small]) == flicker_of([board])


def test_the_ceiling_is_measured_on_truth_of_the_asked_kinds() -> None:
    shares = ceiling(3, 5, ("events",))
    assert (shares["events"].hits, shares["events"].count) == (3, 3)
    assert "relation" not in shares


def test_the_painters_error_is_taken_from_truth_and_leaves_the_pipeline_as_it_was() -> None:
    pipeline = load_pipeline("v2")
    before = pipeline.base_scheduler, pipeline.config.guided_above
    asked = balanced(4, 31)
    found = errors(pipeline, asked, Schedule(1, 2.0, 1.0, 15.0))
    swapped = [
        one._replace(prompt=other.prompt) for one, other in zip(asked, asked[1:] + asked[:1], strict=True)
    ]
    wrong = errors(pipeline, swapped, Schedule(1, 2.0, 1.0, 15.0))
    assert found.shape == (4,)
    assert float(found.median()) < 0.1 * float(wrong.median())
    assert (pipeline.base_scheduler, pipeline.config.guided_above) == before


def test_what_is_drawn_and_painted_is_seen_beside_truth() -> None:
    asked = balanced(2, 31, kinds=("group",))
    seen = drawn_and_painted(load_pipeline("v2"), asked)
    assert list(seen) == [
        "truth", "truth at the base's size, enlarged", "sampled tracks, drawn", "sampled tracks, painted",
    ]  # fmt: skip
    truth = [observe(frames_of(clip)) for clip in render_scenes([one.scene for one in asked], 16, 64, 64)]
    assert [one.jitter for one in seen["truth"]] == pytest.approx([one.jitter for one in truth], abs=0.02)
    assert [one.count for one in seen["truth"]] == [one.count for one in truth]
    jitters = [tuple(one.jitter for one in group) for group in seen.values()]
    assert len(set(jitters)) == 4


class Restyling:
    """Makes truth of what the base is told, then of what the refiner is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None]] = []

    def __call__(
        self, prompts: list[str], refiner_prompt: list[str] | None = None, **settings: object
    ) -> SimpleNamespace:
        assert settings["refiner_strength"] == 1.0
        final = refiner_prompt or prompts
        self.told += zip(prompts, refiner_prompt or [None] * len(prompts), strict=True)
        scenes = [scene_of(expectations(text), random.Random(0)) for text in final]
        clips = list(render_scenes(scenes, 16, 64, 64))
        return SimpleNamespace(frames=clips, base_frames=clips)


def test_a_style_is_asked_of_the_scene_that_the_base_was_told() -> None:
    model = Restyling()
    rows = restyle(model, 2)  # type: ignore[arg-type]
    assert [row["style"] for row in rows] == ["sepia", "night", "outlined"]
    assert all(str(row["before"]).startswith("0.00") for row in rows)
    assert all(str(row["after"]).startswith("1.00") for row in rows)
    assert all(str(row["object_kept"]).startswith("1.00") for row in rows)
    styled = [pair for pair in model.told if pair[1] is not None]
    assert len(styled) == 6
    for before, after in styled:
        one, other = (scene_of(expectations(text), random.Random(0)) for text in (before, after))
        assert one.style == "flat"
        assert other.style != "flat"
        assert one.background == other.background
        assert [item.shape for item in one.objects] == [item.shape for item in other.objects]


def test_gains_of_guidance_are_over_the_same_clips_without_it() -> None:
    pipeline = load_pipeline("v1")
    rows = guidance(pipeline, lambda prompt, clip: float(clip.float().mean()), 2)
    assert [row["guidance_scale"] for row in rows] == [1.0, 1.5, 2.0, 3.0]
    assert rows[0]["alignment_gain"] == "0.000 [0.000, 0.000]"
    plain, strong = float(str(rows[0]["alignment"])), float(str(rows[3]["alignment"]))
    assert float(str(rows[3]["alignment_gain"]).split()[0]) == pytest.approx(strong - plain, abs=2e-3)


def test_enlarging_keeps_flat_frames_and_doubles_their_sides() -> None:
    small = [torch.full((2, 3, 8, 12), 77, dtype=torch.uint8)]
    (big,) = enlarged(small)
    assert big.shape == (2, 3, 16, 24)
    assert big.unique().tolist() == [77]
