"""VBench's totals of the published leaderboard, and its result files."""

from __future__ import annotations

import json

import pytest

from evalkit.errors import EvalkitError
from evalkit.metrics.vbench_scores import QUALITY, SEMANTIC, export_results, read_results, totals

# In the order of the leaderboard's columns.
DIMENSIONS = (
    *("subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness"),
    *("dynamic_degree", "aesthetic_quality", "imaging_quality", "object_class", "multiple_objects"),
    *("human_action", "color", "spatial_relationship", "scene", "appearance_style", "temporal_style"),
    "overall_consistency",
)
# The leaderboard of 2024-10-07 as Chen et al. print it (Goku, arXiv 2502.04896, table in the repository's README), all
# thirteen rows: total, quality, semantic, then the sixteen raw dimensions, in percent. CogVideoX-5B's quality is printed
# as 82.75; other places round its 82.756 to 82.76.
LEADERBOARD = """
AnimateDiff-V2 80.27 82.90 69.75 95.30 97.68 98.75 97.76 40.83 67.16 70.10 90.90 36.88 92.60 87.47 34.60 50.19 22.42 26.03 27.04
VideoCrafter-2.0 80.44 82.20 73.42 96.85 98.22 98.41 97.73 42.50 63.13 67.22 92.55 40.66 95.00 92.92 35.86 55.29 25.13 25.84 28.23
OpenSora-V1.2 79.23 80.71 73.30 94.45 97.90 99.47 98.20 47.22 56.18 60.94 83.37 58.41 85.80 87.49 67.51 42.47 23.89 24.55 27.07
Show-1 78.93 80.42 72.98 95.53 98.02 99.12 98.24 44.44 57.35 58.66 93.07 45.47 95.60 86.35 53.50 47.03 23.06 25.28 27.46
Gen-3 82.32 84.11 75.17 97.10 96.62 98.61 99.23 60.14 63.34 66.82 87.81 53.64 96.40 80.90 65.09 54.57 24.31 24.71 26.69
Pika-1.0 80.69 82.92 71.77 96.94 97.36 99.74 99.50 47.50 62.04 61.87 88.72 43.08 86.20 90.57 61.03 49.83 22.26 24.22 25.94
CogVideoX-5B 81.61 82.75 77.04 96.23 96.52 98.66 96.92 70.97 61.98 62.90 85.23 62.11 99.40 82.81 66.35 53.20 24.91 25.38 27.59
Kling 81.85 83.39 75.68 98.33 97.60 99.30 99.40 46.94 61.21 65.62 87.24 68.05 93.40 89.90 73.03 50.86 19.62 24.17 26.42
Mira 71.87 78.78 44.21 96.23 96.92 98.29 97.54 60.33 42.51 60.16 52.06 12.52 63.80 42.24 27.83 16.34 21.89 18.77 18.72
CausVid 84.27 85.65 78.75 97.53 97.19 96.24 98.05 92.69 64.15 68.88 92.99 72.15 99.80 80.17 64.65 56.58 24.27 25.33 27.51
Luma 83.61 83.47 84.17 97.33 97.43 98.64 99.35 44.26 65.51 66.55 94.95 82.63 96.40 92.33 83.67 58.98 24.66 26.29 28.13
HunyuanVideo 83.24 85.09 75.82 97.37 97.76 99.44 98.99 70.83 60.36 67.56 86.10 68.55 94.40 91.60 68.68 53.88 19.80 23.89 26.44
Goku-T2V 84.85 85.60 81.87 95.55 96.67 97.71 98.50 76.11 67.22 71.29 94.40 79.48 97.60 83.81 85.72 57.08 23.08 25.64 27.35
"""


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=line.split()[0]) for line in LEADERBOARD.split("\n") if line]
)
def test_published_totals(line):
    total, quality, semantic, *raw = map(float, line.split()[1:])
    scores = {name: value / 100 for name, value in zip(DIMENSIONS, raw, strict=True)}
    # Every dimension is printed to two digits, which moves a total by up to .011.
    assert [100 * value for value in totals(scores)] == pytest.approx((quality, semantic, total), abs=0.011)


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
