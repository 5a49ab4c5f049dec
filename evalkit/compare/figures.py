"""Figures of a comparison as SVG text that follows the colours of the page around it."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from evalkit.compare.types import Comparison, Effect, Word
from evalkit.compare.words import number, signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["forest_plot", "prompt_scatter", "small_multiples"]

# Okabe-Ito, with a marker each: colour is never the only difference.
_SERIES = [
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#56B4E9", "v"),
    ("#E69F00", "P"),
]
_WORSE, _BETTER, _PLAIN = "#D55E00", "#009E73", "#7f8790"
_INK = "#010203"  # stands for currentColor until the SVG is written


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _svg(figure: Figure, title: str) -> str:
    import matplotlib as mpl
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a label with two dollar signs is no formula
    buffer = io.StringIO()
    # A fixed hash salt and no date: the same comparison gives the same bytes.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "evalkit", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    return buffer.getvalue().replace(_INK, "currentColor")


def _style(axes: Any) -> None:
    axes.tick_params(colors=_INK, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_INK)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)


def _plain(text: str) -> str:
    """A label's length of text."""
    return text if len(text) <= 40 else text[:39] + "…"


def _colour(word: Word) -> str:
    return {Word.BETTER: _BETTER, Word.WORSE: _WORSE}.get(word, _PLAIN)


def forest_plot(comparison: Comparison) -> str:
    """Paired change of every metric with its interval and margin band.

    Metrics have different units, so the axis counts standard deviations of the prompt differences; the change
    in the metric's own unit stands beside each row. Positive is better.
    """
    rows = [row for row in comparison.effects if row.low is not None]
    figure, grid = _figure(8.0, 1.2 + 0.32 * max(1, len(rows)))
    axes = grid[0][0]
    labels = []
    for position, row in enumerate(rows):
        scale = (
            row.deviation or abs(row.effect or 0.0) or 1.0
        )  # no spread at all: only the sign means something
        low, middle, high = ((value or 0.0) / scale for value in (row.low, row.effect, row.high))
        if row.margin is not None:
            axes.barh(
                position,
                2 * row.margin / scale,
                left=-row.margin / scale,
                height=0.8,
                color=_PLAIN,
                alpha=0.2,
            )
        axes.plot([low, high], [position, position], color=_colour(row.word), linewidth=2)
        marker = {Word.BETTER: "^", Word.WORSE: "v"}.get(row.word, "o")
        axes.plot([middle], [position], marker=marker, color=_colour(row.word), markersize=6)
        name = row.title if len(comparison.candidates) == 1 else f"{row.title} · {row.candidate}"
        labels.append(f"{_plain(name)}  {signed(row.effect)}{' ' + row.unit if row.unit else ''}")
    axes.axvline(0, color=_INK, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xlabel(
        "change in standard deviations of prompt differences; worse ← 0 → better; band = margin", fontsize=8
    )
    _style(axes)
    return _svg(figure, "Change of every metric")


def prompt_scatter(comparison: Comparison, metric_id: str, candidate: str) -> str:
    """Each prompt's mean in the baseline (across) and in the candidate (up); the diagonal is no change."""
    effect = _effect(comparison, metric_id, candidate)
    table = comparison.prompts
    table = table[(table["metric_id"] == metric_id) & (table["candidate"] == candidate)]
    figure, grid = _figure(4.2, 4.2)
    axes = grid[0][0]
    _scatter(axes, table, effect.margin)
    axes.set_xlabel(_plain(f"{comparison.baseline.label}"), fontsize=8)
    axes.set_ylabel(_plain(candidate), fontsize=8)
    axes.set_title(_plain(effect.title), fontsize=9, color=_INK)
    return _svg(figure, f"{effect.title}, prompt by prompt")


def _effect(comparison: Comparison, metric_id: str, candidate: str) -> Effect:
    for row in comparison.effects:
        if (row.metric_id, row.candidate) == (metric_id, candidate):
            return row
    raise ValueError(f"the comparison has no row for {metric_id!r} and {candidate!r}")


def _scatter(axes: Any, table: Any, margin: float | None) -> None:
    threshold = margin or 0.0
    for colour, marker, kept, label in (
        (_WORSE, "v", table["effect"] < -threshold, "worse"),
        (_BETTER, "^", table["effect"] > threshold, "better"),
        (_PLAIN, "o", table["effect"].abs() <= threshold, "unchanged"),
    ):
        rows = table[kept]
        if len(rows):
            axes.scatter(
                rows["baseline_mean"], rows["candidate_mean"], s=16, c=colour, marker=marker, label=label
            )
    ends = [
        table[["baseline_mean", "candidate_mean"]].min().min(),
        table[["baseline_mean", "candidate_mean"]].max().max(),
    ]
    axes.plot(ends, ends, color=_INK, linewidth=0.8, linestyle="--")
    if len(table):
        axes.legend(fontsize=7, frameon=False, labelcolor=_INK)
    _style(axes)


def small_multiples(comparison: Comparison) -> str:
    """One small panel per metric: mean of every run, with the interval of its change against the baseline."""
    by_metric: dict[str, list[Effect]] = {}
    for row in comparison.effects:
        if row.effect is not None:
            by_metric.setdefault(row.metric_id, []).append(row)
    columns = min(4, max(1, len(by_metric)))
    lines = max(1, math.ceil(len(by_metric) / columns))
    figure, grid = _figure(2.6 * columns, 2.1 * lines, lines, columns)
    panels = [panel for line in grid for panel in line]
    for panel in panels[len(by_metric) :]:
        panel.set_visible(False)
    for panel, rows in zip(panels, by_metric.values(), strict=False):
        sign = 1 if rows[0].direction == "higher" else -1
        panel.axhline(rows[0].baseline_mean, color=_INK, linewidth=0.8, linestyle="--")
        for position, row in enumerate(rows):
            colour, marker = _SERIES[position % len(_SERIES)]
            base = row.baseline_mean or 0.0
            if row.low is not None and row.high is not None:
                panel.plot(
                    [position] * 2, [base + sign * row.low, base + sign * row.high], color=colour, linewidth=2
                )
            panel.plot(
                [position], [base + sign * (row.effect or 0.0)], color=colour, marker=marker, markersize=6
            )
        panel.set_xticks(range(len(rows)), [_plain(row.candidate) for row in rows], rotation=30, ha="right")
        panel.set_xlim(-0.6, len(rows) - 0.4)
        arrow = "↑" if rows[0].direction == "higher" else "↓"
        panel.set_title(
            _plain(f"{rows[0].title} {arrow} ({number(rows[0].baseline_mean)})"), fontsize=8, color=_INK
        )
        _style(panel)
    return _svg(figure, "Every metric, every run")
