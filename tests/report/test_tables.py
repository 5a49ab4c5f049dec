"""Tables of a run: sensible digits for people, full precision for machines, nothing that runs."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from evalkit.report import write_tables
from evalkit.report.summary import summarise
from evalkit.report.tables import TABLE_FORMATS, Table, run_tables, to_csv, to_latex, to_markdown
from evalkit.runs.store import Run
from evalkit.suites.prompt import Prompt, Suite
from evalkit.testing.runs import make_run

NASTY = '=HYPERLINK("http://x") | 50% & $a_b^2$ ~ {#} \\ <b>\nsecond line'


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    rng = np.random.default_rng(0)
    prompts = tuple(
        Prompt(id=f"p{index}", text="a prompt", category=(NASTY, "plain")[index % 2]) for index in range(10)
    )
    suite = Suite(name="nasty", version="1", licence="CC0-1.0", description="", prompts=prompts)
    return make_run(
        tmp_path_factory.mktemp("run") / "run",
        values={"quality": rng.normal(0.7, 0.1, (10, 2)), "time": rng.gamma(9, 0.1, (10, 2))},
        suite=suite,
        directions={"time": "lower"},
        failed=((3, 1),),
        metrics={"quality": {"title": "Quality_1 & co"}, "time": {"unit": "s"}},
    )


def test_csv_and_parquet_hold_the_full_values(run: Run, tmp_path: Path):
    write_tables(run, tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "metrics.csv").read_text(encoding="utf-8"))))
    parquet = pq.read_table(tmp_path / "metrics.parquet").to_pylist()
    for row, same, metric in zip(rows, parquet, summarise(run).metrics, strict=True):
        assert float(row["mean"]) == same["mean"] == metric.interval.estimate
        assert float(row["low"]) == same["low"] == metric.interval.low
        assert (int(row["clips"]), int(row["missing"])) == (19, 1)


def test_every_table_comes_in_every_format(run: Run, tmp_path: Path):
    files = {path.name for path in write_tables(run, tmp_path)}
    names = {table.name for table in run_tables(summarise(run))}
    assert names == {"metrics", "categories", "missing", "failed-clips"}
    assert files == {f"{name}.{ending}" for name in names for ending in ("md", "csv", "tex", "parquet")}
    assert files == {path.name for path in tmp_path.iterdir()}


def test_an_unknown_format_is_refused_with_those_that_exist(run: Run, tmp_path: Path):
    with pytest.raises(ValueError, match="markdown, csv, latex, parquet"):
        write_tables(run, tmp_path, ["xlsx"])


def test_a_formula_in_a_cell_does_not_run_in_a_spreadsheet(run: Run):
    table = next(table for table in run_tables(summarise(run)) if table.name == "categories")
    cells = [row[0] for row in csv.reader(io.StringIO(to_csv(table)))]
    assert "'" + NASTY in cells
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)


def test_negative_numbers_stay_numbers_in_csv():
    table = Table("t", "t", ("v",), [("-1",)], ("v",), [(-1.5,)], (True,))
    assert to_csv(table) == "v\n-1.5\n"


def test_markdown_keeps_its_columns_whatever_a_cell_says(run: Run):
    for table in run_tables(summarise(run)):
        lines = to_markdown(table).splitlines()
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(table.header) + 1}
        assert len(lines) == len(table.rows) + 2
        assert "<b>" not in to_markdown(table)


def test_latex_escapes_every_special_character(run: Run):
    for table in run_tables(summarise(run)):
        text = to_latex(table)
        assert all(mark in text for mark in (r"\toprule", r"\midrule", r"\bottomrule"))
        body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
        for line in filter(None, map(str.strip, body.splitlines())):
            assert len(re.findall(r"(?<!\\)&", line)) == len(table.header) - 1
            assert not re.search(r"(?<!\\)[%#_]", line)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles(run: Run, tmp_path: Path):
    tables = "\n".join(to_latex(table) for table in run_tables(summarise(run)))
    source = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{tables}\end{{document}}"
    (tmp_path / "t.tex").write_text(source, encoding="utf-8")
    subprocess.run(
        ["pdflatex", "-interaction=batchmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        check=True,
        timeout=60,
    )


def test_digits_follow_the_interval(run: Run):
    table = next(table for table in run_tables(summarise(run)) if table.name == "metrics")
    interval = summarise(run).metric("quality").interval
    decimals = len(table.rows[0][2].partition(".")[2])
    half_width = interval.high - interval.estimate
    assert 10**-(decimals) <= half_width < 100 * 10**-decimals


def test_formats_are_what_the_function_says():
    assert TABLE_FORMATS == ("markdown", "csv", "latex", "parquet")
