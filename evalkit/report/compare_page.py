"""The compare page: what changed between runs, by how much, how sure that is, and clips that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.compare.figures import prompt_scatter
from evalkit.compare.render import ICONS, headline
from evalkit.compare.types import ClipOutcome, Comparison, Effect, SetChange, Word
from evalkit.errors import EvalkitError
from evalkit.report.media import ClipMedia, Links, prepare_media
from evalkit.report.numbers import decimals_for
from evalkit.report.pages import write_page
from evalkit.report.selection import clip_keys
from evalkit.report.svg import interval_glyph, themed

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

    from evalkit.runs.store import Run

__all__ = ["render_comparison"]

_TONES = {
    Word.BETTER: "good",
    Word.NO_WORSE: "good",
    Word.WORSE: "bad",
    Word.SLIGHTLY_WORSE: "bad",
    Word.NOT_COMPARABLE: "bad",
}
_PAIRS = 6


@dataclass(frozen=True)
class ForestRow:
    """A row of the table of changes, with its interval drawn."""

    effect: Effect
    icon: str
    tone: str
    decimals: int
    glyph: Markup | None


@dataclass(frozen=True)
class CandidateChanges:
    """Everything about one candidate."""

    label: str
    sentence: str
    worse: int
    better: int
    rows: list[ForestRow]
    sets: list[tuple[SetChange, str, str]]
    counts: list[dict[str, Any]]
    pairs: list[ClipPair]
    scatters: list[tuple[Effect, Markup]]
    slices: SliceTable | None
    failures: Any


@dataclass(frozen=True)
class PairSide:
    """One clip of a pair as a player shows it."""

    prompt: str
    preview: str | None
    poster: str | None
    flashes: int
    flashing: bool
    problem: str
    label: str
    value: float | None


@dataclass(frozen=True)
class ClipPair:
    """The same prompt and sample in both runs."""

    title: str
    outcome: str
    change: float
    decimals: int
    unit: str
    prompt: str
    category: str
    seed: int | None
    sides: list[PairSide]


@dataclass(frozen=True)
class SliceTable:
    """Changes by category: `cells[row][column]` is an `Effect` with its colour step, or None."""

    names: list[str]
    titles: list[tuple[str, int]]
    cells: list[list[tuple[Effect, int] | None]]


def render_comparison(comparison: Comparison, runs: Sequence[Run], out: Path) -> Path:
    """Write the page of a comparison.

    Args:
        comparison: from `evalkit.compare.runs.compare_runs`.
        runs: the same runs in the same order, for prompts and clips.
        out: folder; previews of the clips shown are copied beside the page.

    Returns:
        The HTML file.

    Raises:
        EvalkitError: the runs are not those of the comparison.
    """
    if [run.manifest.run_id for run in runs] != [run.run_id for run in comparison.runs]:
        raise EvalkitError(
            "the runs given to the compare page are not those of the comparison; give the same folders in the "
            "same order"
        )
    sentences = headline(comparison)
    candidates = [
        _candidate(comparison, position, sentences[position], runs[0], runs[position + 1], out)
        for position in range(len(comparison.candidates))
    ]
    page = out / "index.html"
    write_page(
        page,
        "compare.html.j2",
        styles=("base.css", "report.css", "compare.css"),
        scripts=("theme.js", "report.js"),
        context={
            "comparison": comparison,
            "candidates": candidates,
            "ai_generated": all(run.manifest.model.ai_generated for run in runs),
            "labels": [run.label for run in comparison.runs],
        },
    )
    return page


def _candidate(
    comparison: Comparison, position: int, sentence: str, baseline: Run, run: Run, out: Path
) -> CandidateChanges:
    label = comparison.candidates[position].label
    effects = [effect for effect in comparison.effects if effect.candidate == label]
    clips = comparison.clips[comparison.clips["candidate"] == label]
    return CandidateChanges(
        label=label,
        sentence=sentence,
        worse=sum(effect.word is Word.WORSE for effect in effects),
        better=sum(effect.word is Word.BETTER for effect in effects),
        rows=_forest(effects),
        sets=[
            (change, ICONS[change.word], _TONES.get(change.word, "plain"))
            for change in comparison.sets
            if change.candidate == label
        ],
        counts=_counts(effects, clips),
        pairs=_pairs(effects, clips, baseline, run, comparison.baseline.label, label, out),
        scatters=[
            (
                effect,
                themed(
                    prompt_scatter(comparison, effect.metric_id, label),
                    f"scatter-{position}-{number}",
                    f"{effect.title} by prompt: {comparison.baseline.label} across, {label} up",
                    omit=effect.title,
                ),
            )
            for number, effect in enumerate(effects)
            if effect.effect is not None
        ],
        slices=_slices(comparison, label, effects),
        failures=next((change for change in comparison.failures if change.candidate == label), None),
    )


def _scale(effect: Effect) -> float:
    return effect.deviation or abs(effect.effect or 0.0) or 1.0


def _forest(effects: list[Effect]) -> list[ForestRow]:
    reach = [
        abs(end) / _scale(effect)
        for effect in effects
        for end in (effect.low, effect.high)
        if end is not None
    ]
    # One very wide interval would flatten all others: it gets an arrow.
    limit = min(3.0, max([0.5, *reach]))
    rows = []
    for effect in effects:
        tone, scale = _TONES.get(effect.word, "plain"), _scale(effect)
        half = None if effect.low is None or effect.high is None else (effect.high - effect.low) / 2
        glyph = None
        if effect.effect is not None:
            glyph = interval_glyph(
                effect.effect / scale,
                None if effect.low is None else effect.low / scale,
                None if effect.high is None else effect.high / scale,
                None if effect.margin is None else effect.margin / scale,
                limit=limit,
                tone=tone,
            )
        rows.append(
            ForestRow(effect, ICONS[effect.word], tone, decimals_for(effect.effect or 0.0, half), glyph)
        )
    return rows


def _counts(effects: list[Effect], clips: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for effect in effects:
        outcomes = clips[clips["metric_id"] == effect.metric_id]["outcome"].value_counts()
        rows.append(
            {"title": effect.title, "direction": effect.direction}
            | {outcome.name.lower(): int(outcomes.get(outcome.value, 0)) for outcome in ClipOutcome}
        )
    return rows


def _pairs(
    effects: list[Effect],
    clips: pd.DataFrame,
    baseline: Run,
    run: Run,
    baseline_label: str,
    label: str,
    out: Path,
) -> list[ClipPair]:
    """The clips that moved furthest for their metric, regressions first, each clip once."""
    moved = clips[clips["outcome"].isin([ClipOutcome.REGRESSED.value, ClipOutcome.FIXED.value])]
    moved = moved.assign(size=moved["change"].abs() / moved["threshold"].where(moved["threshold"] > 0, 1.0))
    moved = moved.sort_values(["size", "prompt_id", "sample_index"], ascending=[False, True, True])
    moved = moved.drop_duplicates(["prompt_id", "group", "sample_index"])
    chosen = [
        moved[moved["outcome"] == outcome.value].head(_PAIRS)
        for outcome in (ClipOutcome.REGRESSED, ClipOutcome.FIXED)
    ]
    if not any(len(part) for part in chosen):
        return []
    import pandas as pd

    table = pd.concat(chosen)
    by_id = {effect.metric_id: effect for effect in effects}
    prompts = run.suite.by_id
    media = (prepare_media(baseline), prepare_media(run))
    links = (Links(baseline, out), Links(run, out))
    pairs = []
    for row, key in zip(table.to_dict("records"), clip_keys(table), strict=True):
        effect = by_id[row["metric_id"]]
        prompt = prompts.get(key[0])
        text = prompt.text if prompt else key[0]
        sides = [
            _side(media[side].get(row[f"clip_id_{suffix}"]), links[side], text, name, row[f"value_{suffix}"])
            for side, (suffix, name) in enumerate((("a", baseline_label), ("b", label)))
        ]
        decimals = decimals_for(row["change"], abs(row["threshold"]) or None)
        seed = row["seed_b"]
        pairs.append(
            ClipPair(
                effect.title,
                str(row["outcome"]),
                float(row["change"]),
                decimals,
                effect.unit,
                text,
                str(row["category"]),
                None if seed is None or seed != seed else int(seed),
                sides,
            )
        )
    return pairs


def _side(media: ClipMedia | None, links: Links, prompt: str, label: str, value: Any) -> PairSide:
    facts = media.facts if media else None
    return PairSide(
        prompt=prompt,
        preview=links.media(media.preview) if media else None,
        poster=links.media(media.poster) if media else None,
        flashes=facts.flashes if facts else 0,
        flashing=bool(facts and facts.flashing),
        problem=media.problem if media else "no clip",
        label=label,
        value=None if value is None or value != value else float(value),
    )


def _slices(comparison: Comparison, label: str, effects: list[Effect]) -> SliceTable | None:
    rows = {
        (row.slice_name, row.metric_id): row
        for row in comparison.slices
        if row.candidate == label and row.slice_kind == "category"
    }
    names = sorted({name for name, _ in rows})
    if len(names) < 2:
        return None
    spread = {effect.metric_id: effect.deviation for effect in effects}
    cells: list[list[tuple[Effect, int] | None]] = []
    for name in names:
        line: list[tuple[Effect, int] | None] = []
        for effect in effects:
            row = rows.get((name, effect.metric_id))
            if row is None or row.effect is None:
                line.append(None)
                continue
            scale = spread[effect.metric_id]
            level = 0 if not scale else max(-4, min(4, round(row.effect / scale * 2.5)))
            line.append((row, level))
        cells.append(line)
    titles = [
        (
            f"{effect.title}{f' ({effect.unit})' if effect.unit else ''}",
            decimals_for(0.0, effect.deviation or None),
        )
        for effect in effects
    ]
    return SliceTable(names, titles, cells)
