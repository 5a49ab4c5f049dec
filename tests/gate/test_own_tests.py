"""The gate's tests of itself: selftest must see red and must notice a blind gate; noise, explain, looks."""

import datetime

import numpy as np
import pytest
import yaml

from evalkit.errors import EvalkitError
from evalkit.gate import checks as checks_module
from evalkit.gate.explain import explain_policy
from evalkit.gate.looks import look_prompts, write_look
from evalkit.gate.noise import measure_noise, policy_lines
from evalkit.gate.policy import load_policy
from evalkit.gate.run import gather, run_gate
from evalkit.gate.selftest import selftest, selftest_conclusion
from evalkit.stats.power import margin_for_gate, pass_probability
from evalkit.suites import load_suite

from .conftest import PROMPTS, SAMPLES, TODAY, of, suite, values

ALL = [
    "id: q, metric: quality, margin: 0.5",
    "id: f, metric: flicker, margin: 0.5",
    "id: close, metric: quality, margin: 0.9, slice: {tag: close-up}",
    "id: floor, metric: quality, kind: absolute, min: 5",
    "id: ceiling, metric: flicker, kind: absolute, max: 20",
    "id: rate, metric: flicker, kind: rate, worse_than: 16, max_rate: 0.3",
    "id: tail, metric: quality, kind: quantile, q: 0.05, min: 3",
    "id: cost, metric: cost.seconds_per_clip, kind: budget, max_relative_increase: 0.15",
    "id: cap, metric: cost.seconds_per_clip, kind: budget, max: 99",
]


@pytest.fixture
def gathered(make, policy_file, tmp_path):
    def build(checks, **options):
        policy = load_policy(policy_file(checks))
        a, b = make("a", **options), make("b", seed=1, **options)
        return policy, gather(b.folder, policy, baseline=str(a.folder), baselines=tmp_path)

    return build


def test_every_kind_of_check_is_seen_to_fire(gathered):
    policy, evidence = gathered(ALL)
    before = evidence.candidate.scores.copy()
    found = selftest(policy, evidence, TODAY)
    assert {entry.check: entry.seen for entry in found} == dict.fromkeys(
        ["completeness", "q", "f", "close", "floor", "ceiling", "rate", "tail", "cost", "cap"], "red"
    )
    assert {entry.check: entry.exit_code for entry in found}["completeness"] == 4
    assert selftest_conclusion(found) == (0, "the gate saw all 10 injected defects")
    assert evidence.candidate.scores.equals(before)


def test_a_blind_gate_is_found_out(gathered, monkeypatch):
    from evalkit.stats.margins import Verdict

    policy, evidence = gathered(ALL[:2])
    # The known bug: a guard whose condition is inverted.
    monkeypatch.setattr(checks_module, "judge_non_inferiority", lambda *_: Verdict.PASS)
    found = selftest(policy, evidence, TODAY)
    assert [entry.seen for entry in found] == ["red", "blind", "blind"]
    assert selftest_conclusion(found) == (1, "the gate did not see the defect injected for: q, f")


def test_a_gate_with_too_few_prompts_is_unsure_and_an_unscored_metric_untested(gathered):
    policy, evidence = gathered(["id: q, metric: quality, margin: 0.01"], prompts=6)
    code, text = selftest_conclusion(selftest(policy, evidence, TODAY))
    assert (code, text) == (3, "the gate is not sure of the defect injected for: q")
    policy, evidence = gathered(["id: q, metric: nope, margin: 0.01"])
    assert selftest_conclusion(selftest(policy, evidence, TODAY))[0] == 4


def test_noise_between_two_runs_of_one_model_gives_margins(make):
    a, b = make("a"), make("b", seed=1)
    found = {row.metric_id: row for row in measure_noise(a, b)}
    row = found["quality"]
    expected = (values(1) - values(0)).mean(axis=1)
    assert row.deviation == pytest.approx(expected.std(ddof=1))
    assert row.standard_error == pytest.approx(expected.std(ddof=1) / 8)
    assert pass_probability(row.margin_alone / row.deviation, PROMPTS) == pytest.approx(0.95, abs=1e-6)
    assert row.margin_together == pytest.approx(margin_for_gate(PROMPTS, len(found)) * row.deviation)
    assert row.margin_together > row.margin_alone
    proposed = yaml.safe_load(policy_lines(list(found.values())))["checks"]
    margins = {check["metric"]: check["margin"] for check in proposed}
    assert row.margin_together <= margins["quality"] <= 1.12 * row.margin_together


