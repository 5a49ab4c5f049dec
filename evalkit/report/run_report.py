"""The run report: one page and one Markdown file that say what a run found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.report.evidence import Evidence, explain
from evalkit.report.media import ClipMedia, Links, prepare_media, write_frames
from evalkit.report.numbers import format_count, format_seconds
from evalkit.report.pages import environment, write_page
from evalkit.report.plots import (
    MOST_DOTS,
    cost_against_quality,
    courses,
    distribution,
    score_against_frame,
)
from evalkit.report.selection import Pick, SeriesTable, clip_keys, most_telling
from evalkit.report.summary import MetricSummary, RunSummary, category_table, group_table, summarise
from evalkit.report.svg import inline_svg, sparkline
from evalkit.report.tables import TABLE_FORMATS, Table, run_tables, to_markdown, write_files
from evalkit.runs.files import write_text

if TYPE_CHECKING:
    from markupsafe import Markup

    from evalkit.runs.store import Run

__all__ = ["Verdict", "WorstClip", "render_report", "run_verdict"]

_WORST = 12


class Verdict(NamedTuple):
    """How a run went: `good`, `bad` or `info`, an icon, a word and a sentence."""

    tone: str
    icon: str
    word: str
    sentence: str


@dataclass(frozen=True)
class WorstClip:
    """One card of the strip of worst clips."""

    pick: Pick
    prompt: str
    category: str
    seed: int | None
    evidence: Evidence
    spark: Markup
    preview: str | None
    poster: str | None
    frames: list[tuple[int, str]]
    flashes: int
    flashing: bool
    anchor: str
    problem: str


def run_verdict(summary: RunSummary) -> Verdict:
    """Whether the run is complete, and in a sentence what is not."""
    manifest = summary.run.manifest
    if manifest.status in ("running", "generated"):
        return Verdict("bad", "✕", "Not finished", "Run the same command again to continue it.")
    failed, planned = len(summary.failures), len(summary.run.generations)
    if failed:
        clips = f"{format_count(failed)} of {format_count(planned)} clips do not exist"
        return Verdict("bad", "✕", "Incomplete", f"{clips}; their errors are listed below.")
    broken = sum(metric.counts.get("failed", 0) for metric in summary.metrics)
    if broken:
        return Verdict("bad", "✕", "Incomplete", f"{format_count(broken)} scores failed; reasons are below.")
    skipped = [metric for metric in summary.metrics if metric.counts.get("skipped")]
    if skipped:
        names = ", ".join(metric.record.title for metric in skipped)
        return Verdict("info", "◐", "Complete, with gaps", f"Skipped, with reasons below: {names}.")
    return Verdict(
        "good", "✓", "Complete", "Every planned clip exists and every score has a value or a reason."
    )


def render_report(
    run: Run,
    out: Path | None = None,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the report of a run: `index.html`, `report.md` and `tables/`.

    Args:
        run: the run.
        out: folder; defaults to `RUN/report`. Elsewhere the previews are copied beside the page.
        workers: threads that make previews; defaults to the number of cores.
        progress: called with (done, total) while previews are made.

    Returns:
        The HTML file.
    """
    folder = out or run.folder / "report"
    summary = summarise(run)
    picks = most_telling(summary.quality, _WORST)
    media = prepare_media(run, workers=workers, progress=progress)
    worst = worst_cards(summary, picks, media, Links(run, folder))
    tables = run_tables(summary)
    write_files(tables, folder / "tables", TABLE_FORMATS)
    page = folder / "index.html"
    write_page(
        page,
        "report.html.j2",
        styles=("base.css", "report.css"),
        scripts=("theme.js", "report.js"),
        context=_context(summary, tables, worst, run.folder / "gallery" / "index.html", folder),
    )
    markdown = (
        environment()
        .get_template("report.md.j2")
        .render(
            manifest=run.manifest,
            verdict=run_verdict(summary),
            tables=[(table.title, to_markdown(table)) for table in tables],
            worst=worst,
            facts=what_ran(summary),
        )
    )
    write_text(folder / "report.md", markdown)
    return page


