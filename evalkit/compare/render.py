"""A `Comparison` as a table in the terminal and as a Markdown page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.compare.markdown import escape, table
from evalkit.compare.types import ClipOutcome, Comparison, Effect, SetChange, Word
from evalkit.compare.words import number, signed

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["ICONS", "headline", "to_markdown", "to_terminal"]

ICONS = {
    Word.BETTER: "▲",
    Word.WORSE: "▼",
    Word.NO_WORSE: "✓",
    Word.SLIGHTLY_WORSE: "▽",
    Word.NO_CLEAR_CHANGE: "•",
    Word.TOO_FEW: "?",
    Word.NOT_COMPARABLE: "✗",
}
_STYLES = {
    Word.BETTER: "green",
    Word.WORSE: "bold red",
    Word.SLIGHTLY_WORSE: "yellow",
    Word.NOT_COMPARABLE: "red",
}

_HOW_TO_READ = (
    "Change is oriented: positive is better. Interval: 95% t interval over prompts. p: sign-flip test, after Holm's "
    "correction for the number of rows. Detectable: the smallest true change that would have been noticed four "
    "times in five. Clips of one prompt are averaged first, because they are not independent."
)


def _rows(comparison: Comparison) -> list[Effect | SetChange]:
    return [*comparison.effects, *comparison.sets]


def headline(comparison: Comparison) -> list[str]:
    """One sentence per candidate: how many metrics got better and worse, and which."""
    lines = []
    for run in comparison.candidates:
        rows = [row for row in _rows(comparison) if row.candidate == run.label]
        worse = [row.title for row in rows if row.word is Word.WORSE]
        better = [row.title for row in rows if row.word is Word.BETTER]
        rest = len(rows) - len(worse) - len(better)
        said = [
            f"{len(names)} {what} ({', '.join(names)})"
            for names, what in ((worse, "worse"), (better, "better"))
            if names
        ]
        if rest or not said:
            said.append(f"{rest} without a clear change")
        total = f"{len(rows)} metric{'' if len(rows) == 1 else 's'}"
        lines.append(f"{run.label} against {comparison.baseline.label}, {total}: {', '.join(said)}.")
    return lines


def _effect_cells(row: Effect) -> list[str]:
    interval = "–" if row.low is None else f"{signed(row.low)} to {signed(row.high)}"
    missing = sum(row.missing.values())
    size = f"{row.prompts} x {row.samples:.3g}" + (f" ({missing} missing)" if missing else "")
    return [
        f"{row.title} {'↑' if row.direction == 'higher' else '↓'}" + (f" [{row.unit}]" if row.unit else ""),
        number(row.baseline_mean),
        number(row.candidate_mean),
        signed(row.effect),
        interval,
        "–" if row.p_adjusted is None else f"{row.p_adjusted:.3g}",
        size,
        number(row.smallest_detectable),
        f"{ICONS[row.word]} {row.word}",
    ]


def _set_cells(row: SetChange) -> list[str]:
    interval = "–" if row.low is None else f"{signed(row.low)} to {signed(row.high)}"
    return [
        f"{row.title} {'↑' if row.direction == 'higher' else '↓'}",
        number(row.baseline_value),
        number(row.candidate_value),
        signed(row.effect),
        interval,
        "–" if row.p_adjusted is None else f"{row.p_adjusted:.3g}",
        f"{row.n_generated} to {row.n_reference}",
        number(row.noise_floor),
        f"{ICONS[row.word]} {row.word}",
    ]


_HEADERS = [
    "Metric",
    "Baseline",
    "Candidate",
    "Change",
    "95% interval",
    "p",
    "Prompts x seeds",
    "Detectable",
    "Verdict",
]
_COMPACT = {"Metric", "Change", "95% interval", "p", "Verdict"}
_SET_HEADERS = [*_HEADERS[:6], "Clips to reference", "Noise floor", "Verdict"]


def _headers(comparison: Comparison, headers: list[str]) -> list[str]:
    level = f"{100 * (1 - comparison.alpha):g}% interval"
    return [level if header == "95% interval" else header for header in headers]


def to_terminal(comparison: Comparison, *, compact: bool = False) -> Group:
    """The comparison for a terminal; no text of a run is read as markup.

    Args:
        comparison: what to show.
        compact: leave out means and sizes, for a terminal of fewer than about 120 columns.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Table | Text] = [Text(line, style="bold") for line in headline(comparison)]
    for run in comparison.candidates:
        for headers, rows in (
            (_HEADERS, [(r.word, _effect_cells(r)) for r in comparison.effects if r.candidate == run.label]),
            (_SET_HEADERS, [(r.word, _set_cells(r)) for r in comparison.sets if r.candidate == run.label]),
        ):
            if not rows:
                continue
            shown = [i for i in range(len(headers)) if not compact or headers[i] in _COMPACT]
            grid = Table(title=Text(f"{run.label} against {comparison.baseline.label}"), title_justify="left")
            titles = _headers(comparison, headers)
            for column in shown:
                grid.add_column(
                    titles[column], justify="left" if column in (0, len(headers) - 1) else "right"
                )
            for word, cells in rows:
                style = _STYLES.get(word, "")
                grid.add_row(*(Text(cells[i], style=style if i == len(cells) - 1 else "") for i in shown))
            parts.append(grid)
    parts += [Text(f"note: {note}", style="dim") for note in comparison.notes]
    return Group(*parts)


