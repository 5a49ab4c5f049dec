"""The gallery: every clip of a run to look at, the telling ones first, with a random control sample beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.compare.check import Obstacle, refuse, suite_obstacle
from evalkit.compare.clips import clip_table, paired_changes
from evalkit.report.evidence import explain
from evalkit.report.media import ClipMedia, Links, prepare_media
from evalkit.report.numbers import round_significant
from evalkit.report.pages import script_data, write_page
from evalkit.report.selection import (
    ClipKey,
    SeriesTable,
    clip_keys,
    control_sample,
    most_telling,
    worst_clips,
)
from evalkit.report.summary import RunSummary, summarise
from evalkit.runs.files import write_text

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.runs.store import Run

__all__ = ["ReportedFailure", "render_gallery"]

WORST = 8
PER_CATEGORY = 6
CHANGED = 24
CONTROL = 12
BLOCK = 256
"""Clips whose series share one data file: loaded when one of them is looked at."""


@dataclass(frozen=True)
class ReportedFailure:
    """A failure report about a clip of the run.

    Attributes:
        clip_id: the clip.
        id, category, severity, status, title: of the report.
        first, last: reported frames, inclusive, or None for the whole clip.
        restricted: the report is about safety; its clip is left out of the gallery.
    """

    clip_id: str
    id: str
    category: str
    severity: str
    status: str
    title: str = ""
    first: int | None = None
    last: int | None = None
    restricted: bool = False


def render_gallery(
    run: Run,
    baseline: Run | None = None,
    failures: Sequence[ReportedFailure] = (),
    out: Path | None = None,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the gallery of a run: a page, and its data as classic scripts beside it.

    Args:
        run: the run.
        baseline: an earlier run on the same suite; adds what regressed and what was fixed, and A/B.
        failures: reports about clips of this run.
        out: folder; defaults to `RUN/gallery`. Elsewhere previews are copied beside the page.
        workers: threads that make previews; defaults to the number of cores.
        progress: called with (done, total) while previews are made.

    Returns:
        The HTML file.

    Raises:
        EvidenceError: the baseline was run on other prompts.
    """
    folder = out or run.folder / "gallery"
    if baseline is not None and (text := suite_obstacle(baseline, run)):
        refuse([Obstacle("", text)])
    summary = summarise(run)
    changes = _changes(summary, baseline)
    views = _views(summary, changes, failures)
    hidden = {failure.clip_id for failure in failures if failure.restricted}
    rows = _generations(run, hidden)
    featured = {key for view in views for section in view["sections"] for key, _ in section["items"]}
    clip_ids = {row["key"]: row["clip_id"] for row in rows if row["clip_id"]}
    media = prepare_media(
        run,
        featured={clip_ids[key] for key in featured if key in clip_ids},
        workers=workers,
        progress=progress,
    )
    links = Links(run, folder)
    index = {row["key"]: position for position, row in enumerate(rows)}
    series = SeriesTable(summary)
    _write_series(summary, series, rows, media, folder)
    data = {
        "run": _run_facts(run),
        "metrics": _metric_facts(summary, series),
        "clips": _clip_facts(summary, rows, media, links, failures),
        **_interned(run, rows),
        "views": _numbered(views, index, summary),
        "baseline": _baseline_facts(baseline, summary, changes, rows, links),
        "block": BLOCK,
    }
    write_text(folder / "data" / "clips.js", script_data("gallery", data))
    page = folder / "index.html"
    report = run.folder / "report" / "index.html"
    write_page(
        page,
        "gallery.html.j2",
        styles=("base.css", "gallery.css"),
        scripts=GALLERY_SCRIPTS,
        context={
            "manifest": run.manifest,
            "num_clips": len(clip_ids),
            "has_baseline": baseline is not None,
            "report": "../report/index.html" if links.inside and folder.parent == run.folder else None,
            "report_exists": report.is_file(),
        },
    )
    return page


GALLERY_SCRIPTS = (
    "theme.js",
    "gallery-data.js",
    "gallery-players.js",
    "gallery-timeline.js",
    "gallery-detail.js",
    "gallery-grid.js",
    "gallery-keys.js",
)


