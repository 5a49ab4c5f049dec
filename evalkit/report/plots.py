"""The plots of a run: distributions, score against frame, cost against quality, category heat table.

Every function returns a matplotlib figure drawn without global state. Pages embed them as SVG in their own
colours; `write_figures` writes the same ones for papers.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from evalkit.report.numbers import format_number
from evalkit.report.svg import ACCENT, BAD, INK, LINE, MUTED, figure_bytes
from evalkit.runs.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from evalkit.report.summary import CategoryTable, MetricSummary, RunSummary
    from evalkit.runs.store import Run

__all__ = [
    "FIGURE_FORMATS",
    "category_heat",
    "cost_against_quality",
    "distribution",
    "run_figures",
    "score_against_frame",
    "write_figures",
]

FIGURE_FORMATS = ("svg", "png", "pdf")


MOST_DOTS = 1000
"""Clips that a scatter plot shows, evenly spaced over the run: more overlap, and a page would hold megabytes of dots."""
EDGE, TICKS, CHARACTER, LABEL = 0.05, 0.2, 0.062, 0.17
"""In inches: free edge, room for tick labels below, a character of a tick label, an axis label."""


def _figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(colors=MUTED, labelsize=8, length=3, width=0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.label.set(color=MUTED, size=8.5)
    axes.yaxis.label.set(color=MUTED, size=8.5)
    return figure, axes


def _fit(figure: Figure, axes: Axes) -> Figure:
    """Margins for what stands beside the axes: a layout engine draws everything twice, and a report has dozens of plots."""
    width, height = figure.get_size_inches()

    def labels(axis: Axis) -> tuple[int, bool]:
        formatter = axis.get_major_formatter()
        texts = formatter.format_ticks(list(axis.get_majorticklocs()))
        return max(map(len, texts), default=0), bool(formatter.get_offset())

    (across, power), (up, factor) = labels(axes.xaxis), labels(axes.yaxis)
    right = EDGE + across * CHARACTER / 2  # the last label below stands half outside
    left = max(EDGE + (up + 1) * CHARACTER * bool(up) + LABEL * bool(axes.get_ylabel()), right)
    bottom = EDGE + TICKS + LABEL * (bool(axes.get_xlabel()) or power)
    top = EDGE + LABEL * factor
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
    return figure


def distribution(metric: MetricSummary) -> Figure:
    """Histogram of a metric's clips, with mean (line) and the bound of the worst 5% (dashed)."""
    figure, axes = _figure(3.4, 1.25)
    values = metric.ok["value"].to_numpy(float)
    bins = min(30, max(6, round(2 * values.size ** (1 / 3) * 1.4)))
    axes.stairs(*np.histogram(values, bins), fill=True, color=ACCENT, alpha=0.55)
    assert metric.interval is not None
    assert metric.tail is not None
    axes.axvline(metric.interval.estimate, color=INK, linewidth=1.2)
    axes.axvline(metric.tail, color=BAD, linewidth=1.2, linestyle=(0, (3, 2)))
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=5)
    axes.margins(x=0.02)
    return _fit(figure, axes)


