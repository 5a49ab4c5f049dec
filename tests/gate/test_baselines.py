"""Baselines: complete, clean, locked, small, and they never move."""

import datetime
import json

import pytest

from evalkit.errors import EvalkitError, EvidenceError
from evalkit.gate.baselines import find_baseline, list_baselines, open_baseline, promote
from evalkit.gate.policy import load_policy
from evalkit.gate.run import run_gate
from evalkit.runs.manifest import write_manifest
from evalkit.runs.store import open_run

from .conftest import TODAY, of

CHECKS = ["id: q, metric: quality, margin: 0.5", "id: f, metric: flicker, margin: 0.5"]


def changed(run, **fields):
    write_manifest(run.folder, run.manifest.model_copy(update=fields))
    return open_run(run.folder)


@pytest.fixture
def promoted(make, policy_file, tmp_path):
    policy = load_policy(policy_file(CHECKS))
    return promote(make("a"), "release-1", "first release", tmp_path / "baselines", policy, TODAY)


def test_a_baseline_is_the_tables_with_a_lock(promoted, make):
    run, lock = open_baseline(promoted)
    source = make("again")
    assert (lock.name, lock.reason, lock.promoted) == ("release-1", "first release", TODAY)
    assert lock.margins == {"q": 0.5, "f": 0.5}
    assert lock.suite_digest == run.manifest.suite.digest
    assert run.scores.equals(source.scores)
    assert run.generations["path"].isna().all()
    assert {path.name for path in promoted.iterdir()} == {
        "lock.json", "manifest.json", "suite.json", "scores.parquet", "generations.parquet", "set_scores.parquet",
    }  # fmt: skip
    assert set(lock.files) == {path.name for path in promoted.iterdir()} - {"lock.json"}


def test_gating_against_a_promoted_baseline(promoted, make, policy_file, tmp_path):
    policy = policy_file(CHECKS, baseline="release-1")
    good = run_gate(make("b", seed=1).folder, policy, baselines=tmp_path / "baselines", today=TODAY)
    assert good.conclusion.exit_code == 0
    bad = run_gate(
        make("c", seed=1, flicker=1.0).folder, policy, baselines=tmp_path / "baselines", today=TODAY
    )
    assert bad.conclusion.exit_code == 1
    assert [check.id for check in bad.results if check.verdict == "REGRESS"] == ["f"]


def test_margins_are_fixed_when_promoted(promoted, make, policy_file, tmp_path):
    candidate = make("b", seed=1).folder

    def judge(check):
        path = policy_file([check], baseline="release-1")
        return run_gate(candidate, path, baselines=tmp_path / "baselines", today=TODAY)

    wider = judge("id: q, metric: quality, margin: 0.6")
    assert wider.conclusion.exit_code == 2
    assert "policy.yaml:4:5: error: the margin of q is 0.6, but 0.5 was locked" in wider.conclusion.text
    assert judge("id: q, metric: quality, margin: 0.45").conclusion.exit_code in (0, 3)
    taken = judge("id: q, metric: quality")
    assert of(taken, "q").margin == 0.5
    nowhere = judge("id: new, metric: quality")
    assert nowhere.conclusion.exit_code == 4
    assert "neither the policy nor the baseline's lock file has a margin" in of(nowhere, "new").sentence


def test_partial_and_dirty_runs_cannot_be_promoted(make, tmp_path):
    folder = tmp_path / "baselines"
    with pytest.raises(EvidenceError, match=r"status is partial \(2 clips failed, 0 are missing\)"):
        promote(make("p", failed=[(0, 0), (1, 1)]), "x", "why", folder)
    with pytest.raises(EvidenceError, match="uncommitted changes"):
        promote(changed(make("d"), environment={"commit": "abc", "dirty": True}), "x", "why", folder)
    for status in ("running", "generated"):
        with pytest.raises(EvidenceError, match=f"status is {status}"):
            promote(changed(make(status), status=status), "x", "why", folder)
    assert list_baselines(folder) == []
    assert promote(
        changed(make("c"), environment={"commit": "abc", "dirty": False}), "x", "why", folder
    ).is_dir()


def test_a_baseline_never_moves_and_needs_a_name_and_a_reason(promoted, make, tmp_path):
    run, folder = make("b"), tmp_path / "baselines"
    with pytest.raises(EvalkitError, match="exists already; a baseline never moves"):
        promote(run, "release-1", "again", folder)
    with pytest.raises(EvalkitError, match="needs a reason"):
        promote(run, "release-2", "  ", folder)
    for name in ("", "..", "a/b", "a b"):
        with pytest.raises(EvalkitError, match="must be letters"):
            promote(run, name, "why", folder)


@pytest.mark.parametrize("file", ["scores.parquet", "manifest.json"])
def test_an_edited_baseline_is_noticed(promoted, file):
    path = promoted / file
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(EvidenceError, match=f"was changed after its promotion: {file}") as caught:
        open_baseline(promoted)
    assert caught.value.exit_code == 4


def test_files_that_were_added_or_lost_are_noticed(promoted):
    (promoted / "extra.txt").write_text("x")
    (promoted / "suite.json").unlink()
    with pytest.raises(EvidenceError, match=r"extra\.txt, suite\.json"):
        open_baseline(promoted)


def test_a_damaged_lock_and_an_unknown_name_say_what_to_do(promoted, tmp_path):
    with pytest.raises(EvalkitError, match="did you mean 'release-1'"):
        find_baseline("relase-1", tmp_path / "baselines")
    lock = json.loads((promoted / "lock.json").read_text())
    (promoted / "lock.json").write_text(json.dumps(lock | {"extra": 1}))
    with pytest.raises(EvalkitError, match=r"lock\.json:1:1: missing or damaged"):
        open_baseline(promoted)


def test_nothing_is_left_behind_when_a_promotion_fails(make, tmp_path, monkeypatch):
    import evalkit.gate.baselines as baselines

    def broken(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(baselines, "write_json", broken)
    with pytest.raises(OSError, match="disk full"):
        promote(make("a"), "x", "why", tmp_path / "baselines")
    assert list((tmp_path / "baselines").iterdir()) == []


def test_a_day_is_recorded(make, tmp_path):
    folder = promote(make("a"), "x", "why", tmp_path / "baselines", today=datetime.date(2026, 1, 2))
    assert open_baseline(folder)[1].promoted == datetime.date(2026, 1, 2)
