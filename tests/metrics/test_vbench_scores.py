"""VBench's totals of two published leaderboard rows, and its result files."""

from __future__ import annotations

import json

import pytest

from evalkit.errors import EvalkitError
from evalkit.metrics.vbench_scores import QUALITY, SEMANTIC, export_results, read_results, totals

# Raw dimension scores in percent as the leaderboard shows them.
DIMENSIONS = (
    *("subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness"),
    *("dynamic_degree", "aesthetic_quality", "imaging_quality", "object_class", "multiple_objects"),
    *("human_action", "color", "spatial_relationship", "scene", "appearance_style", "temporal_style"),
    "overall_consistency",
)
COGVIDEOX_5B = (
    *(
        96.23,
        96.52,
        98.66,
        96.92,
        70.97,
        61.98,
        62.90,
        85.23,
        62.11,
        99.40,
        82.81,
        66.35,
        53.20,
        24.91,
        25.38,
    ),
    27.59,
)
GEN_3 = (
    *(
        97.10,
        96.62,
        98.61,
        99.23,
        60.14,
        63.34,
        66.82,
        87.81,
        53.64,
        96.40,
        80.90,
        65.09,
        54.57,
        24.31,
        24.71,
    ),
    26.69,
)


@pytest.mark.parametrize(
    ("row", "published"),
    [
        pytest.param(COGVIDEOX_5B, (82.75, 77.04, 81.61), id="CogVideoX-5B"),
        pytest.param(GEN_3, (84.11, 75.17, 82.32), id="Gen-3"),
    ],
)
def test_published_totals(row, published):
    scores = {name: value / 100 for name, value in zip(DIMENSIONS, row, strict=True)}
    assert [100 * value for value in totals(scores)] == pytest.approx(published, abs=0.011)


def test_extremes():
    from evalkit.metrics.vbench_scores import NORMALISATION

    best = {name: NORMALISATION.get(name, (0, 1))[1] for name in (*QUALITY, *SEMANTIC)}
    worst = {name: NORMALISATION.get(name, (0, 1))[0] for name in (*QUALITY, *SEMANTIC)}
    assert totals(best) == pytest.approx((1, 1, 1))
    assert totals(worst) == pytest.approx((0, 0, 0))


def test_a_missing_dimension_is_never_made_up():
    with pytest.raises(EvalkitError, match="missing: scene"):
        totals({name: 0.5 for name in (*QUALITY, *SEMANTIC) if name != "scene"})


def test_result_files_come_back(tmp_path):
    path = tmp_path / "mine_eval_results.json"
    path.write_text(json.dumps(export_results("temporal_flickering", [("a-0.mp4", 0.5), ("a-1.mp4", 1.0)])))
    assert read_results(path) == {"temporal_flickering": (0.75, {"a-0.mp4": 0.5, "a-1.mp4": 1.0})}


@pytest.mark.parametrize("text", ["no json", "[]", '{"scene": 3}', '{"scene": [0.5, [{"video_path": "x"}]]}'])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(EvalkitError, match=r"x\.json"):
        read_results(path)


def test_nothing_to_export_is_refused():
    with pytest.raises(EvalkitError, match="no scored clip"):
        export_results("scene", [])
