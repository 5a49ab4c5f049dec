"""The results page, from what every part has recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.perf.measure import Bar

__all__ = ["Part", "figure", "page", "read_parts", "table", "write_part"]


@dataclass(frozen=True)
class Part:
    """What one part measured, and when.

    Args:
        name: of the part.
        command: that measured it.
        begun, ended: `date` and `load`, see `measure.now`.
        machine: processor, cores, versions.
        bars: its lines of the table.
    """

    name: str
    command: str
    begun: Mapping[str, object]
    ended: Mapping[str, object]
    machine: str
    bars: tuple[Bar, ...]


def write_part(folder: Path, part: Part) -> None:
    """`FOLDER/NAME.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part.name}.json").write_text(json.dumps(asdict(part), indent=2) + "\n")


def read_parts(folder: Path, order: list[str]) -> list[Part]:
    """The parts that `folder` holds, in their order."""
    found = {}
    for path in folder.glob("*.json"):
        content = json.loads(path.read_text())
        found[content["name"]] = Part(**content | {"bars": tuple(Bar(**bar) for bar in content["bars"])})
    return [found[name] for name in order if name in found]


def figure(value: float | None, unit: str) -> str:
    """Three digits and a unit."""
    if value is None:
        return "-"
    text = f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    return f"{text}{unit}" if unit in ("x", "") else f"{text} {unit}"


def _limit(bar: Bar) -> str:
    if bar.least is not None:
        return f"{figure(bar.least, '')} to {figure(bar.limit, bar.unit)}"
    return f"{bar.sense} {figure(bar.limit, bar.unit)}"


def table(bars: list[Bar]) -> str:
    """Markdown."""
    lines = ["| bar | what | measured | limit | |", "|---|---|---|---|---|"]
    lines += [
        f"| {bar.id} | {bar.what} | {figure(bar.value, bar.unit)} | {_limit(bar)} | {bar.verdict} |"
        for bar in bars
    ]
    return "\n".join(lines)


def page(parts: list[Part]) -> str:
    """The results page, Markdown."""
    bars = [bar for part in parts for bar in part.bars]
    missed = [bar for bar in bars if bar.verdict != "met"]
    machines: dict[str, list[str]] = {}
    for part in parts:
        machines.setdefault(part.machine, []).append(part.name)
    lines = [
        "# Performance",
        "",
        "How fast evalkit is against peers and against its own limits. This page is written by",
        "`python -m benchmarks.perf --record` from `benchmarks/perf/results`, where every part of the benchmark leaves its",
        "figures; the last section says which command measured a part, when, and how busy the machine was.",
        "",
        *(
            f"Machine{' of ' + ', '.join(names) if len(machines) > 1 else ''}: {machine}.\n"
            for machine, names in machines.items()
        ),
        "Figures are processor time of one thread, not wall time: candidates take turns, and a ratio is the median",
        "over rounds. Work that others do on the machine still shows, through the caches that it empties. Peers' code",
        "is not run but written anew from its pattern of opens, decodes, conversions and calls",
        "(`benchmarks/perf/data_path.py`, `networks.py`, `numerics.py`), or is the library's own (scipy, torchmetrics).",
        "",
        f"{sum(bar.verdict == 'met' for bar in bars)} of {len(bars)} bars are met.",
        "",
        table(bars),
        "",
        "## What is missed, and why" if missed else "Nothing is missed.",
        "",
    ]
    lines += [
        f"- **{bar.id}**, {bar.what}: {bar.miss or bar.verdict}. {bar.reason or bar.detail}".rstrip()
        for bar in missed
    ]
    lines += ["", "## The figures behind", ""]
    lines += [f"- **{bar.id}**: {bar.detail}" for bar in bars if bar.detail]
    lines += [
        "",
        "## When",
        "",
        "| part | bars | command | from | to | load average |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {part.name} | {', '.join(bar.id for bar in part.bars)} | `{part.command}` | {part.begun['date']} | "
        f"{part.ended['date']} | {part.begun['load']} to {part.ended['load']} |"
        for part in parts
    ]
    return "\n".join([*lines, ""])