def _generations(run: Run, hidden: set[str]) -> list[dict[str, Any]]:
    rows = run.generations.to_dict("records")
    for row, key in zip(rows, clip_keys(run.generations), strict=True):
        row["key"] = key
        row["clip_id"] = row["clip_id"] if isinstance(row["clip_id"], str) else None
    return [{str(name): value for name, value in row.items()} for row in rows if row["clip_id"] not in hidden]


def _changes(summary: RunSummary, baseline: Run | None) -> pd.DataFrame | None:
    """Clip by clip against the baseline; metrics that mean something else there are left out."""
    if baseline is None:
        return None
    from evalkit.compare.check import metric_obstacle

    theirs = {record.id: record for record in baseline.manifest.metrics}
    records = [
        metric.record
        for metric in summary.quality
        if metric.id in theirs and not metric_obstacle(theirs[metric.id], metric.record)
    ]
    return clip_table(paired_changes(baseline, summary.run, records), {}, "run")


def _views(
    summary: RunSummary, changes: pd.DataFrame | None, failures: Sequence[ReportedFailure]
) -> list[dict[str, Any]]:
    """Views of the gallery; an item is (clip key, metric id or None)."""
    worst = [
        _section(
            metric.record.title,
            f"{'highest' if metric.lower_is_better else 'lowest'} of {metric.num_ok:,}",
            [(pick.key, metric.id) for pick in worst_clips(metric, WORST) if pick.severity > 0],
        )
        for metric in summary.quality
    ]
    categories = []
    names = sorted(set(summary.run.generations["category"]))
    for name in names if len(names) > 1 else []:
        picks = most_telling(summary.quality, PER_CATEGORY, category=name)
        categories.append(
            _section(name, "most telling clips", [(pick.key, pick.metric.id) for pick in picks])
        )
    views = [
        _view("worst", "Worst", "The worst clips under each metric.", worst),
        _view("categories", "By category", "The most telling clips of each category.", categories),
    ]
    if changes is not None:
        for outcome, name in (("regressed", "Regressed"), ("fixed", "Fixed")):
            note = f"Moved further than another seed of the same prompt would, towards {'worse' if outcome == 'regressed' else 'better'}."
            views.append(_view(outcome, name, note, _changed(summary, changes, outcome)))
    reported = {failure.clip_id for failure in failures}
    keys = [
        key
        for key, clip_id in zip(
            clip_keys(summary.run.generations), summary.run.generations["clip_id"], strict=True
        )
        if clip_id in reported
    ]
    if keys:
        views.append(
            _view(
                "reported",
                "Reported",
                "Clips with failure reports.",
                [_section("", "", [(k, None) for k in keys])],
            )
        )
    control = control_sample(summary, CONTROL)
    views.append(
        _view(
            "control",
            "Random sample",
            "Drawn at random: what this run looks like when nobody picks.",
            [_section("", "", [(key, None) for key in control])],
        )
    )
    return [view for view in views if view["sections"]]


def _section(title: str, note: str, items: list[tuple[ClipKey, str | None]]) -> dict[str, Any]:
    return {"title": title, "note": note, "items": items}


def _view(identifier: str, name: str, note: str, sections: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": identifier,
        "name": name,
        "note": note,
        "sections": [section for section in sections if section["items"]],
    }


def _changed(summary: RunSummary, changes: pd.DataFrame, outcome: str) -> list[dict[str, Any]]:
    rows = changes[changes["outcome"] == outcome]
    sections = []
    for metric in summary.quality:
        table = rows[rows["metric_id"] == metric.id]
        table = table.assign(size=table["change"].abs())
        table = table.sort_values(
            ["size", "prompt_id", "group", "sample_index"], ascending=[False, True, True, True]
        )
        items = [(key, metric.id) for key in clip_keys(table.head(CHANGED))]
        sections.append(_section(metric.record.title, f"{len(table):,} {outcome}", list(items)))
    return sections


def _numbered(
    views: list[dict[str, Any]], index: dict[ClipKey, int], summary: RunSummary
) -> list[dict[str, Any]]:
    """Views with positions in `clips` and `metrics` in place of keys and ids."""
    metrics = {metric.id: position for position, metric in enumerate(summary.metrics)}
    numbered = []
    for view in views:
        sections = []
        for section in view["sections"]:
            items = [
                [index[key], None if metric_id is None else metrics[metric_id]]
                for key, metric_id in section["items"]
                if key in index
            ]
            if items:
                sections.append({**section, "items": items})
        if sections:
            numbered.append({**view, "sections": sections})
    return numbered


