"""One command for every bar: `python -m benchmarks.perf [--quick] [--out FOLDER] [--only NAME]`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.perf.measure import Bar, one_thread

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "performance.md"


def parts(clips: Path | None) -> dict[str, Callable[[int, bool], list[Bar]]]:
    """The measurements, cheap ones first."""
    from benchmarks.perf import cluster, data_path, generation, growth, networks, numerics, scoring

    return {
        "data-path": data_path.bars,
        "once": scoring.once,
        "flicker": scoring.flicker,
        "networks": networks.bars,
        "frechet": numerics.frechet,
        "resampling": numerics.resampling,
        "warm": scoring.warm,
        "limit": lambda rounds, quick: scoring.limit(rounds, quick, clips),
        "growth": growth.bars,
        "generation": generation.bars,
        "cluster": cluster.bars,
    }


def figure(value: float | None, unit: str) -> str:
    """Three digits and a unit."""
    if value is None:
        return "-"
    text = f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    return f"{text}{unit}" if unit in ("x", "") else f"{text} {unit}"


def table(bars: list[Bar]) -> str:
    """Markdown."""
    lines = ["| bar | what | measured | limit | |", "|---|---|---|---|---|"]
    lines += [
        f"| {bar.id} | {bar.what} | {figure(bar.value, bar.unit)} | {bar.sense} {figure(bar.limit, bar.unit)} | {bar.verdict} |"
        for bar in bars
    ]
    return "\n".join(lines)


def machine() -> str:
    """Processor, cores, library versions."""
    from evalkit.runs.environment import environment

    facts = environment("cpu", 1)
    packages = ", ".join(
        f"{name} {version}" for name, version in facts["packages"].items() if name != "evalkit"
    )
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['platform']}, Python {platform.python_version()}, "
        f"{packages}, decoder {facts['decoder']}"
    )


def page(bars: list[Bar], command: str) -> str:
    """The results page."""
    missed = [bar for bar in bars if bar.verdict != "met"]
    lines = [
        "# Performance",
        "",
        "How fast evalkit is against peers and against its own limits. Every figure on this page was written by",
        f"`{command}` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; run it again to get yours.",
        "",
        f"Machine: {machine()}, load average {os.getloadavg()[2]:.0f} when the page was written.",
        "",
        "Figures are processor time of one thread, not wall time: candidates take turns, and a ratio is the median",
        "over rounds. Peers' code is not run but written anew from its pattern of opens, decodes, conversions and",
        "calls (`benchmarks/perf/data_path.py`), or is the library's own function (scipy, torch).",
        "",
        f"{sum(bar.verdict == 'met' for bar in bars)} of {len(bars)} bars are met.",
        "",
        table(bars),
        "",
        "## What is missed, and why" if missed else "Nothing is missed.",
        "",
    ]
    lines += [f"- **{bar.id}** ({bar.verdict}): {bar.what}. {bar.reason or bar.detail}" for bar in missed]
    lines += ["", "## The figures behind", ""]
    lines += [f"- **{bar.id}**: {bar.detail}" for bar in bars if bar.detail]
    return "\n".join([*lines, ""])


def measure(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> list[Bar]:
    """Run the chosen parts."""
    chosen = parts(arguments.clips)
    unknown = set(arguments.only or ()) - set(chosen)
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; known: {', '.join(chosen)}")
    bars: list[Bar] = []
    for name, run in chosen.items():
        if arguments.only is None or name in arguments.only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                bars += run(2 if arguments.quick else arguments.rounds, arguments.quick)
            except Exception as error:  # one broken part must not cost the others
                if os.environ.get("EVALKIT_TRACEBACK"):
                    raise
                bars.append(Bar(name, name, None, 0, "at least", reason=f"{type(error).__name__}: {error}"))
    return bars


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.perf",
        description="Measure every speed bar and print a table; exit code 1 when one is missed.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="smaller sizes and fewer rounds: minutes, for a look"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of every comparison (default 3)")
    parser.add_argument("--only", action="append", help="only this part; may be repeated")
    parser.add_argument(
        "--clips", type=Path, help="folder of real clips for the limit (default: clips made here)"
    )
    parser.add_argument("--out", type=Path, help="write bars.json and performance.md here")
    parser.add_argument(
        "--collect", type=Path, help="measure nothing: gather what --out wrote below this folder"
    )
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.relative_to(PAGE.parents[2])}")
    arguments = parser.parse_args()
    one_thread()
    if arguments.collect:
        order = list(parts(None))
        files = sorted(arguments.collect.glob("*/bars.json"), key=lambda path: order.index(path.parent.name))
        results = [json.loads(path.read_text()) for path in files]
        bars = [Bar(**bar) for result in results for bar in result["bars"]]
        command = " and ".join(
            sorted({re.sub(r" --(only|out) \S+", "", result["command"]) for result in results})
        )
    else:
        bars = measure(parser, arguments)
        words = ["CLIPS" if Path(word).is_dir() else word for word in sys.argv[1:] if word != "--page"]
        command = " ".join(["python -m benchmarks.perf", *words])
    print(table(bars))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "bars.json").write_text(
            json.dumps({"command": command, "bars": [asdict(bar) for bar in bars]}, indent=2) + "\n"
        )
        (arguments.out / "performance.md").write_text(page(bars, command))
    if arguments.page:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(bars, command))
    return int(any(bar.verdict == "missed" for bar in bars))


if __name__ == "__main__":
    sys.exit(main())
