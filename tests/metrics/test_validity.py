"""The validity study's own arithmetic, and a miniature of the study itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.validity.defects import OWN_METRIC, Response, benign_noise, responses
from benchmarks.validity.figures import draw_agreement, draw_responses
from benchmarks.validity.page import render
from benchmarks.validity.people import Agreement, _correlate
from benchmarks.validity.scoring import Scorer, auc, reduced, temporal_iou
from evalkit.metrics.registry import METRICS
from evalkit.testing.defects import DEFECTS, STRENGTHS
from tests.metrics.clips import make_clip, moving_texture


def test_every_defect_names_a_metric_that_exists():
    assert set(OWN_METRIC) <= set(DEFECTS)
    assert set(OWN_METRIC.values()) <= set(METRICS.table)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8)
)
def test_auc_is_the_share_of_pairs(clean, degraded):
    wins = sum((b > a) + 0.5 * (a == b) for a in clean for b in degraded)
    assert auc(clean, degraded) == pytest.approx(wins / len(clean) / len(degraded))


@pytest.mark.parametrize(
    ("series", "window", "of_transitions", "expected"),
    [
        ([0, 0, 5, 6, 5, 0], (2, 4), False, 1.0),
        ([0, 0, 0, 5, 5, 0], (2, 4), False, 2 / 3),
        ([0, 0, 9, 0, 0], (2, 3), True, 1.0),
        ([9, 0, 0, 0, 0], (4, 5), True, 0.0),
        ([1, 1, 1, 1], (0, 3), False, 0.0),
    ],
)
def test_temporal_iou_counts_frames(series, window, of_transitions, expected):
    assert temporal_iou(series, window, of_transitions=of_transitions) == expected


def test_agreement_is_positive_when_the_metric_is_right_whatever_its_direction():
    rng = np.random.default_rng(0)
    quality = rng.normal(size=40)
    table = [
        {
            "model": "gt" if i % 5 == 0 else "m",
            "prompt": f"p{i % 8}",
            "temporal_quality": value,
            "temporal.coherence": value,
            "temporal.flicker": None if i == 3 else -value,
        }
        for i, value in enumerate(quality)
    ]
    best = _correlate(table, "temporal_quality", ["temporal.coherence", "temporal.flicker"], 0)
    assert [item.spearman for item in best] == pytest.approx([1, 1])
    assert {item.metric: item.not_scored for item in best} == {"temporal.coherence": 0, "temporal.flicker": 1}
    assert best[0].interval == pytest.approx((1, 1))
    assert best[0].prompts == 8


def test_a_miniature_study_responds_and_renders(tmp_path):
    clips = {f"clip{seed}": make_clip(moving_texture(12, 48, (1.0, 0.5), seed=seed)) for seed in range(3)}
    scorer = Scorer()
    found = list(responses(clips, scorer, only=["frozen_frames", "flicker_gain"]))
    for item in found:
        assert isinstance(item, Response)
        assert item.monotone >= 0.9
        assert item.detected == item.paired == 1.0
        assert item.iou > 0.6
        assert len(item.medians) == 1 + len(STRENGTHS)
    benign = benign_noise(clips, scorer, ["temporal.freeze", "visual.sharpness"])
    assert benign["reencode_crf18"]["temporal.freeze"] == 0
    people = [Agreement("temporal.coherence", "temporal_quality", 0.5, (0.2, 0.7), 0.4, 0.5, 40, 8, 0)]
    pictures = draw_responses(found, tmp_path / "figures")
    assert {path.name for path in pictures} == {"temporal.freeze.svg", "temporal.flicker.svg"}
    assert draw_agreement(people, tmp_path / "figures" / "people.svg").stat().st_size > 1000
    about = {"clips": 3, "short_side": 48, "frames": 12, "cpu_seconds": 1.0}
    page = render(found, benign, people, about)
    assert "| flicker_gain | `temporal.flicker` |" in page
    assert "+0.500 | +0.20 to +0.70" in page
    json.dumps([item.to_dict() for item in (*found, *people)])


def test_reduced_clips_keep_their_shape_and_do_not_grow():
    clip = make_clip(moving_texture(6, 64))
    assert reduced(clip, 32, 4).frames.shape == (4, 3, 32, 32)
    assert reduced(clip, 128, 9).frames.shape == (6, 3, 64, 64)
