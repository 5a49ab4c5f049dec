"""Regression cases: files read strictly, a suite that pins seeds, verdicts on tables."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from evalkit.errors import SuiteError
from evalkit.failures.exporting import import_reports
from evalkit.failures.store import FailureStore
from evalkit.gate.policy import load_policy
from evalkit.suites import load_suite
from evalkit.suites.case_files import case_document, load_cases
from evalkit.suites.cases import Case, Detector, check_case, prompt_id, to_suite, window_value

ROOT = Path(__file__).parents[2]
TEXT = """\
schema: evalkit.case/v1
id: pulsing-wall
state: fixed
category: temporal.flicker
prompt:
  text: a red ball
  params: {num_frames: 8, fps: "24000/1001"}
seeds: [7, 8, 9]
must_pass: 2
detector:
  metric: temporal.flicker
  window: [2, 4]
  max: 0.1
"""


def write(folder: Path, text: str = TEXT, name: str = "case.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def case(state: str = "fixed", must_pass: int = 2, **detector: object) -> Case:
    return Case(
        id="c", state=state, category="temporal.flicker", text="t", seeds=(1, 2, 3), must_pass=must_pass,
        detector=Detector(**{"metric": "m", "max": 0.1, **detector}), source="c.yaml",
    )  # fmt: skip


def scores(values: list[float | str]) -> pd.DataFrame:
    """One row a seed; a text is a status."""
    return pd.DataFrame(
        [
            {
                "prompt_id": f"c.seed-{seed}", "sample_index": 0, "seed": seed, "metric_id": "m", "clip_id": f"clip{seed}",
                "value": value if isinstance(value, float) else None,
                "status": "ok" if isinstance(value, float) else value,
                "reason": None if isinstance(value, float) else "because",
            }
            for seed, value in enumerate(values, start=1)
        ]
    )  # fmt: skip


EMPTY = pd.DataFrame(columns=["clip_id", "metric_id", "prompt_id", "sample_index", "values", "kind"])


@pytest.mark.parametrize(
    ("values", "fixed", "opened"),
    [
        ([0.0, 0.0, 0.0], "passed", "unexpected_pass"),
        ([0.0, 0.1, 0.9], "passed", "unexpected_pass"),  # the limit itself is good
        ([0.0, 0.2, 0.9], "failed", "expected_failure"),
        ([0.0, 0.0, "skipped"], "passed", "unexpected_pass"),
        ([0.0, 0.9, "skipped"], "missing", "missing"),
        ([0.9, 0.9, "skipped"], "failed", "expected_failure"),
        ([0.0, "generation_failed", "generation_failed"], "failed", "expected_failure"),
        (["not_applicable"] * 3, "missing", "missing"),
    ],
)
def test_k_of_n_seeds_decide(values: list[float | str], fixed: str, opened: str):
    assert check_case(scores(values), EMPTY, case("fixed")).outcome == fixed
    assert check_case(scores(values), EMPTY, case("open")).outcome == opened


def test_messages_name_case_seeds_and_cure():
    assert (
        "case c fails again: 0 of 3 seeds keep m at most 0.1 (2 needed)"
        in check_case(scores([0.9, 0.9, 0.9]), EMPTY, case()).message
    )
    assert "set `state: fixed` in c.yaml" in check_case(scores([0.0, 0.0, 0.0]), EMPTY, case("open")).message
    none = check_case(scores([]).reindex(columns=scores([0.0]).columns), EMPTY, case())
    assert none.outcome == "missing"
    assert "run it with --suite regressions/" in none.message
    other = check_case(scores([0.0, 0.0, 0.0]).assign(metric_id="other"), EMPTY, case())
    assert "was not scored with m" in other.message


def test_a_clip_of_another_seed_is_no_evidence():
    table = scores([0.0, 0.0, 0.0]).assign(seed=5)
    assert check_case(table, EMPTY, case()).outcome == "missing"


def test_higher_is_better_turns_the_limit_round():
    limits = {"min": 0.5, "max": None}
    assert check_case(scores([0.5, 0.6, 0.1]), EMPTY, case(**limits)).outcome == "passed"
    assert check_case(scores([0.4, 0.6, 0.1]), EMPTY, case(**limits)).outcome == "failed"


def test_a_window_is_judged_by_its_part_of_the_series():
    series = pd.DataFrame(
        [
            {
                "clip_id": f"clip{seed}", "metric_id": "m", "prompt_id": f"c.seed-{seed}", "sample_index": 0,
                "values": [0.0, 0.0, 0.9, 0.9, 0.0], "kind": "frame",
            }
            for seed in (1, 2, 3)
        ]
    )  # fmt: skip
    table = scores([0.05, 0.05, 0.05])  # the clips' own values are good
    assert check_case(table, series, case(window=(2, 3))).outcome == "failed"
    assert check_case(table, series, case(window=(0, 1))).outcome == "passed"
    beyond = check_case(table, series, case(window=(7, 9)))
    assert (beyond.outcome, "ends before frame 7" in beyond.message) == ("missing", True)
    assert "no course over time" in check_case(table, EMPTY, case(window=(2, 3))).message


@pytest.mark.parametrize(
    ("kind", "window", "statistic", "expected"),
    [
        ("frame", (1, 2), "mean", 1.5),
        ("frame", (1, 2), "max", 2.0),
        ("frame", (0, 0), "mean", 0.0),
        ("transition", (1, 3), "mean", 1.5),  # between frames 1-2 and 2-3
        ("transition", (2, 2), "mean", 1.5),  # into frame 2 and out of it
        ("transition", (0, 0), "mean", 0.0),
        ("frame", (3, 9), "min", 3.0),
        ("frame", (4, 9), "mean", None),
    ],
)
def test_windows_count_frames_from_zero_with_both_ends(
    kind: str, window: tuple[int, int], statistic: str, expected: float
):
    assert window_value([0.0, 1.0, 2.0, 3.0], kind, window, statistic) == expected


def test_a_file_comes_back_as_it_was_written(tmp_path: Path):
    (loaded,) = load_cases(write(tmp_path))
    assert (loaded.id, loaded.state, loaded.seeds, loaded.must_pass) == (
        "pulsing-wall",
        "fixed",
        (7, 8, 9),
        2,
    )
    assert loaded.detector == Detector("temporal.flicker", (2, 4), "mean", None, 0.1)
    again = tmp_path / "again"
    again.mkdir()
    write(again, yaml.safe_dump(case_document(loaded)))
    (second,) = load_cases(again)
    assert case_document(second) == case_document(loaded)


def test_the_suite_pins_the_seeds(tmp_path: Path):
    from evalkit.models.protocol import ModelInfo
    from evalkit.runs.plan import plan_generation

    write(tmp_path)
    suite = load_suite(tmp_path)
    assert [prompt.id for prompt in suite] == [f"pulsing-wall.seed-{seed}" for seed in (7, 8, 9)]
    plan = plan_generation(
        suite,
        ModelInfo(id="m", revision="1", defaults={"height": 8, "width": 8, "num_frames": 3, "fps": "1"}),
        samples=2,
        seed=5,
    )
    first = [clip for clip in plan.clips if clip.sample_index == 0]
    assert [clip.seed for clip in first] == [7, 8, 9]
    assert all(
        clip.request and "seed" not in clip.request.params and clip.request.num_frames == 8 for clip in first
    )
    others = {clip.seed for clip in plan.clips if clip.sample_index == 1}
    assert len(others) == 3
    assert not others & {7, 8, 9}
    assert prompt_id(load_cases(tmp_path)[0], 7) == suite.prompts[0].id
    assert to_suite(load_cases(tmp_path)).digest != to_suite(load_cases(tmp_path)[:0]).digest


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        (("state: fixed", "state: fixd"), "3:8", "did you mean 'fixed'"),
        (("must_pass: 2", "must_pass: 4"), "9:12", "give 1 to 3"),
        (("must_pass: 2", "must_pas: 2"), "9:1", "did you mean 'must_pass'"),
        (("seeds: [7, 8, 9]", "seeds: [7, 7]"), "8:8", "appears twice"),
        (("seeds: [7, 8, 9]", "seeds: []"), "8:8", "at least one"),
        (("seeds: [7, 8, 9]", "seeds: [-1]"), "8:8", "0 or more"),
        (("window: [2, 4]", "window: [4, 2]"), "12:11", "both included"),
        (("window: [2, 4]", "window: 3"), "12:11", "both included"),
        (("  max: 0.1", "  max: 0.1\n  min: 0.0"), "11:3", "needs one limit"),
        (("  max: 0.1", ""), "11:3", "needs one limit"),
        (("  max: 0.1", "  max: soon"), "11:3", "is a number"),
        (("schema: evalkit.case/v1", "schema: evalkit.case/v2"), "1:9", "evalkit.case/v1"),
        (("id: pulsing-wall", "id: ../../etc"), "2:5", "lower-case"),
        (("id: pulsing-wall", "id: a\nid: b"), "3:1", "appears twice"),
        (("  text: a red ball", "  txt: a red ball"), "6:3", "did you mean 'text'"),
        (("category: temporal.flicker\n", ""), "1:1", "no `category`"),
    ],
)
def test_errors_have_file_line_and_column(tmp_path: Path, change: tuple[str, str], place: str, said: str):
    assert change[0] in TEXT
    path = write(tmp_path, TEXT.replace(*change))
    with pytest.raises(SuiteError) as caught:
        load_cases(tmp_path)
    assert f"{path}:{place}:" in str(caught.value)
    assert said in str(caught.value)


def test_ids_are_unique_over_files_and_an_empty_folder_is_an_error(tmp_path: Path):
    with pytest.raises(SuiteError, match="holds no regression case"):
        load_cases(tmp_path)
    write(tmp_path, name="a.yaml")
    write(tmp_path, name="b.yaml")
    with pytest.raises(SuiteError, match=r"b\.yaml.*'pulsing-wall' is taken by .*a\.yaml"):
        load_cases(tmp_path)
    assert len(load_cases(tmp_path / "a*.yaml")) == 1


def test_the_committed_cases_load():
    folder = Path(__file__).parents[2] / "regressions"
    if list(folder.glob("*.yaml")):
        assert json.dumps([case_document(entry) for entry in load_cases(folder)])


def test_the_committed_cases_and_the_reports_behind_them_agree(lite: FailureStore):
    cases = load_cases(ROOT / "regressions")
    assert {"fixed"} <= {case.state for case in cases} <= {"open", "fixed"}
    (check,) = load_policy(ROOT / "benchmarks" / "gates" / "regressions.yaml").checks
    assert (Path(check.where.path).parent / check.suite).resolve() == ROOT / "regressions"
    text = (ROOT / "regressions" / "reports.jsonl").read_text(encoding="utf-8")
    imported = import_reports(lite, text, actor="anna")
    assert sorted(imported.added) == sorted(case.report for case in cases)
    gate = (ROOT / ".ci" / "gate").read_text(encoding="utf-8")
    for case in cases:
        report = lite.get(case.report)
        assert (report.case, report.category, report.prompt) == (case.id, case.category, case.text)
        assert report.status == {"open": "confirmed", "fixed": "verified"}[case.state]
        assert report.failed_of_tried[0] >= 2
        assert not report.restricted
        assert f"--metrics {case.detector.metric}" in gate  # else the gate would find no evidence