def _run_facts(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "id": manifest.run_id,
        "folder": run.folder.resolve().name,
        "model": manifest.model.id,
        "revision": manifest.model.revision,
        "suite": manifest.suite.name,
        "command": manifest.command,
        "generated": manifest.model.ai_generated,
        "kind": manifest.kind,
    }


def _metric_facts(summary: RunSummary, series: SeriesTable) -> list[dict[str, Any]]:
    return [
        {
            "id": metric.id,
            "title": metric.record.title,
            "description": metric.record.description,
            "direction": metric.record.direction,
            "unit": metric.record.unit,
            "decimals": metric.clip_decimals,
            "kind": series.kind(metric.id),
            "typical": series.typical.get(metric.id),
            "leaf": metric.record.leaf,
            "cost": metric.id.startswith("cost."),
            "mean": metric.interval.estimate if metric.interval else None,
        }
        for metric in summary.metrics
    ]


def _clip_facts(
    summary: RunSummary,
    rows: list[dict[str, Any]],
    media: dict[str, ClipMedia],
    links: Links,
    failures: Sequence[ReportedFailure],
) -> list[dict[str, Any]]:
    values, ranks, missing = _score_tables(summary)
    reports: dict[str, list[dict[str, Any]]] = {}
    for failure in failures:
        entry = {
            "id": failure.id,
            "category": failure.category,
            "severity": failure.severity,
            "status": failure.status,
            "title": failure.title,
            "first": failure.first,
            "last": failure.last,
        }
        reports.setdefault(failure.clip_id, []).append(entry)
    empty: list[Any] = [None] * len(summary.metrics)
    clips = []
    for row in rows:
        key = row["key"]
        clip = media.get(row["clip_id"]) if row["clip_id"] else None
        facts: dict[str, Any] = {
            "key": "/".join(map(str, key)),
            "prompt": key[0],
            "group": key[1],
            "category": str(row["category"]),
            "sample": key[2],
            "seed": _whole(row["seed"]),
            "clip": row["clip_id"],
            "file": Path(row["path"]).name if isinstance(row["path"], str) else None,
            "status": str(row["status"]),
            "error": row["error"] if isinstance(row["error"], str) else None,
            "frames": _whole(row["num_frames"]),
            "fps": row["fps"] if isinstance(row["fps"], str) else None,
            "width": _whole(row["width"]),
            "height": _whole(row["height"]),
            "seconds": None if row["seconds"] != row["seconds"] else row["seconds"],
            "settings": row["params"] if isinstance(row["params"], str) else "{}",
            "values": values.get(key, empty),
            "ranks": ranks.get(key, empty),
            "missing": missing.get(key, {}),
            "reports": reports.get(row["clip_id"], []),
        }
        if clip is not None:
            facts |= {
                "preview": links.media(clip.preview),
                "poster": links.media(clip.poster),
                "strip": links.media(clip.strip),
                "stripFrames": clip.strip_frames if clip.strip else [],
                "heat": links.media(clip.heat),
                "original": links.original(clip.original),
                "flashes": clip.facts.flashes if clip.facts and clip.facts.flashing else 0,
                "problem": clip.problem,
            }
        clips.append(facts)
    return clips


def _whole(value: Any) -> int | None:
    return None if value is None or value != value else int(value)


def _score_tables(
    summary: RunSummary,
) -> tuple[dict[ClipKey, list[float | None]], dict[ClipKey, list[int | None]], dict[ClipKey, dict[int, str]]]:
    """Value, rank (percent of clips that this one is better than) and reason by clip, in the metrics' order."""
    values: dict[ClipKey, list[float | None]] = {}
    ranks: dict[ClipKey, list[int | None]] = {}
    missing: dict[ClipKey, dict[int, str]] = {}
    count = len(summary.metrics)
    for position, metric in enumerate(summary.metrics):
        table = metric.ranked
        for key, value, rank in zip(clip_keys(table), table["value"], table["percentile"], strict=True):
            values.setdefault(key, [None] * count)[position] = round_significant(float(value), 6)
            ranks.setdefault(key, [None] * count)[position] = round(float(rank))
        gaps = metric.rows[metric.rows["status"] != "ok"]
        for key, status, reason in zip(clip_keys(gaps), gaps["status"], gaps["reason"], strict=True):
            text = str(status).replace("_", " ")
            missing.setdefault(key, {})[position] = f"{text}: {reason}" if isinstance(reason, str) else text
    return values, ranks, missing


