"""The suite that the how-to page prints is a good suite."""

from __future__ import annotations

import re
from pathlib import Path

from evalkit.suites import lint_suite, load_suite
from evalkit.suites.expect import ATTRIBUTES

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-suite.md"


def test_the_printed_suite_is_clean(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (printed,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "kitchen.yaml"
    path.write_text(printed, encoding="utf-8")
    assert lint_suite(path) == []
    assert len(load_suite(path)) == 3
    assert {name for name in ATTRIBUTES if f"`{name}`" not in text} == set()