def test_noise_needs_one_model_and_two_sets_of_clips(make):
    a = make("a")
    with pytest.raises(EvalkitError, match="different models"):
        measure_noise(a, make("b", model={"revision": "2"}))
    with pytest.raises(EvalkitError, match="same clips; make the second run with another --seed"):
        measure_noise(a, make("c"))


def test_explain_says_what_is_asked_and_what_can_be_seen(gathered):
    policy, evidence = gathered(ALL)
    text = "\n".join(explain_policy(policy))
    for words in (
        "by less than 0.5",
        "tag 'close-up'",
        "at least 5",
        "5% quantile",
        "at most 15%",
        "below 99",
    ):
        assert words in text
    seen = explain_policy(policy, evidence)[0]
    assert "With 64 prompts an unchanged model passes" in seen
    assert "fails" in seen


def test_planned_looks_run_part_of_the_suite_at_their_own_level(make, policy_file, tmp_path):
    policy_path = policy_file(["id: q, metric: quality, margin: 0.5"], looks="[0.5, 1]")
    a = make("a")
    policy = load_policy(policy_path)
    first = look_prompts(policy, 1, str(a.folder), tmp_path)
    assert len(first) == 32
    write_look(first, tmp_path / "look.yaml")
    assert load_suite(str(tmp_path / "look.yaml")).digest == first.digest

    from evalkit.testing.runs import make_run

    position = {prompt.id: i for i, prompt in enumerate(suite().prompts)}
    rows = [position[prompt.id] for prompt in first.prompts]

    def candidate(name, shift):
        tables = {"quality": values(1, shift)[rows], "flicker": values(501)[rows]}
        return make_run(tmp_path / name, values=tables, suite=first, directions={"flicker": "lower"})

    early = run_gate(candidate("early", -3.0).folder, policy_path, baseline=str(a.folder), today=TODAY)
    assert early.conclusion.exit_code == 1
    assert early.alpha < 0.02
    assert "Look 1 of 2, 32 prompts" in of(early, "completeness").sentence
    unsure = run_gate(candidate("unsure", -0.3).folder, policy_path, baseline=str(a.folder), today=TODAY)
    assert unsure.conclusion.exit_code == 3
    assert "this is look 1 of 2, go on with the next" in of(unsure, "q").sentence
    whole = run_gate(make("whole", seed=1).folder, policy_path, baseline=str(a.folder), today=TODAY)
    assert "Look 2 of 2" in of(whole, "completeness").sentence
    assert 0.04 < whole.alpha < 0.05
    part = make_run(
        tmp_path / "part",
        values={"quality": values(1)[:32]},
        suite=suite(32),
    )
    unplanned = run_gate(part.folder, policy_path, baseline=str(a.folder), today=TODAY)
    assert unplanned.conclusion.exit_code == 4
    with pytest.raises(EvalkitError, match="no look 3"):
        look_prompts(policy, 3, str(a.folder), tmp_path)


def test_selftest_covers_regression_cases(make, policy_file, tmp_path):
    from evalkit.suites.case_files import load_cases
    from evalkit.suites.cases import to_suite
    from evalkit.testing.runs import make_run

    (tmp_path / "regressions").mkdir()
    case = {
        "schema": "evalkit.case/v1", "id": "wall", "state": "fixed", "category": "temporal.flicker",
        "prompt": {"text": "a wall"}, "seeds": [0], "must_pass": 1,
        "detector": {"metric": "flicker", "max": 0.5, "window": [0, 3]},
    }  # fmt: skip
    (tmp_path / "regressions" / "wall.yaml").write_text(yaml.safe_dump(case))
    cases = to_suite(load_cases(tmp_path / "regressions"))
    run = make_run(
        tmp_path / "cases", values={"flicker": np.array([[0.1]])}, suite=cases, directions={"flicker": "lower"},
        series=lambda *_: [0.1, 0.1, 0.1],
    )  # fmt: skip
    policy = load_policy(policy_file(["id: cases, kind: cases, suite: regressions/*.yaml"]))
    evidence = gather(make("b").folder, policy, baseline="", baselines=tmp_path, cases=run.folder)
    found = selftest(policy, evidence, datetime.date(2026, 1, 1))
    assert [entry.seen for entry in found] == ["red", "red"]
    assert SAMPLES == 3
