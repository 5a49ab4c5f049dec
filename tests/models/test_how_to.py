"""The programs and classes that the how-to pages print are run as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.models.command import CommandModel
from evalkit.testing import check_model

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page: str, language: str = "") -> list[str]:
    fenced = re.findall(
        r"^```(\w*)\n(.*?)^```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return [content for spoken, content in fenced if spoken == language]


def test_the_printed_program_honours_the_contract(tmp_path: Path) -> None:
    program = tmp_path / "noise.py"
    program.write_text(blocks("evaluate-your-model.md", "python")[0])
    settings = {"num_frames": 3, "height": 8, "width": 8, "fps": 8}
    check_model(lambda: CommandModel(command=[sys.executable, str(program)], **settings))


def test_the_printed_class_passes_its_printed_test(tmp_path: Path) -> None:
    _, model, test = blocks("evaluate-your-model.md", "python")
    (tmp_path / "gradient_model.py").write_text(f"{model}\n\n{test}\n\ntest_gradient()\nprint('passed')\n")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "gradient_model.py")], capture_output=True, text=True, check=False
    )
    assert done.stdout == "passed\n", done.stderr


def test_the_printed_request_has_the_keys_of_real_ones() -> None:
    from evalkit.models.wire import request_json
    from tests.models.good import request

    (printed,) = blocks("evaluate-your-model.md", "json")
    assert set(json.loads(printed)) == set(request_json(request())) | {"device", "output"}


@pytest.mark.parametrize("page", ["evaluate-your-model.md", "write-a-suite.md"])
def test_printed_commands_exist(page: str) -> None:
    from evalkit.cli import _VERBS

    verbs = re.findall(r"^(?:\S+=\S+ )?evalkit (\w+)", "\n".join(blocks(page)), re.MULTILINE)
    assert verbs
    assert set(verbs) <= set(_VERBS)
