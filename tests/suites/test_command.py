from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evalkit.cli.suites import suites_app
from evalkit.errors import SuiteError
from evalkit.suites import load_suite


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(suites_app, list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def test_list_shows_the_shipped_suites() -> None:
    assert {"core", "open-domain"} <= {line.split()[0] for line in call("list").splitlines()}
    cards = json.loads(call("list", "--json"))
    core = next(card for card in cards if card["name"] == "core")
    assert core["digest"] == load_suite("core").digest
    assert sum(category["prompts"] for category in core["categories"]) == core["prompts_total"] == 96


def test_show_slices() -> None:
    shown = json.loads(
        call("show", "core", "--category", "camera", "--category", "style", "--limit", "4", "--json")
    )
    assert [prompt["category"] for prompt in shown["prompts"]] == ["camera", "camera", "style", "style"]
    assert "a yellow heart on a dotted background, the camera pans left" in call(
        "show", "core", "--tag", "prompt.camera"
    )


def test_lint_ends_with_2_on_errors_and_with_strict_on_warnings(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    head = 'suite: s\nversion: "1"\nlicence: CC0-1.0\nprompts:\n  - {id: a, text: one thing, category: c}\n'
    path.write_text(head)
    assert call("lint", str(path), "--strict") == ""
    path.write_text(head + "  - {id: b, text: One thing, category: c}\n")
    assert call("lint", str(path)).startswith(f"{path}:6:19: warning: ")
    call("lint", str(path), "--strict", code=2)
    path.write_text(head + "  - {id: a, text: other, category: c}\n")
    (problem,) = json.loads(call("lint", str(path), "--json", code=2))
    assert (problem["line"], problem["column"], problem["code"]) == (6, 10, "duplicate-id")


def test_import_writes_a_suite_and_never_overwrites_unasked(tmp_path: Path) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "new" / "s.yaml"
    table.write_text("prompt\na cat\n")
    card = json.loads(call("import", str(table), "--out", str(out), "--name", "pets", "--json"))
    assert (card["name"], card["prompts_total"]) == ("pets", 1)
    assert load_suite(out).by_id["a-cat"].text == "a cat"
    with pytest.raises(SuiteError, match="replace it with --force"):
        call("import", str(table), "--out", str(out))
    call("import", str(table), "--out", str(out), "--force")


def test_every_command_shows_an_example() -> None:
    for command in ("list", "show", "lint", "import"):
        assert f"evalkit suites {command}" in call(command, "--help")


def test_suites_need_no_heavy_package() -> None:
    script = (
        "import sys, evalkit.suites as s; s.load_suite('core'); "
        "print([m for m in ('torch', 'numpy', 'pyarrow', 'pandas', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