def worst_cards(
    summary: RunSummary, picks: list[Pick], media: dict[str, ClipMedia], links: Links
) -> list[WorstClip]:
    """Cards for picked clips, with evidence, sparkline and the frames of the worst moment."""
    run, series = summary.run, SeriesTable(summary, {pick.key for pick in picks})
    prompts = {prompt.id: prompt for prompt in run.suite.prompts}
    seeds = {
        key: None if seed != seed else int(seed)
        for key, seed in zip(clip_keys(run.generations), run.generations["seed"].tolist(), strict=True)
    }
    cards = []
    for pick in picks:
        clip = media[pick.clip_id]
        kind, window = series.kind(pick.metric.id), series.window(pick.key, pick.metric)
        evidence = explain(pick.metric, pick.value, pick.percentile, window, kind, clip.facts)
        values = series.values(pick.key, pick.metric.id)
        spark = sparkline(
            [] if values is None else values.tolist(),
            window=window,
            transition=kind == "transition",
            label=f"{pick.metric.record.title} over time",
        )
        frames = [
            (int(path.name.split(".f")[1].split(".")[0]), str(links.media(path)))
            for path in write_frames(run, clip, evidence.frames)
        ]
        prompt = prompts.get(pick.key[0])
        cards.append(
            WorstClip(
                pick=pick,
                prompt=prompt.text if prompt else pick.key[0],
                category=prompt.category if prompt else "",
                seed=seeds[pick.key],
                evidence=evidence,
                spark=spark,
                preview=links.media(clip.preview),
                poster=links.media(clip.poster),
                frames=frames,
                flashes=clip.facts.flashes if clip.facts else 0,
                flashing=bool(clip.facts and clip.facts.flashing),
                anchor="/".join(map(str, pick.key)),
                problem=clip.problem,
            )
        )
    return cards


def what_ran(summary: RunSummary) -> list[tuple[str, str]]:
    """The run in name and value pairs: model, suite, samples, machine, versions, command."""
    manifest = summary.run.manifest
    pairs = [
        ("Model", f"{manifest.model.id} {manifest.model.revision}".strip()),
        ("Licence of the model", manifest.model.licence),
        ("Suite", f"{manifest.suite.name} {manifest.suite.version}, {manifest.suite.num_prompts} prompts"),
        ("Suite digest", manifest.suite.digest),
        ("Command", " ".join(manifest.command)),
    ]
    pairs += [
        (f"Weights {name}" if name else "Weights", digest) for name, digest in manifest.model.weights.items()
    ]
    pairs += [(_words(name), _plain(value)) for name, value in manifest.settings.items()]
    pairs += [(_words(name), _plain(value)) for name, value in manifest.environment.items()]
    if manifest.reference:
        pairs += [
            (f"Reference {_words(name).lower()}", _plain(value)) for name, value in manifest.reference.items()
        ]
    if manifest.model.ignored_params:
        pairs.append(("Settings the model ignored", ", ".join(manifest.model.ignored_params)))
    pairs += [("evalkit", manifest.evalkit_version), ("Run", manifest.run_id)]
    return [(name, value) for name, value in pairs if value]


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return "" if value is None else str(value)


def _context(
    summary: RunSummary, tables: list[Table], worst: list[WorstClip], gallery: Path, folder: Path
) -> dict[str, Any]:
    import os

    manifest = summary.run.manifest
    seconds = summary.run.generations["seconds"].dropna()
    heat = category_table(summary.quality)
    cost = next((metric for metric in summary.cost if metric.id == "cost.seconds_per_clip"), None)
    trade_offs: list[tuple[MetricSummary, Markup]] = []
    for metric in summary.quality if cost is not None else []:
        assert cost is not None
        figure = cost_against_quality(cost, metric)
        if figure is not None:
            label = f"{metric.record.title} against seconds per clip"
            trade_offs.append((metric, inline_svg(figure, f"cost-{len(trade_offs)}", label)))
    return {
        "manifest": manifest,
        "summary": summary,
        "verdict": run_verdict(summary),
        "ai_generated": manifest.model.ai_generated,
        "num_samples": int(summary.run.generations.groupby(["prompt_id", "group"]).size().max())
        if len(summary.run.generations)
        else 0,
        "total_seconds": format_seconds(float(seconds.sum())) if len(seconds) else None,
        "heat": heat if len(heat.names) > 1 else None,
        "groups": group_table(summary),
        "worst": worst,
        "distributions": [
            (
                metric,
                inline_svg(
                    distribution(metric), f"dist-{index}", f"Distribution of {metric.record.title} over clips"
                ),
            )
            for index, metric in enumerate(summary.scored)
            if not metric.constant
        ],
        "constant": [metric for metric in summary.scored if metric.constant and metric.num_ok > 1],
        "courses": [
            (
                metric,
                inline_svg(
                    score_against_frame(metric, values, kind),
                    f"course-{index}",
                    f"{metric.record.title} against frame: median and middle 80% of the clips",
                ),
            )
            for index, (metric, values, kind) in enumerate(courses(summary))
        ],
        "trade_offs": trade_offs,
        "most_dots": f"{MOST_DOTS:,}",
        "facts": what_ran(summary),
        "tables": [(table.name, table.title) for table in tables],
        "gallery": Path(os.path.relpath(gallery, folder)).as_posix() if gallery.is_file() else None,
    }
