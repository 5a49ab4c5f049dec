"""Tables of a run for papers, spreadsheets and scripts: Markdown, CSV, LaTeX, Parquet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evalkit.report.numbers import format_interval, format_number
from evalkit.report.summary import category_table, group_table, summarise
from evalkit.runs.files import atomic_path, write_text

if TYPE_CHECKING:
    from evalkit.report.summary import CategoryTable, MetricSummary, RunSummary
    from evalkit.runs.store import Run

__all__ = [
    "TABLE_FORMATS",
    "Table",
    "escape_markdown",
    "run_tables",
    "to_csv",
    "to_latex",
    "to_markdown",
    "write_tables",
]


class Table(NamedTuple):
    """A table twice: as text for people, and as values for machines.

    Attributes:
        name: file name without ending.
        title: caption.
        header: titles for people.
        rows: texts for people, rounded to what the interval justifies.
        columns: names for machines.
        values: full-precision values for machines; None where there is none.
        numeric: per column of `header`, whether it is set flush right.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    columns: tuple[str, ...]
    values: list[tuple[str | float | int | None, ...]]
    numeric: tuple[bool, ...]


def run_tables(summary: RunSummary) -> list[Table]:
    """The tables of a run: metrics, categories, groups, set metrics, missing scores and failed clips."""
    tables = [_metrics(summary), _categories(category_table(summary.scored), "categories", "Category")]
    groups = group_table(summary)
    if groups is not None:
        tables.append(_categories(groups, "groups", "Group"))
    if summary.sets:
        tables.append(_sets(summary))
    tables += [_missing(summary), _failures(summary)]
    return [table for table in tables if table.rows]


def _metrics(summary: RunSummary) -> Table:
    rows: list[tuple[str, ...]] = []
    values: list[tuple[str | float | int | None, ...]] = []
    for metric in summary.metrics:
        interval, record = metric.interval, metric.record
        rows.append(
            (
                record.title,
                "higher" if record.direction == "higher" else "lower",
                _mean(metric),
                _bounds(metric),
                format_number(metric.tail, metric.decimals),
                f"{metric.num_ok:,}",
                f"{metric.num_prompts:,}",
                f"{metric.num_failed:,}",
                f"{metric.num_not_applicable:,}",
            )
        )
        values.append(
            (
                metric.id,
                record.version,
                record.title,
                record.direction,
                record.unit,
                interval.estimate if interval else None,
                _finite(interval.low) if interval else None,
                _finite(interval.high) if interval else None,
                metric.tail,
                metric.num_ok,
                metric.num_prompts,
                metric.num_failed,
                metric.num_not_applicable,
                record.evidence,
            )
        )
    return Table(
        "metrics",
        "Clip metrics: mean over prompts with 95% interval (t, prompts as clusters)",
        (
            "Metric",
            "Better",
            "Mean",
            "95% interval",
            "Worst 5%",
            "Clips",
            "Prompts",
            "Missing",
            "Not applicable",
        ),
        rows,
        (
            "metric",
            "version",
            "title",
            "direction",
            "unit",
            "mean",
            "low",
            "high",
            "worst_5_percent",
            "clips",
            "prompts",
            "missing",
            "not_applicable",
            "evidence",
        ),
        values,
        (False, False, True, True, True, True, True, True, True),
    )


def _finite(value: float) -> float | None:
    return value if value not in (float("inf"), float("-inf")) else None


def _mean(metric: MetricSummary) -> str:
    if metric.interval is None:
        return "\N{EN DASH}"
    unit = f" {metric.record.unit}" if metric.record.unit else ""
    return format_number(metric.interval.estimate, metric.decimals) + unit


def _bounds(metric: MetricSummary) -> str:
    interval = metric.interval
    return (
        format_interval(interval.low, interval.high, metric.decimals)
        if interval is not None
        else "\N{EN DASH}"
    )


def _categories(table: CategoryTable, name: str, title: str) -> Table:
    rows, values = [], []
    for label, cells in zip(table.names, table.cells, strict=True):
        texts, numbers = [label], []
        for metric, cell in zip(table.metrics, cells, strict=True):
            value = cell.interval.estimate if cell.interval else None
            texts.append(format_number(value, metric.decimals))
            numbers.append(value)
        rows.append(tuple(texts))
        values.append((label, *numbers))
    return Table(
        name,
        f"Means by {title.lower()}",
        (title, *(metric.record.title for metric in table.metrics)),
        rows,
        (title.lower(), *(metric.id for metric in table.metrics)),
        values,
        (False, *(True for _ in table.metrics)),
    )


