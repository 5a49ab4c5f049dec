"""One command for every bar: `python -m benchmarks.perf [--quick] [--only PART] [--record]`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.perf.measure import Bar, Kept, now, one_thread
from benchmarks.perf.page import Part, page, read_parts, table, write_part

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "performance.md"

ORDER = [
    "data-path",
    "once",
    "naive",
    "flicker",
    "networks",
    "frechet",
    "resampling",
    "warm",
    "limit",
    "clips",
    "shapes",
    "generation",
    "cluster",
]
"""The parts; the page has their bars in this order."""


def parts(
    arguments: argparse.Namespace, points: dict[str, Kept]
) -> dict[str, Callable[[int, bool], list[Bar]]]:
    """The measurements by name; those that can be resumed put what they keep into `points`."""
    from benchmarks.perf import cluster, data_path, generation, growth, limit, networks, numerics, scoring

    def kept(name: str) -> Kept:
        folder = arguments.out
        points[name] = Kept(folder and folder / "points" / f"{name}.jsonl", resume=arguments.resume)
        return points[name]

    return {
        "data-path": data_path.bars,
        "once": scoring.once,
        "naive": scoring.naive,
        "flicker": scoring.flicker,
        "networks": networks.bars,
        "frechet": numerics.frechet,
        "resampling": numerics.resampling,
        "warm": scoring.warm,
        "limit": lambda rounds, quick: limit.bars(
            rounds, quick, arguments.clips, arguments.count, kept("limit")
        ),
        "clips": lambda rounds, quick: growth.clips(rounds, quick, kept("clips")),
        "shapes": lambda rounds, quick: growth.shapes(rounds, quick, kept("shapes")),
        "generation": generation.bars,
        "cluster": cluster.bars,
    }


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


def command(name: str, arguments: argparse.Namespace) -> str:
    """What measures this part as it was measured."""
    words = ["python -m benchmarks.perf --only", name]
    words += ["--quick"] if arguments.quick else []
    words += ["--rounds", str(arguments.rounds)] if arguments.rounds != 3 else []
    if name == "limit":
        words += ["--clips", "CLIPS"] if arguments.clips else []
        words += ["--count", str(arguments.count)] if arguments.count else []
    return " ".join([*words, "--record"])


def measure(arguments: argparse.Namespace) -> list[Bar]:
    """Run the chosen parts; each is recorded as soon as it is done."""
    found: list[Bar] = []
    points: dict[str, Kept] = {}
    for name, run in parts(arguments, points).items():
        if arguments.only is not None and name not in arguments.only:
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        begun = now()
        try:
            bars = run(2 if arguments.quick else arguments.rounds, arguments.quick)
        except Exception as error:  # one broken part must not cost the others
            if os.environ.get("EVALKIT_TRACEBACK"):
                raise
            bars = [Bar(name, name, None, 0, "at least", reason=f"{type(error).__name__}: {error}")]
        found += bars
        if arguments.out:
            begun = points[name].begun(begun) if name in points else begun
            part = Part(name, command(name, arguments), begun, now(), machine(), tuple(bars))
            write_part(arguments.out, part)
            write_pages(arguments)
    return found


def write_pages(arguments: argparse.Namespace) -> list[Bar]:
    """The page of everything that is recorded."""
    recorded = read_parts(arguments.out, ORDER)
    text = page(recorded)
    (PAGE if arguments.record else arguments.out / "performance.md").write_text(text)
    return [bar for part in recorded for bar in part.bars]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.perf",
        description="Measure every speed bar and print a table; exit code 1 when one is missed.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="smaller sizes and fewer rounds: minutes, for a look"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of every comparison (default 3)")
    parser.add_argument(
        "--only",
        action="append",
        choices=ORDER,
        metavar="PART",
        help=f"one of {', '.join(ORDER)}; may be repeated",
    )
    parser.add_argument(
        "--clips", type=Path, help="folder of real clips for the limit (default: clips made here)"
    )
    parser.add_argument("--count", type=int, help="how many clips the limit takes (default 200)")
    parser.add_argument(
        "--out", type=Path, help="keep every part's figures here as soon as it is done, and a page of all"
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help=f"keep them in {RESULTS.relative_to(PAGE.parents[2])} and write {PAGE.relative_to(PAGE.parents[2])}",
    )
    parser.add_argument(
        "--resume", action="store_true", help="limit, clips and shapes: go on after the figures that are kept"
    )
    parser.add_argument("--render", action="store_true", help="measure nothing: write the page again")
    arguments = parser.parse_args()
    if arguments.record:
        arguments.out = RESULTS
    if arguments.resume and not arguments.out:
        parser.error("--resume needs the folder of the figures: --out FOLDER or --record")
    if arguments.render:
        if not arguments.out:
            parser.error("--render needs the folder of the figures: --out FOLDER or --record")
        bars = write_pages(arguments)
    else:
        one_thread()
        bars = measure(arguments)
    print(table(bars))
    return int(any(bar.verdict == "missed" for bar in bars))


if __name__ == "__main__":
    sys.exit(main())
