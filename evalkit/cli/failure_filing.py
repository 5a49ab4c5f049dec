"""`evalkit failures new`: file a report by questions, by flags, or as drafts for the worst clips of a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evalkit.cli.failure_options import Actor, Db, Json, open_failures, say, who_am_i

if TYPE_CHECKING:
    from evalkit.failures.record import FailureReport
    from evalkit.failures.store import FailureStore

__all__ = ["new"]


def new(
    run: Annotated[
        Path | None, typer.Option(help="Run that the clip comes from; fills in what it knows.")
    ] = None,
    clip: Annotated[str, typer.Option(help="Clip of the run: its id, or PROMPT_ID#SAMPLE.")] = "",
    file: Annotated[Path | None, typer.Option(help="A clip that no run knows.")] = None,
    category: Annotated[
        str, typer.Option(help="class.leaf; `evalkit failures schema --taxonomy` lists all.")
    ] = "",
    severity: Annotated[
        str, typer.Option(help="S0 cosmetic, S1 noticeable, S2 unusable, S3 harm or blocker.")
    ] = "",
    model: Annotated[str, typer.Option(help="Model and version, NAME@VERSION (from --run by default).")] = "",
    prompt: Annotated[str, typer.Option(help="The prompt (from --run by default).")] = "",
    title: Annotated[str, typer.Option(help="One line.")] = "",
    expected: Annotated[str, typer.Option(help="What you expected.")] = "",
    observed: Annotated[str, typer.Option(help="What you saw.")] = "",
    frames: Annotated[
        list[str] | None,
        typer.Option(help="FIRST-LAST frame that shows it, from 0, both included; repeatable."),
    ] = None,
    box: Annotated[
        list[str] | None, typer.Option(help="FRAME:X,Y,W,H in shares of the picture; repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed (from --run by default).")] = None,
    attach: Annotated[
        list[Path] | None, typer.Option(help="PNG, JPEG, JSON or text file; repeatable.")
    ] = None,
    workflow: Annotated[
        Path | None, typer.Option(help="The raw workflow file (JSON) that made the clip.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Free label; repeatable.")] = None,
    worst: Annotated[
        int, typer.Option(help="Draft reports for this many worst clips of --run (see --baseline).")
    ] = 0,
    baseline: Annotated[
        Path | None, typer.Option(help="With --worst: the biggest drops against this run.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="With --worst: only these metrics; repeatable.")
    ] = None,
    gate: Annotated[
        Path | None,
        typer.Option(
            help="Draft reports for the checks that regressed in this gate.json (with --run, --baseline)."
        ),
    ] = None,
    db: Db = "",
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """File a failure report: by questions, by flags, or as drafts for the worst clips of a run."""
    from evalkit.failures.record import parse_report

    store = open_failures(db)
    who = who_am_i(actor)
    if worst or gate is not None:
        _draft(store, run, baseline, worst, metric or [], gate, who, as_json)
        return
    fields = _fields(store, run, clip, file, category, frames or [], who)
    evidence = fields.setdefault("evidence", {})
    given = {"category": category, "severity": severity, "prompt": prompt, "title": title}
    fields |= {name: value for name, value in given.items() if value}
    if model:
        name, _, version = model.partition("@")
        fields["model"] = {"name": name, "version": version or "unknown"}
    if seed is not None:
        fields.setdefault("reproduction", {})["seed"] = seed
    fields["observation"] = {
        "expected": expected,
        "observed": observed,
        "segments": [_segment(text) for text in frames or []],
        "boxes": [_box(text) for text in box or []],
    }
    fields["tags"] = tag or []
    if sys.stdin.isatty():
        _ask(fields)
    fields["source"] = {"kind": "human", "name": who}
    if attach:
        from evalkit.failures.ingest import ingest_attachment

        evidence["attachments"] = [
            ingest_attachment(store, path.read_bytes(), name=path.name, actor=who) for path in attach
        ]
    if workflow is not None:
        from evalkit.failures.ingest import ingest_attachment

        kept = ingest_attachment(store, workflow.read_bytes(), name=workflow.name, actor=who)
        fields.setdefault("reproduction", {})["workflow"] = kept
    if not evidence:
        evidence["statement"] = observed or fields["observation"]["observed"]
    report = parse_report(fields)
    _suggest(store, report)
    store.add(report, actor=who)
    if file is not None:
        from evalkit.failures.detect import add_detectors

        report = add_detectors(store, report.id, actor=who)
    say(report, as_json, f"filed {report.id} ({report.category}, {report.severity})")


def _fields(
    store: FailureStore,
    run: Path | None,
    clip: str,
    file: Path | None,
    category: str,
    frames: list[str],
    who: str,
) -> dict[str, Any]:
    if file is not None:
        from evalkit.failures.ingest import ingest_clip

        return {"evidence": {"clip": ingest_clip(store, file, name=file.name, actor=who).model_dump()}}
    if run is None:
        return {}
    from evalkit.failures.drafts import clip_fields, find_clip, keep_clip
    from evalkit.failures.record import Segment
    from evalkit.runs.store import open_run

    opened = open_run(run)
    row = find_clip(opened, clip)
    segments = [Segment.model_validate(_segment(text)) for text in frames]
    fields = clip_fields(opened, row, segments, category)
    fields["evidence"]["clip"] |= keep_clip(store, opened, row, actor=who)
    return fields


def _segment(text: str) -> dict[str, int]:
    first, _, last = text.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        raise typer.BadParameter(f"--frames {text!r}: write FIRST-LAST, e.g. 12-30")
    return {"first": int(first), "last": int(last or first)}


def _box(text: str) -> dict[str, float]:
    frame, _, rest = text.partition(":")
    try:
        x, y, w, h = (float(part) for part in rest.split(","))
        return {"frame": int(frame), "x": x, "y": y, "w": w, "h": h}
    except ValueError:
        raise typer.BadParameter(f"--box {text!r}: write FRAME:X,Y,W,H, e.g. 12:0.1,0.2,0.3,0.4") from None


def _ask(fields: dict[str, Any]) -> None:
    """Ask for what is still missing, each with its choices and definitions."""
    from evalkit.failures.taxonomy import load_taxonomy

    taxonomy = load_taxonomy()
    if not fields.get("category"):
        for family in taxonomy.classes:
            typer.echo(f"  {family.id:<11} {family.definition}", err=True)
        family_id = _choose("Class", [family.id for family in taxonomy.classes])
        family = next(family for family in taxonomy.classes if family.id == family_id)
        for leaf in family.leaves:
            typer.echo(f"  {leaf.id.partition('.')[2]:<16} {leaf.definition} ({leaf.example})", err=True)
        fields["category"] = f"{family_id}.{_choose('Leaf', [e.id.partition('.')[2] for e in family.leaves])}"
    if not fields.get("severity"):
        for level in taxonomy.severities:
            typer.echo(f"  {level.id} {level.title}: {level.definition}", err=True)
        fields["severity"] = _choose("Severity", [level.id for level in taxonomy.severities])
    if not fields.get("model"):
        name = typer.prompt("Model", err=True)
        fields["model"] = {"name": name, "version": typer.prompt("Version", err=True)}
    if "prompt" not in fields:
        fields["prompt"] = typer.prompt("Prompt", err=True)
    observation = fields["observation"]
    for name, question in (("observed", "What did you see"), ("expected", "What did you expect")):
        if not observation[name]:
            observation[name] = typer.prompt(question, default="", show_default=False, err=True)


def _choose(label: str, choices: list[str]) -> str:
    while True:
        answer: str = typer.prompt(label, err=True).strip()
        matching = [choice for choice in choices if choice.lower().startswith(answer.lower())]
        if answer in choices or len(matching) == 1:
            return answer if answer in choices else matching[0]
        typer.echo(f"one of: {', '.join(choices)}", err=True)


def _suggest(store: FailureStore, report: FailureReport) -> None:
    from evalkit.failures.duplicates import suggest

    for suggestion in suggest(store, report):
        other = suggestion.report
        typer.echo(
            f"may repeat {other.id} ({suggestion.reason}): {other.category}, {other.prompt[:60]}", err=True
        )


def _draft(
    store: FailureStore,
    run: Path | None,
    baseline: Path | None,
    worst: int,
    metrics: list[str],
    gate: Path | None,
    who: str,
    as_json: bool,
) -> None:
    from evalkit.failures.worst import file_drafts, file_gate_drafts
    from evalkit.runs.store import open_run

    if run is None:
        raise typer.BadParameter("drafts come from a run; give it with --run")
    opened, before = open_run(run), open_run(baseline) if baseline else None
    if gate is not None:
        filed = file_gate_drafts(store, opened, gate, baseline=before, count=worst or 3, actor=who)
    else:
        filed = file_drafts(store, opened, baseline=before, count=worst, metrics=metrics, actor=who)
    if as_json:
        typer.echo(json.dumps([entry.report.model_dump(mode="json") for entry in filed], indent=2))
    for entry in filed:
        word = "filed" if entry.created else "known"
        typer.echo(f"{word} {entry.report.id} {entry.report.category}: {entry.report.title}", err=True)