def _interned(run: Run, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Texts that many clips share, by key."""
    used = {row["key"][0] for row in rows}
    prompts = {
        prompt.id: {"text": prompt.text, "negative": prompt.negative, "tags": list(prompt.tags)}
        for prompt in run.suite.prompts
        if prompt.id in used
    }
    return {"prompts": prompts}


def _baseline_facts(
    baseline: Run | None,
    summary: RunSummary,
    changes: pd.DataFrame | None,
    rows: list[dict[str, Any]],
    links: Links,
) -> dict[str, Any] | None:
    """The baseline's clip, values and outcomes for each clip, in the order of `clips`."""
    if baseline is None or changes is None:
        return None
    theirs = {row["key"]: row for row in _generations(baseline, set())}
    media = prepare_media(baseline)
    values, _, _ = _score_tables(_aligned(summarise(baseline), summary))
    positions = {metric.id: position for position, metric in enumerate(summary.metrics)}
    outcomes: dict[ClipKey, dict[int, list[Any]]] = {}
    columns = zip(
        clip_keys(changes), changes["metric_id"], changes["outcome"], changes["change"], strict=True
    )
    for key, metric_id, outcome, change in columns:
        entry = [str(outcome), None if change != change else round_significant(float(change), 4)]
        outcomes.setdefault(key, {})[positions[metric_id]] = entry
    clips: list[dict[str, Any]] = []
    for row in rows:
        key = row["key"]
        other = theirs.get(key)
        if other is None or not other["clip_id"]:
            clips.append({"changes": outcomes.get(key, {})})
            continue
        clip = media[other["clip_id"]]
        clips.append(
            {
                "clip": other["clip_id"],
                "preview": links.media(clip.preview),
                "poster": links.media(clip.poster),
                "frames": _whole(other["num_frames"]),
                "fps": other["fps"] if isinstance(other["fps"], str) else None,
                "flashes": clip.facts.flashes if clip.facts and clip.facts.flashing else 0,
                "values": values.get(key, [None] * len(summary.metrics)),
                "changes": outcomes.get(key, {}),
            }
        )
    manifest = baseline.manifest
    return {
        "id": manifest.run_id,
        "name": f"{manifest.model.id} {manifest.model.revision}".strip(),
        "folder": baseline.folder.resolve().name,
        "clips": clips,
    }


def _aligned(baseline: RunSummary, summary: RunSummary) -> RunSummary:
    """The baseline's metrics in the order of the run's; what it lacks is empty."""
    own = {metric.id: metric for metric in baseline.metrics}
    from dataclasses import replace

    empty = [
        own.get(metric.id) or replace(metric, rows=metric.rows.iloc[:0], interval=None)
        for metric in summary.metrics
    ]
    return replace(baseline, metrics=empty)


def _write_series(
    summary: RunSummary,
    series: SeriesTable,
    rows: list[dict[str, Any]],
    media: dict[str, ClipMedia],
    folder: Path,
) -> None:
    """Series, window and sentence of every clip and metric, a file per metric and block of clips."""
    for position, metric in enumerate(summary.metrics):
        table = metric.ranked
        scores = {
            key: (float(value), float(rank))
            for key, value, rank in zip(clip_keys(table), table["value"], table["percentile"], strict=True)
        }
        blocks: dict[int, dict[int, list[Any]]] = {}
        for number, row in enumerate(rows):
            key = row["key"]
            if key not in scores:
                continue
            value, rank = scores[key]
            values, window = series.values(key, metric.id), series.window(key, metric)
            clip = media.get(row["clip_id"])
            evidence = explain(
                metric, value, rank, window, series.kind(metric.id), clip.facts if clip else None
            )
            blocks.setdefault(number // BLOCK, {})[number] = [
                [] if values is None else [round_significant(float(v)) for v in values],
                None if window is None else [window.first, window.last, window.peak],
                evidence.sentence,
            ]
        for block in range(len(rows) // BLOCK + 1):
            name = f"series-{position}-{block}"
            write_text(folder / "data" / f"{name}.js", script_data(name, blocks.get(block, {})))
