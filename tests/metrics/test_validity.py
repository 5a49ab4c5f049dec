"""The validity study's own arithmetic, and a miniature of the study itself."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.validity import clips as chosen
from benchmarks.validity.__main__ import SLICE, benign_metrics, measure_slice, merge
from benchmarks.validity.alignment import order_prompts, side_prompts, swap_order, swap_sides
from benchmarks.validity.check import outdated, worse
from benchmarks.validity.clips import shots, study_clips, unseen_clips, world_clips, world_prompts
from benchmarks.validity.defects import ALSO, OWN_METRIC, Response, benign_noise, responses
from benchmarks.validity.figures import draw_agreement, draw_prompts, draw_responses, draw_sets, draw_shares
from benchmarks.validity.page import render
from benchmarks.validity.people import Agreement, _correlate
from benchmarks.validity.prompts import PROMPT_METRICS, other_prompt, prompt_responses
from benchmarks.validity.scoring import Scorer, auc, marked, reduced, temporal_iou
from benchmarks.validity.sets import OWN_SET_METRIC, scrambled, set_responses, spoilt
from benchmarks.validity.shares import (
    CRFS,
    faded,
    generated_clips,
    marked_by_library,
    respond,
    share_responses,
    slowed,
)
from evalkit.errors import EvalkitError
from evalkit.metrics.registry import METRICS
from evalkit.suites import load_suite
from evalkit.testing.defects import DEFECTS, STRENGTHS
from tests.metrics.clips import make_clip, moving_texture

SUMMARY = Path(__file__).parents[2] / "benchmarks" / "validity" / "results" / "summary.json"


def test_every_defect_names_a_metric_that_exists():
    assert set(OWN_METRIC) <= set(DEFECTS)
    assert {*OWN_METRIC.values(), *(metric for _, metric in ALSO), *OWN_SET_METRIC} <= set(METRICS.table)


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


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9))
def test_the_marked_stretch_is_the_best_two_level_step(series):
    """Against least squares, which knows no formula for the gain of a step."""
    values = np.array(series)
    place = marked(series, of_transitions=False)

    def left_over(first, end):
        inside = np.zeros(len(values), bool)
        inside[first:end] = True
        if inside.all() or values[inside].mean() <= values[~inside].mean():
            return np.inf
        return sum(((part - part.mean()) ** 2).sum() for part in (values[inside], values[~inside]))

    errors = [left_over(a, b) for a in range(len(values)) for b in range(a + 1, len(values) + 1)]
    if place is None:
        assert min(errors) > values.var() * len(values) - 1e-6
    else:
        assert left_over(place[0], place[1] + 1) == pytest.approx(min(errors), abs=1e-6)


def test_a_miniature_study_responds_and_renders(tmp_path):
    clips = {f"clip{seed}": make_clip(moving_texture(12, 48, (1.0, 0.5), seed=seed)) for seed in range(3)}
    scorer = Scorer()
    every = list(responses(clips, scorer, only=["frozen_frames", "flicker_gain"]))
    # Metrics of other things are shown beside a defect's own, and nothing is asked of them.
    found = [item for item in every if OWN_METRIC[item.defect] == item.metric]
    assert len(every) > len(found) == 2
    for item in found:
        assert isinstance(item, Response)
        assert item.monotone >= 0.9
        assert item.detected == item.paired == 1.0
        assert item.iou > 0.6
        assert item.intervals["iou"][0] <= item.iou <= item.intervals["iou"][1]
        assert len(item.medians) == 1 + len(STRENGTHS)
    twins = {name: (clip, make_clip(clip.frames.flip(3))) for name, clip in clips.items()}
    benign = benign_noise(clips, twins, scorer, ["temporal.freeze", "visual.sharpness"], ["reencode_crf18"])
    assert benign["temporal.freeze"] == {"noise": 0, "reencode_crf18": 0}
    # A mirrored picture is as sharp to the last bit, a compressed one is not.
    assert benign["visual.sharpness"]["noise"] < 1e-6 < benign["visual.sharpness"]["reencode_crf18"]
    people = [
        Agreement("temporal.coherence", "temporal_quality", 0.5, (0.2, 0.7), 0.4, 0.5, 40, 8, 0).to_dict()
    ]
    defects = [item.to_dict() for item in found]
    pictures = draw_responses(defects, tmp_path / "figures")
    assert {path.name for path in pictures} == {"temporal.freeze.svg", "temporal.flicker.svg"}
    assert draw_agreement(people, tmp_path / "figures")[0].stat().st_size > 1000
    about = {"real": {"names": list(clips), "short_side": 48, "frames": 12, "cpu_seconds": 1.0}}
    about["benign"] = {"names": {"real": list(clips)}, "cpu_seconds": 1.0}
    page = render({"about": about, "defects": defects, "benign": {"real": benign}, "people": people})
    assert "| flicker_gain | `temporal.flicker` |" in page
    assert "+0.500 | +0.20 to +0.70" in page
    json.dumps([*defects, *people])


def test_a_set_gets_worse_as_its_clips_become_one(tmp_path):
    prompts = world_prompts(5)
    reference, clips = (world_clips(prompts, seed=seed, side=48, frames=8) for seed in (0, 1))
    found = list(set_responses(reference, clips, Scorer(), ["set.kvd", "set.diversity"]))
    assert [(item.metric, item.defect, item.clips) for item in found] == [
        ("set.kvd", "collapse", 5),
        ("set.diversity", "collapse", 5),
    ]
    assert all(-1 <= item.interval[0] <= item.interval[1] <= 1 for item in found)
    kvd, diversity = found
    assert kvd.values[-1] > kvd.values[0]
    assert diversity.values[-1] < 1e-6 < diversity.values[0]
    assert diversity.monotone > 0
    rows = [item.to_dict() for item in found]
    assert {path.name for path in draw_sets(rows, tmp_path)} == {"set.kvd.svg", "set.diversity.svg"}
    page = render(
        {"about": {"sets": {"cpu_seconds": 1.0, "date": "2026-01-01", "commit": "abc"}}, "sets": rows}
    )
    assert "| sets | 2026-01-01 | abc |" in page
    assert "| `set.kvd` | collapse |" in page
    worst = [rows[0] | {"monotone": -1.0, "interval": [0.9, 1.0]}]
    assert worse({"sets": worst}, {"sets": [rows[0] | {"monotone": 1.0, "interval": [0.9, 1.0]}]})


def test_a_slowed_clip_is_its_own_opening_and_at_last_stands_still():
    clip = make_clip((10 * torch.arange(9)[:, None, None, None]).expand(9, 3, 4, 4).to(torch.uint8))
    for strength, step in ((0.0, 10), (0.2, 8), (0.6, 4), (1.0, 0)):
        assert slowed(clip, strength).frames[:, 0, 0, 0].tolist() == [step * t for t in range(9)]


def test_a_share_is_monotone_when_its_mean_falls():
    falling = np.linspace(1.0, 0.5, 6) * np.ones((4, 1))
    found = respond("provenance.watermark", "faded", falling, 0.5)
    assert found.values == pytest.approx(tuple(np.linspace(1.0, 0.5, 6)))
    assert (found.monotone, found.interval, found.clips) == (pytest.approx(1.0), pytest.approx((1.0, 1.0)), 4)
    assert respond("motion.dynamic_degree", "slowed", np.ones((4, 6)), None).monotone == 0.0
    assert respond("motion.dynamic_degree", "slowed", 1 - falling, None).monotone == pytest.approx(-1.0)


def test_motion_that_slows_down_ends_in_no_motion(tmp_path):
    # At 64 pixels what moves by more than 1.5 of them in a frame counts, by its fastest twentieth.
    shots = {"one": make_clip(moving_texture(12, 64, step=(2.6, 0.0)), 8)}
    (found,) = share_responses({}, shots, Scorer())
    assert (found.metric, found.defect, found.without) == ("motion.dynamic_degree", "slowed", None)
    assert found.values == (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    rows = [found.to_dict()]
    assert [path.name for path in draw_shares(rows, tmp_path)] == ["motion.dynamic_degree.svg"]
    page = render({"about": {"shares": {"cpu_seconds": 1.0}}, "shares": rows})
    assert "| `motion.dynamic_degree` | slowed | 1 | 1.00 | 1.00 | 1.00 | 0.00 | 0.00 | 0.00 |  |" in page
    record = [rows[0] | {"interval": [0.7, 1.0]}]
    assert worse({"shares": rows}, {"shares": record}) == []
    lost = worse({"shares": [rows[0] | {"monotone": 0.0}]}, {"shares": record})
    assert lost[0].startswith("shares slowed motion.dynamic_degree monotone: 0.000")


def test_marks_are_read_until_they_are_faded_or_compressed_away(tmp_path):
    pytest.importorskip("imwatermark", reason="needs evalkit[watermark]")
    clip = make_clip((moving_texture(1, 256, (1.0, 0.0)).float() * 0.5 + 60).to(torch.uint8))
    marked = marked_by_library(clip)
    assert faded(clip, marked, 0.0) == marked
    assert faded(clip, marked, 1.0) == clip
    found = list(share_responses({"one": clip}, {}, Scorer()))
    assert [(item.metric, item.defect) for item in found] == [
        ("provenance.watermark", "re-encoded"),
        ("provenance.watermark", "faded"),
        ("provenance.watermark_robustness", "faded"),
    ]
    recoded, fading, robust = found
    assert len(recoded.values) == len(CRFS) + 1
    assert recoded.values[0] == fading.values[0] > 0.95
    assert fading.values[-1] == fading.without < 0.8
    assert robust.values[-1] == robust.without
    assert recoded.values[-1] < recoded.values[0]
    names = {path.name for path in draw_shares([item.to_dict() for item in found], tmp_path)}
    assert names == {"provenance.watermark.svg", "provenance.watermark_robustness.svg"}
    assert generated_clips(tmp_path) == {}


def test_another_prompt_promises_something_else_of_the_same_kind():
    prompts = load_suite("core").prompts
    for metric, attribute in (("colour", "colour"), ("relation", "relation"), ("temporal_order", "events")):
        assert f"alignment.{metric}" in PROMPT_METRICS
        places = [place for place, prompt in enumerate(prompts) if attribute in prompt.expect]
        for place in places:
            other = other_prompt(prompts, place, (attribute,))
            assert other is not None
            assert other.expect[attribute] != prompts[place].expect[attribute]
    assert other_prompt(prompts, 0, ("no such attribute",)) is None


def test_metrics_of_the_prompt_fall_under_other_prompts(tmp_path):
    prompts = [prompt for prompt in load_suite("core").prompts if prompt.category == "colour"][:6]
    clips = world_clips(prompts, seed=0, side=48, frames=8)
    names = ["alignment.colour", "alignment.world", "alignment.retrieval:encoder=world"]
    found = {item.metric: item for item in prompt_responses(prompts, clips, names)}
    assert list(found) == names
    colour = found["alignment.colour"]
    assert (colour.values[0], colour.values[-1], colour.monotone, colour.auc) == (1.0, 0.0, 1.0, 1.0)
    # Every fifth of the clips is judged by another prompt: the mean falls by what these lose, and never rises.
    assert all(item.clips == 6 and item.values[0] > item.values[-1] for item in found.values())
    assert all(later <= before for before, later in pairwise(colour.values))
    rows = [item.to_dict() for item in found.values()]
    assert {path.name for path in draw_prompts(rows, tmp_path)} == {
        "alignment.colour.svg",
        "alignment.world.svg",
        "alignment.retrieval.svg",
    }
    page = render({"about": {"prompts": {"cpu_seconds": 1.0}}, "prompts": rows})
    assert "| `alignment.colour` | 6 | 1 |" in page
    worst = [rows[0] | {"auc": 0.5}]
    assert worse({"prompts": worst}, {"prompts": rows}) == [
        "prompts alignment.colour auc: 0.500, on record 1.000 (95% down to 1.000)"
    ]


def test_scrambled_tiles_are_the_same_tiles_in_every_frame():
    clip = make_clip(moving_texture(3, 32, (0.0, 0.0)))
    mixed = scrambled(clip, 3)
    assert mixed != clip
    assert mixed == scrambled(clip, 3) != scrambled(clip, 4)

    def tiles(video):
        parts = video.frames[0].reshape(3, 8, 4, 8, 4).permute(1, 3, 0, 2, 4).reshape(64, -1)
        return sorted(map(tuple, parts.tolist()))

    assert tiles(mixed) == tiles(clip)
    assert (mixed.frames == mixed.frames[:1]).all()
    assert spoilt(clip.frames, mixed.frames, 1.0).equal(mixed.frames)


def test_single_rows_are_renewed_only_among_the_same_clips():
    def measured(commit, names, only, value):
        row = {"source": "real", "defect": "cut", "metric": "temporal.cuts", "iou": value}
        stamp = {"date": "2026-01-01", "commit": commit}
        about = {"names": names, "short_side": 120, "frames": 20, "cpu_seconds": 1} | stamp
        return {
            "defects": [row | {"measured": stamp}],
            "about": {"real": about | ({"only": ["cut"]} if only else {})},
            "versions": {},
        }

    summary: dict = {}
    merge(summary, measured("old", ["a", "b"], False, 0.1))
    merge(summary, measured("new", ["a", "b"], True, 0.2))
    assert [row["iou"] for row in summary["defects"]] == [0.2]
    assert (summary["about"]["real"]["commit"], summary["defects"][0]["measured"]["commit"]) == ("old", "new")
    assert "only" not in summary["about"]["real"]
    with pytest.raises(EvalkitError, match="leave out --only"):
        merge(summary, measured("newer", ["a", "c"], True, 0.3))
    merge(summary, measured("newer", ["a", "c"], False, 0.3))
    assert summary["about"]["real"]["commit"] == "newer"
    benign = {"about": {"benign": {"names": {"real": ["a"]}, "date": "1", "commit": "old"}}}
    merge(summary, benign | {"benign": {"real": {"x": {"noise": 1.0}, "y": {"noise": 2.0}}}})
    again = {"names": {"real": ["a"]}, "date": "2", "commit": "new", "only": ["y"]}
    merge(summary, {"about": {"benign": again}, "benign": {"real": {"y": {"noise": 3.0}}}})
    assert summary["benign"]["real"] == {"x": {"noise": 1.0}, "y": {"noise": 3.0}}
    assert summary["about"]["benign"]["newer"] == {"y": {"date": "2", "commit": "new"}}
    rows = [{"metric": name, "defect": "collapse", "monotone": 1.0} for name in ("set.fvd", "set.kvd")]
    merge(summary, {"about": {"sets": {"date": "1", "commit": "old"}}, "sets": rows})
    again = {"date": "2", "commit": "new", "only": ["set.kvd"]}
    merge(summary, {"about": {"sets": again}, "sets": [rows[1] | {"monotone": 0.5}]})
    assert [(row["metric"], row["monotone"]) for row in summary["sets"]] == [
        ("set.fvd", 1.0),
        ("set.kvd", 0.5),
    ]
    assert summary["about"]["sets"] == {
        "date": "1",
        "commit": "old",
        "newer": {"set.kvd": {"date": "2", "commit": "new"}},
    }


def test_a_shot_is_a_stretch_that_can_be_followed():
    assert shots(np.array([1, 0.1, 1, 1, 0.9, 0.2, 1])) == [(0, 1), (2, 5), (6, 7)]
    assert shots(np.ones(4)) == [(0, 4)]
    assert shots(np.zeros(2)) == [(0, 0), (1, 1), (2, 2)]


def test_what_was_not_chosen_on_shares_no_frame_with_what_was(monkeypatch, tmp_path):
    frames = torch.arange(32, dtype=torch.uint8)[:, None, None, None].expand(32, 3, 4, 4)
    clip = make_clip(frames.contiguous())
    footage = [
        ("whole", clip, [(0, 31)]),
        ("two", clip, [(0, 11), (12, 31)]),
        ("short", clip, [(0, 18), (19, 31)]),
        ("cut", clip, [(0, 9), (10, 31)]),
    ]
    monkeypatch.setattr(chosen, "_footage", lambda data, side: footage)

    def numbers(video):
        return video.frames[:, 0, 0, 0].tolist()

    used = {name: numbers(video) for name, video in study_clips(tmp_path, 16, 120, 20).items()}
    assert {name: (span[0], len(span)) for name, span in used.items()} == {
        "whole": (0, 20),
        "two": (12, 20),
        "cut": (10, 20),
    }
    left = {name: numbers(video) for name, video in unseen_clips(tmp_path, 120, 20, 12).items()}
    assert left == {
        "whole@20": [*range(20, 32)],
        "two@0": [*range(12)],
        "short@0": [*range(12)],
        "short@19": [*range(19, 31)],
    }
    assert all(not set(span) & set(used.get(name.partition("@")[0], [])) for name, span in left.items())


def test_swapped_words_change_what_is_shown_and_nothing_else():
    assert swap_sides("a red ball moves left, right of a cube") == "a red ball moves right, left of a cube"
    assert all(swap_sides(swap_sides(prompt.text)) == prompt.text for prompt in side_prompts())
    texts = [prompt.text for prompt in order_prompts()]
    assert len(set(texts)) == len(texts) == 30
    assert all(swap_order(swap_order(text)) == text != swap_order(text) for text in texts)
    clips = world_clips(order_prompts()[:2], side=16, frames=4)
    assert [clip.frames.shape for clip in clips.values()] == [(4, 3, 16, 16)] * 2


def test_networks_are_kept_apart_when_harmless_changes_are_measured():
    light, heavy = benign_metrics()
    assert {"temporal.flicker", "visual.sharpness", *OWN_METRIC.values()} <= {*light, *heavy}
    assert not {*light} & {*heavy}
    assert "temporal.subject_consistency" in heavy


def test_a_worse_study_is_named_and_noise_is_not():
    summary = json.loads(SUMMARY.read_text(encoding="utf-8"))
    assert worse(summary, summary) == []
    spoilt = json.loads(SUMMARY.read_text(encoding="utf-8"))
    one = next(item for item in spoilt["defects"] if item["intervals"]["detected"][0] > 0.9)
    one["detected"] = 0.5
    spoilt["people"][0]["spearman"] = -0.9
    spoilt["alignment"][0]["value"] = 0.0
    lines = worse(spoilt, summary)
    assert len(lines) == 3
    assert one["defect"] in lines[0]
    assert summary["people"][0]["metric"] in lines[1]
    assert worse({"defects": [one | {"defect": "unheard"}]}, summary) == []


def test_the_committed_summary_is_of_the_metrics_as_they_are():
    summary = json.loads(SUMMARY.read_text(encoding="utf-8"))
    advice = "run `python -m benchmarks.validity --against benchmarks/validity/results/summary.json` (see its page)"
    assert not outdated(summary), advice
    assert {(item["source"], item["defect"]) for item in summary["defects"]} >= {
        (source, defect) for source in ("real", "world") for defect in OWN_METRIC
    }
    changed = summary | {"versions": summary["versions"] | {"temporal.flicker": "0"}}
    assert "temporal.flicker was measured as version 0" in outdated(changed)[0]


def test_a_slice_of_the_study_is_not_worse_than_the_committed_one():
    summary = json.loads(SUMMARY.read_text(encoding="utf-8"))
    found = measure_slice(Scorer())
    assert {item["defect"] for item in found} == set(SLICE)
    assert worse({"slice": found}, summary) == []
    for item, before in zip(found, summary["slice"], strict=True):
        # The same clips on another processor: only what arithmetic differs by. Else a metric changed unannounced.
        assert item["medians"] == pytest.approx(before["medians"], rel=0.02, abs=1e-3), item["metric"]
    assert len(world_prompts(3)) == 3


def test_reduced_clips_keep_their_shape_and_do_not_grow():
    clip = make_clip(moving_texture(6, 64))
    assert reduced(clip, 32, 4).frames.shape == (4, 3, 32, 32)
    assert reduced(clip, 128, 9).frames.shape == (6, 3, 64, 64)