def to_markdown(comparison: Comparison, slices: int = 20, clips: int = 10) -> str:
    """The comparison as Markdown.

    Args:
        comparison: what to show.
        slices: most slices to list (those with the smallest adjusted p).
        clips: most regressed clips to list per candidate.
    """
    out = ["# Comparison\n", *(f"- {escape(line, 1000)}" for line in headline(comparison)), ""]
    out.append(f"Suite {escape(comparison.suite)}. {_HOW_TO_READ}\n")
    out.append(
        table(
            ["Run", "Model", "Revision", "Clips", "Failed", "Missing"],
            [
                (run.label, run.model, run.revision, run.clips_planned, run.clips_failed, run.clips_missing)
                for run in comparison.runs
            ],
            right=(3, 4, 5),
        )
    )
    for run in comparison.candidates:
        out.append(f"## {escape(run.label)} against {escape(comparison.baseline.label)}\n")
        effects = [row for row in comparison.effects if row.candidate == run.label]
        out.append(table(_headers(comparison, _HEADERS), map(_effect_cells, effects), right=range(1, 8)))
        sets = [row for row in comparison.sets if row.candidate == run.label]
        if sets:
            out.append(table(_headers(comparison, _SET_HEADERS), map(_set_cells, sets), right=range(1, 8)))
            out.append("Intervals of set metrics come from resampling prompts and are conservative.\n")
        out += [
            f"- {escape(row.sentence, 1000)}" for row in _rows(comparison) if row.candidate == run.label
        ] + [""]
        failure = next(change for change in comparison.failures if change.candidate == run.label)
        out.append(
            f"Generation failures: {failure.baseline_failed} in the baseline, {failure.candidate_failed} in the "
            f"candidate, of {failure.pairs} clips (exact McNemar p = {failure.p_value:.3g}).\n"
        )
        out.append(_clip_section(comparison, run.label, clips))
    found = [
        row for row in comparison.slices if row.p_adjusted is not None and row.p_adjusted <= comparison.alpha
    ]
    if found:
        out.append("## Slices that moved (exploratory)\n")
        out.append(
            f"{len(found)} of {len(comparison.slices)} after Benjamini-Hochberg; they suggest, they do not decide.\n"
        )
        found.sort(key=lambda row: (row.p_adjusted, row.effect))
        out.append(
            table(
                ["Run", "Slice", *_headers(comparison, _HEADERS)],
                [
                    (row.candidate, f"{row.slice_kind}: {row.slice_name}", *_effect_cells(row))
                    for row in found[:slices]
                ],
                right=range(3, 10),
            )
        )
    if comparison.differences:
        out.append("## Settings that differ\n")
        labels = [run.label for run in comparison.runs]
        out.append(
            table(
                ["Area", "Setting", *map(escape, labels)],
                [(d.area, d.key, *(d.values[label] for label in labels)) for d in comparison.differences],
            )
        )
    if comparison.notes:
        out.append("## Notes\n")
        out += [f"- {escape(note, 1000)}" for note in comparison.notes]
    return "\n".join(out).rstrip() + "\n"


def _clip_section(comparison: Comparison, label: str, clips: int) -> str:
    counts = comparison.clip_counts()
    counts = counts[counts["candidate"] == label]
    outcomes = [outcome.value for outcome in ClipOutcome]
    text = table(
        ["Clips by metric", *(outcome.capitalize() for outcome in outcomes)],
        counts[["metric_id", *outcomes]].itertuples(index=False, name=None),
        right=range(1, len(outcomes) + 1),
    )
    rows = comparison.clips
    worst = rows[(rows["candidate"] == label) & (rows["outcome"] == ClipOutcome.REGRESSED.value)]
    worst = worst.assign(ratio=worst["change"] / worst["threshold"].replace(0.0, 1e-300)).nsmallest(
        clips, "ratio"
    )
    if worst.empty:
        return text
    listed = table(
        ["Biggest regressions", "Prompt", "Sample", "Baseline", "Candidate", "Change"],
        [
            (r.metric_id, r.prompt_id, r.sample_index, number(r.value_a), number(r.value_b), signed(r.change))
            for r in worst.to_records(index=False)
        ],
        right=(2, 3, 4, 5),
    )
    return f"{text}\n{listed}"
