"""What a comparison looks like: terminal, Markdown, tables, figures; hostile text stays text."""

import json
import xml.etree.ElementTree as ET

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console
from typer.testing import CliRunner

from evalkit.compare.figures import forest_plot, prompt_scatter, small_multiples
from evalkit.compare.markdown import escape, table
from evalkit.compare.render import to_markdown, to_terminal
from evalkit.compare.runs import compare_runs
from evalkit.compare.words import number, signed
from evalkit.compare.write import safe_name, write_comparison

from .conftest import suite, values

GFM = MarkdownIt("gfm-like", {"linkify": False}).enable(["table", "strikethrough"])


@pytest.fixture
def hostile(make):
    evil = suite(hostile=True)
    changed = values(seed=1)
    changed[0] -= 9
    model = {"id": "=cmd|' /C calc'!A0", "revision": "<img src=x onerror=alert(1)>"}
    return compare_runs(
        [make("a", the_suite=evil), make("b", the_suite=evil, quality=changed, model=model)],
        labels=["old | `one`", "[new](javascript:alert(1))"],
    )


def texts(tokens):
    for token in tokens:
        if token.children:
            yield from texts(token.children)
        else:
            yield token


def test_hostile_text_is_inert_in_markdown(hostile):
    source = to_markdown(hostile)
    kinds = {token.type for token in texts(GFM.parse(source))}
    assert not kinds & {
        "link_open",
        "image",
        "html_inline",
        "html_block",
        "code_inline",
        "fence",
        "code_block",
        "s_open",
    }
    html = GFM.render(source)
    assert "<script" not in html
    assert "<img" not in html
    # Every table row still has the cells of its header.
    for block in source.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        rendered = GFM.render("\n".join(lines))
        if lines:
            assert rendered.count("<tr>") == len(lines) - 1
            assert rendered.count("<t") - rendered.count("<tr") - rendered.count("<tb") - rendered.count(
                "<table"
            ) - (rendered.count("<thead")) == rendered.count("<th>") + rendered.count("<td") + rendered.count(
                "<th "
            )
    assert "@\u200bsomeone" in source
    assert "https:\u200b//evil" in source


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_survives_as_plain_text(text):
    tokens = list(texts(GFM.parse(f"before {escape(text, starts_line=False)} after")))
    assert {token.type for token in tokens} <= {"text", "text_special", "paragraph_open", "paragraph_close"}
    leading = list(texts(GFM.parse(escape(text) or "x")))
    assert {token.type for token in leading} <= {"text", "text_special", "paragraph_open", "paragraph_close"}
    cells = GFM.render(table(["h", "k"], [(text, "end")]))
    assert cells.count("<td>") == 2
    assert "<td>end</td>" in cells


def test_long_text_is_cut():
    assert len(escape("x" * 500, limit=50)) == 50


def test_terminal_shows_verdicts_and_reads_no_markup(make):
    runs = [make("a"), make("b", quality=values(seed=1) - 1)]
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(to_terminal(compare_runs(runs, labels=["a", "[red]b[/red]"])))
        shown = console.export_text()
    assert "[red]b[/red] against a, 2 metrics: 1 worse (quality)" in shown
    assert "▼ worse" in shown
    assert "• no clear change" in shown


def test_every_table_is_written_and_read_back(make, hostile, tmp_path):
    files = write_comparison(hostile, tmp_path / "out")
    assert all(path.is_file() for path in files)
    tables = hostile.to_tables()
    for name, expected in tables.items():
        assert len(pd.read_parquet(tmp_path / "out" / "tables" / f"{name}.parquet")) == len(expected)
        assert len(pd.read_csv(tmp_path / "out" / "tables" / f"{name}.csv")) == len(expected)
    runs = (tmp_path / "out" / "tables" / "runs.csv").read_text()
    assert "'=cmd" in runs
    assert ",=cmd" not in runs
    data = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert data["schema"] == "evalkit.comparison/v1"
    assert {row["word"] for row in data["metrics"]} == {"no clear change"}
    assert sum(data["clip_outcomes"][0][k] for k in ("regressed", "fixed", "unchanged")) == 72
    names = {path.name for path in files}
    assert {"forest.svg", "prompts-quality.svg"} <= names


def test_figures_are_deterministic_svg_that_follows_the_page(make):
    runs = [make("a"), make("b", quality=values(seed=1) - 1), make("c", quality=values(seed=7))]
    comparison = compare_runs(runs, margins={"flicker": 0.1}, labels=["a", "$b_1^2", "c"])
    for draw in (
        forest_plot,
        small_multiples,
        lambda c: prompt_scatter(c, "quality", "$b_1^2"),
    ):
        svg = draw(comparison)
        assert svg == draw(comparison)
        root = ET.fromstring(svg)
        assert root.tag.endswith("svg")
        assert "currentColor" in svg
        assert "#010203" not in svg
    words = "".join(ET.fromstring(forest_plot(comparison)).itertext())
    assert "quality · $b_1^2" in words
    with pytest.raises(ValueError, match="no row"):
        prompt_scatter(comparison, "quality", "nobody")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (0, "0.00"),
        (1.2345, "1.23"),
        (-0.0012, "−0.00120"),
        (12345.6, "12346"),
        (1e-7, "1.00e−07"),
    ],
)
def test_numbers_have_three_digits(value, expected):
    assert number(value) == expected
    if value and value > 0:
        assert signed(value) == f"+{expected}"


@pytest.mark.parametrize("text", ["../../etc/passwd", "a/b", "..", "", "x" * 300, "päth"])
def test_labels_never_become_paths(text):
    name = safe_name(text)
    assert "/" not in name
    assert name.strip(".")
    assert len(name) <= 80


def test_command_prints_json_on_stdout_and_people_text_on_stderr(make, tmp_path):
    import typer

    from evalkit.cli.compare import compare, parse_margin
    from evalkit.errors import EvalkitError

    app = typer.Typer()
    app.command()(compare)
    a, b = make("a"), make("b", quality=values(seed=1) - 1)
    result = CliRunner().invoke(
        app, [str(a.folder), str(b.folder), "--json", "--margin", "quality=0.1", "--out", str(tmp_path / "o")]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["metrics"][0]["word"] == "worse"
    assert "1 worse (quality)" in result.stderr
    assert (tmp_path / "o" / "comparison.md").is_file()
    for bad in ("quality", "quality=x", "=1"):
        with pytest.raises(EvalkitError, match="METRIC=NUMBER"):
            parse_margin(bad)