def score_against_frame(metric: MetricSummary, series: Sequence[np.ndarray], kind: str) -> Figure:
    """Median course over the clips with the band of the middle 80%, against the frame number."""
    figure, axes = _figure(3.4, 1.5)
    length = max(len(values) for values in series)
    table = np.full((len(series), length), np.nan)
    for row, values in zip(table, series, strict=True):
        row[: len(values)] = values
    # Past the end of most clips a median would describe other clips than before.
    keep = np.isfinite(table).sum(axis=0) >= max(1, len(series) // 2)
    low, middle, high = np.nanquantile(table[:, keep], [0.1, 0.5, 0.9], axis=0)
    x = np.flatnonzero(keep) + (0.5 if kind == "transition" else 0.0)
    axes.fill_between(x, low, high, color=ACCENT, alpha=0.18, linewidth=0)
    axes.plot(x, middle, color=ACCENT, linewidth=1.4)
    axes.set_xlabel("frame")
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.locator_params(axis="y", nbins=4)
    axes.margins(x=0.01)
    return _fit(figure, axes)


def cost_against_quality(cost: MetricSummary, quality: MetricSummary) -> Figure | None:
    """Clips' cost against a quality metric (at most `MOST_DOTS`); None where quality is constant or one clip has both."""
    if quality.constant:
        return None
    keys = ["prompt_id", "group", "sample_index"]
    both = cost.ok[[*keys, "value"]].merge(quality.ok[[*keys, "value"]], on=keys, suffixes=("_x", "_y"))
    if len(both) < 2:
        return None
    both = both.iloc[:: math.ceil(len(both) / MOST_DOTS)]
    figure, axes = _figure(3.4, 1.9)
    axes.scatter(both["value_x"], both["value_y"], s=9, color=ACCENT, alpha=0.5, linewidth=0)
    axes.set_xlabel(cost.record.title + (f" ({cost.record.unit})" if cost.record.unit else ""))
    axes.set_ylabel(textwrap.shorten(quality.record.title, 26, placeholder="..."))
    axes.locator_params(nbins=5)
    return _fit(figure, axes)


def category_heat(table: CategoryTable) -> Figure:
    """Category means as a heat table for papers; the page has the same as an HTML table."""
    from matplotlib.colors import LinearSegmentedColormap

    rows, columns = len(table.names), len(table.metrics)
    figure, axes = _figure(1.6 + 0.95 * columns, 0.9 + 0.28 * rows, layout="constrained")
    levels = np.array([[cell.shift for cell in row] for row in table.cells])
    colours = LinearSegmentedColormap.from_list("worse-better", ["#f0a070", "#ffffff", "#7fb2dd"])
    axes.imshow(np.clip(levels, -1.6, 1.6), cmap=colours, vmin=-1.6, vmax=1.6, aspect="auto")
    for row, cells in enumerate(table.cells):
        for column, cell in enumerate(cells):
            if cell.interval is not None:
                text = format_number(cell.interval.estimate, table.metrics[column].decimals)
                weight = "bold" if cell.clear else "normal"
                axes.text(
                    column, row, text, ha="center", va="center", size=7.5, color="#15191f", weight=weight
                )
    titles = [textwrap.fill(metric.record.title, 13) for metric in table.metrics]
    axes.set_xticks(range(columns), titles, size=7.5)
    axes.set_yticks(range(rows), table.names, size=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, colors=INK)
    axes.spines["bottom"].set_visible(False)
    return figure


def run_figures(summary: RunSummary) -> dict[str, Figure]:
    """All figures of a run by file name."""
    from evalkit.report.summary import category_table

    figures: dict[str, Figure] = {}
    for metric in summary.scored:
        if metric.constant:
            continue
        figures[f"distribution-{_slug(metric.id)}"] = distribution(metric)
    for metric, values, kind in courses(summary):
        figures[f"frames-{_slug(metric.id)}"] = score_against_frame(metric, values, kind)
    table = category_table(summary.quality)
    if len(table.names) > 1 and table.metrics:
        figures["categories"] = category_heat(table)
    seconds = next((metric for metric in summary.cost if metric.id == "cost.seconds_per_clip"), None)
    for metric in summary.quality if seconds else []:
        assert seconds is not None
        figure = cost_against_quality(seconds, metric)
        if figure is not None:
            figures[f"cost-{_slug(metric.id)}"] = figure
    return figures


def courses(summary: RunSummary) -> list[tuple[MetricSummary, list[np.ndarray], str]]:
    """Metrics that have a course over time: (metric, series of all clips, `frame` or `transition`)."""
    by_metric = dict(iter(summary.run.series.groupby("metric_id", sort=False)))
    found = []
    for metric in summary.quality:
        rows = by_metric.get(metric.id)
        if rows is None or metric.constant:
            continue
        values = [np.asarray(series, dtype=float) for series in rows["values"] if len(series) > 1]
        if values:
            found.append((metric, values, str(rows["kind"].iloc[0])))
    return found


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def write_figures(run: Run, folder: Path, file_format: str = "pdf") -> list[Path]:
    """Write every figure of a run as a file for a paper.

    Args:
        run: the run.
        folder: where; made when missing.
        file_format: `svg`, `png` (200 dpi) or `pdf`.

    Returns:
        The files.

    Raises:
        ValueError: another format.
    """
    from evalkit.report.summary import summarise

    if file_format not in FIGURE_FORMATS:
        raise ValueError(f"figures are written as {', '.join(FIGURE_FORMATS)}, not as {file_format!r}")
    paths = []
    for name, figure in run_figures(summarise(run)).items():
        path = folder / f"{name}.{file_format}"
        with atomic_path(path) as temporary:
            temporary.write_bytes(figure_bytes(figure, file_format))
        paths.append(path)
    return paths
