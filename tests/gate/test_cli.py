"""The command line: exit codes, JSON on stdout, people's text on stderr."""

import json

import pytest

from evalkit.cli import main

CHECK = "id: q, metric: quality, margin: 0.5"


@pytest.fixture
def evalkit(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as done:
            main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return done.value.code or 0, output.out, output.err

    return run


def test_gate_exit_codes_and_outputs(evalkit, make, policy_file, tmp_path):
    a, good, bad = make("a").folder, make("good", seed=1).folder, make("bad", seed=1, quality=-1.0).folder
    lost = make("lost", failed=[(0, 0)]).folder
    policy = policy_file([CHECK])
    common = ["--policy", policy, "--baseline", a]
    assert evalkit("gate", "--run", good, *common)[0] == 0
    code, out, err = evalkit("gate", "--run", bad, *common, "--json", "--out", tmp_path / "out")
    assert code == 1
    assert json.loads(out)["verdict"] == "REGRESS"
    assert err.startswith("REGRESS: 2 of 3 checks passed; worse than allowed: q.")
    assert (tmp_path / "out" / "junit.xml").is_file()
    assert evalkit("gate", "--run", lost, *common)[0] == 4
    broken = tmp_path / "broken.yaml"
    broken.write_text("schema: evalkit.gate/v1\nchecks:\n  - {id: q, metric: quality, margin: on}\n")
    code, out, err = evalkit("gate", "--run", good, "--policy", broken, "--out", tmp_path / "out2")
    assert code == 2
    assert f"{broken}:3:38: error: `margin` must be a finite number" in err
    assert "broken.yaml:3:38" in (tmp_path / "out2" / "summary.md").read_text().replace("\\", "")
    assert evalkit("gate", "--run", tmp_path / "nowhere", *common)[0] == 2
    assert evalkit("gate", "--run", good)[0] == 2


def test_check_policy(evalkit, policy_file):
    code, out, err = evalkit("gate", "check-policy", policy_file([CHECK]), "--json")
    assert code == 0
    assert json.loads(out)[0]["code"] == "unknown-metric"
    assert "0 errors, 1 warnings" in err
    assert evalkit("gate", "check-policy", policy_file(["id: q"]))[0] == 2


def test_selftest_explain_and_noise(evalkit, make, policy_file):
    a, b, policy = make("a").folder, make("b", seed=1).folder, policy_file([CHECK])
    code, out, err = evalkit("gate", "selftest", "--run", b, "--policy", policy, "--baseline", a, "--json")
    assert code == 0
    assert [row["seen"] for row in json.loads(out)["injections"]] == ["red", "red"]
    code, out, err = evalkit("gate", "explain", "--policy", policy, "--run", b, "--baseline", a)
    assert code == 0
    assert "an unchanged model passes" in err
    assert out == ""
    code, out, err = evalkit("gate", "noise", a, b, "--json")
    assert code == 0
    assert {row["metric_id"] for row in json.loads(out)} == {"quality", "flicker", "cost.seconds_per_clip"}
    assert "metric: quality, margin:" in err


def test_baseline_verbs(evalkit, make, policy_file):
    a, b = make("a").folder, make("b", seed=1, quality=-1).folder
    policy = policy_file([CHECK])
    assert evalkit("baseline", "promote", a, "--as", "r1", "--reason", "first", "--policy", policy)[0] == 0
    assert evalkit("baseline", "promote", b, "--as", "r2", "--reason", "second")[0] == 0
    assert evalkit("baseline", "promote", b, "--as", "r2", "--reason", "again")[0] == 2
    partial = make("p", failed=[(0, 0)]).folder
    assert evalkit("baseline", "promote", partial, "--as", "r3", "--reason", "no")[0] == 4
    code, out, _ = evalkit("baseline", "list", "--json")
    assert [lock["name"] for lock in json.loads(out)] == ["r1", "r2"]
    code, out, err = evalkit("baseline", "show", "r1", "--json")
    assert json.loads(out)["margins"] == {"q": 0.5}
    code, out, err = evalkit("baseline", "diff", "r1", "r2")
    assert code == 0
    assert "1 worse (quality)" in err
    assert evalkit("baseline", "show", "r9")[0] == 2
    assert evalkit("gate", "--run", b, "--policy", policy, "--baseline", "r1")[0] == 1


def test_every_verb_shows_an_example(evalkit):
    for verb in (
        ["gate"], ["gate", "check-policy"], ["gate", "explain"], ["gate", "selftest"], ["gate", "noise"],
        ["gate", "prompts"], ["baseline"], ["baseline", "promote"], ["baseline", "list"], ["baseline", "show"],
        ["baseline", "diff"], ["compare"],
    ):  # fmt: skip
        code, out, _ = evalkit(*verb, "--help")
        assert code == 0
        assert f"Example: evalkit {verb[0]}" in " ".join(out.split())