def _sets(summary: RunSummary) -> Table:
    rows: list[tuple[str, ...]] = []
    values: list[tuple[str | float | int | None, ...]] = []
    for row in summary.sets:
        interval = (
            format_interval(row.low, row.high, row.decimals)
            if row.low is not None and row.high is not None
            else "\N{EN DASH}"
        )
        shown = format_number(row.value, row.decimals) if row.status == "ok" else row.reason
        rows.append(
            (
                row.record.title,
                row.group or "all",
                shown,
                interval,
                format_number(row.noise_floor, row.decimals),
                "\N{EN DASH}" if row.p_value is None else f"{row.p_value:.3g}",
                str(row.n_generated or 0),
                str(row.n_reference or 0),
                row.protocol,
            )
        )
        values.append(
            (
                row.record.id,
                row.group,
                row.value,
                row.low,
                row.high,
                row.noise_floor,
                row.p_value,
                row.n_generated,
                row.n_reference,
                row.protocol,
                row.status,
                row.reason,
            )
        )
    return Table(
        "sets",
        "Set metrics against the reference clips",
        (
            *("Metric", "Group", "Value", "95% interval (conservative)", "Noise floor", "p (permutation)"),
            *("Generated", "Reference", "Protocol"),
        ),
        rows,
        (
            "metric",
            "group",
            "value",
            "low",
            "high",
            "noise_floor",
            "p_value",
            "generated",
            "reference",
            "protocol",
            "status",
            "reason",
        ),
        values,
        (False, False, True, True, True, True, True, True, False),
    )


def _missing(summary: RunSummary) -> Table:
    reasons = [
        (metric, status, reason, count)
        for metric in summary.metrics
        for status, reason, count in metric.reasons
    ]
    return Table(
        "missing",
        "Scores without a value, with the reason",
        ("Metric", "Status", "Scores", "Reason"),
        [(metric.record.title, status, f"{count:,}", reason) for metric, status, reason, count in reasons],
        ("metric", "status", "scores", "reason"),
        [(metric.id, status, count, reason) for metric, status, reason, count in reasons],
        (False, False, True, False),
    )


def _failures(summary: RunSummary) -> Table:
    rows = [
        (str(row["prompt_id"]), int(row["sample_index"]), str(row["status"]), str(row["error"] or ""))
        for row in summary.failures.to_dict("records")
    ]
    return Table(
        "failed-clips",
        "Planned clips that do not exist",
        ("Prompt", "Sample", "Status", "Error"),
        [(prompt, str(sample), status, error) for prompt, sample, status, error in rows],
        ("prompt_id", "sample_index", "status", "error"),
        list(rows),
        (False, True, False, False),
    )


def to_markdown(table: Table) -> str:
    """A pipe table; text is escaped so that no cell can break out of it."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(escape_markdown(cell) for cell in cells) + " |"

    marks = ["---:" if numeric else "---" for numeric in table.numeric]
    return "\n".join([line(table.header), "| " + " | ".join(marks) + " |", *map(line, table.rows)]) + "\n"


def escape_markdown(text: str) -> str:
    """Text as one line that Markdown shows literally."""
    flat = " ".join(text.split())
    escaped = re.sub(r"([\\`*_\[\]|~$!#])", r"\\\1", flat)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def to_csv(table: Table) -> str:
    """Full-precision values. Text that a spreadsheet would run as a formula gets a leading apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.values:
        writer.writerow(["" if cell is None else _csv_cell(cell) for cell in row])
    return buffer.getvalue()


def _csv_cell(cell: str | float | int) -> str | float | int:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "∞": r"$\infty$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def to_latex(table: Table) -> str:
    r"""A `booktabs` table with caption and label, ready for `\input`."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(_latex_cell(cell) for cell in cells) + r" \\"

    columns = "".join("r" if numeric else "l" for numeric in table.numeric)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{_latex_cell(table.title)}}}",
            rf"  \label{{tab:{table.name}}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            "    " + line(table.header),
            r"    \midrule",
            *("    " + line(row) for row in table.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex_cell(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _write_parquet(table: Table, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [row[index] for row in table.values] for index, name in enumerate(table.columns)}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


_WRITERS: dict[str, tuple[str, Callable[[Table], str]]] = {
    "markdown": ("md", to_markdown),
    "csv": ("csv", to_csv),
    "latex": ("tex", to_latex),
}
TABLE_FORMATS = (*_WRITERS, "parquet")


def write_tables(run: Run, folder: Path, formats: Sequence[str] = TABLE_FORMATS) -> list[Path]:
    """Write every table of a run in every format.

    Args:
        run: the run.
        folder: where; made when missing.
        formats: some of `markdown`, `csv`, `latex`, `parquet`.

    Returns:
        The files.

    Raises:
        ValueError: another format.
    """
    unknown = sorted(set(formats) - set(TABLE_FORMATS))
    if unknown:
        raise ValueError(f"tables are written as {', '.join(TABLE_FORMATS)}, not as {', '.join(unknown)}")
    return write_files(run_tables(summarise(run)), folder, formats)


def write_files(tables: Sequence[Table], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Tables as files, one for each table and format; the files."""
    paths = []
    for table in tables:
        for file_format in formats:
            if file_format == "parquet":
                path = folder / f"{table.name}.parquet"
                _write_parquet(table, path)
            else:
                ending, convert = _WRITERS[file_format]
                path = folder / f"{table.name}.{ending}"
                write_text(path, convert(table))
            paths.append(path)
    return paths
