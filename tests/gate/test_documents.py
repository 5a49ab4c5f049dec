"""What people copy works: the policy and waivers of the how-to, the example gate, the CI files."""

import datetime
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from evalkit.cli import app
from evalkit.gate.lint import lint_policy
from evalkit.gate.policy import load_policy
from evalkit.gate.waivers import load_waivers

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to" / "gate-a-pull-request.md"
CI = ROOT / "docs" / "how-to" / "ci"


def test_the_policy_and_waivers_of_the_how_to_are_valid(tmp_path):
    policy, waivers = re.findall(r"```yaml\n(.*?)```", HOW_TO.read_text(), re.S)
    (tmp_path / "policy.yaml").write_text(policy)
    (tmp_path / "waivers.yaml").write_text(waivers)
    read = load_policy(tmp_path / "policy.yaml")
    assert [check.id for check in read.checks] == ["flicker", "sharpness", "frozen", "cost"]
    assert len(load_waivers(tmp_path / "waivers.yaml", read.checks)) == 1
    assert lint_policy(tmp_path / "policy.yaml", datetime.date(2026, 3, 1)) == []


def test_the_example_policy_is_valid():
    assert (
        lint_policy(ROOT / "benchmarks" / "gates" / "policy.yaml", datetime.datetime.now(datetime.UTC).date())
        == []
    )


def commands():
    texts = [HOW_TO.read_text(), *(path.read_text() for path in sorted(CI.glob("*.yml")))]
    found = [line.strip().lstrip("- ").removeprefix("run: ") for text in texts for line in text.splitlines()]
    return sorted({line.split(" || ")[0] for line in found if line.startswith("evalkit ")})


@pytest.mark.parametrize("command", commands())
def test_every_command_that_is_shown_exists_with_its_options(command):
    words = shlex.split(command)[1:]
    verbs = [word for word in words[:2] if not word.startswith("-") and "/" not in word]
    result = CliRunner().invoke(app, [*verbs, "--help"])
    assert result.exit_code == 0
    help_text = re.sub(r"\s+", " ", result.output)
    for option in (word for word in words if word.startswith("--")):
        assert option in help_text, f"{option} of `{command}`"


def test_the_ci_files_are_yaml_that_keeps_the_outputs():
    github = yaml.safe_load((CI / "github-gate.yml").read_text())
    steps = github["jobs"]["gate"]["steps"]
    shown = next(step["run"] for step in steps if step.get("name") == "Show the result")
    assert "annotations.txt" in shown
    assert "GITHUB_STEP_SUMMARY" in shown
    assert not any("continue-on-error" in step for step in steps)
    gitlab = yaml.safe_load((CI / "gitlab-gate.yml").read_text())
    assert gitlab["gate"]["artifacts"]["reports"]["junit"] == "gate/junit.xml"
    assert gitlab["gate"]["script"][-1].startswith("evalkit gate --run")
