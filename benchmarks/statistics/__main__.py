"""The full study: `python -m benchmarks.statistics [--write]`, about ten minutes on one core.

Prints its tables as Markdown; with `--write` it also stores the figures in `benchmarks/statistics/results.json` and
the tables in `docs/explanation/how-we-compare.md`.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from benchmarks.statistics.simulate import METHODS, gate_rates, look_rates, set_rates, type_one_error

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results.json"
PAGE = ROOT / "docs" / "explanation" / "how-we-compare.md"
GATES: dict[str, dict[str, Any]] = {
    "one model run twice": {},
    "one model run twice, margins that `gate noise` proposes": {"margin_sd": None},
    "two models, equal on average": {"unchanged": False},
    "one metric worse by twice the margin": {"effect_margins": 2.0},
    "one metric worse by twice the margin, skewed differences": {"effect_margins": 2.0, "unchanged": False},
    "one metric worse by twice the proposed margin": {"effect_margins": 2.0, "margin_sd": None},
}


def study(seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    """Run everything; `scale` shrinks the number of replicates."""

    def replicates(full: int) -> int:
        return max(20, round(full * scale))

    return {
        "seed": seed,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
        "replicates": {
            "type_one": replicates(4000), "gates": replicates(4000), "sets": replicates(1000), "looks": replicates(20000)
        },
        "type_one": {
            str(prompts): type_one_error(prompts, replicates(4000), seed, 9999) for prompts in (10, 20, 40, 80)
        },
        "gates": {
            name: gate_rates(replicates=replicates(4000), seed=seed, **options)._asdict()
            for name, options in GATES.items()
        },
        "sets": {metric: set_rates(metric, replicates(1000), seed)._asdict() for metric in ("KVD", "FVD")},
        "looks": look_rates(replicates(20000), seed)._asdict(),
    }  # fmt: skip


def tables(found: dict[str, Any]) -> str:
    """The study as Markdown."""

    def percent(value: float) -> str:
        return f"{100 * value:.1f}%"

    count = found["replicates"]
    out = [
        f"Called different although equal, at a nominal 5% ({count['type_one']:,} comparisons each, 4 seeds a prompt):\n",
        "| prompts | " + " | ".join(METHODS) + " |",
        "| ---: |" + " ---: |" * len(METHODS),
        *(
            f"| {prompts} | " + " | ".join(percent(rates[name]) for name in METHODS) + " |"
            for prompts, rates in found["type_one"].items()
        ),
        f"\nGates with 12 metrics, 64 prompts x 3 seeds, margin 0.4 standard deviations where nothing else is said ({count['gates']:,} gates each):\n",
        "| | PASS | REGRESS | INCONCLUSIVE | names the first metric | blocks any drop | blocks any 95% interval below 0 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {name} | "
            + " | ".join(
                percent(rates[key])
                for key in ("passed", "regressed", "inconclusive", "named", "any_drop", "uncorrected")
            )
            + " |"
            for name, rates in found["gates"].items()
        ),
        f"\nSet metrics of one model run twice, 48 prompts x 2 samples ({count['sets']:,} comparisons each):\n",
        "| | rejected at 5% (label swap) | 95% interval holds zero (prompt bootstrap) |",
        "| --- | ---: | ---: |",
        *(
            f"| {name} | {percent(rates['rejected'])} | {percent(rates['covered'])} |"
            for name, rates in found["sets"].items()
        ),
        (
            f"\nThree looks at 96 prompts ({count['looks']:,} plans): false alarms {percent(found['looks']['planned'])} with "
            f"planned looks, {percent(found['looks']['unplanned'])} when looking at a plain 5% each time."
        ),
    ]
    return "\n".join(out) + "\n"


def replace_section(page: str, text: str) -> str:
    """The page with the tables between its markers replaced."""
    return re.sub(
        r"(<!-- study -->\n).*?(<!-- /study -->)",
        lambda match: f"{match[1]}\n{text}\n{match[2]}",
        page,
        flags=re.S,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.statistics", description=__doc__)
    parser.add_argument("--write", action="store_true", help="store the figures and update the page")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the replicates, for a quick look")
    arguments = parser.parse_args()
    found = study(arguments.seed, arguments.scale)
    print(tables(found))
    if arguments.write:
        RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        PAGE.write_text(replace_section(PAGE.read_text(encoding="utf-8"), tables(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
