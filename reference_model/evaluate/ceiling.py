"""The probe on rendered truth: the highest share that any generator could reach.

    python -m reference_model.evaluate.ceiling --kinds relation events [--prompts 200]

prints a table; needs no weights.
"""

from __future__ import annotations

import argparse

from reference_model.evaluate.controls import frames_of
from reference_model.evaluate.figures import Share, tally
from reference_model.evaluate.prompts import KINDS, balanced
from reference_model.probe import agrees, observe
from reference_model.world import render_scenes


def ceiling(count: int, seed: int, kinds: tuple[str, ...]) -> dict[str, Share]:
    """Share of truth that the probe agrees with, for each attribute of `count` prompts of these kinds."""
    rows = []
    for ask in balanced(count, seed, kinds=kinds):
        clip = render_scenes([ask.scene], 16, 64, 64)[0]
        rows.append(agrees(observe(frames_of(clip)), ask.expect))
    return tally(rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m reference_model.evaluate.ceiling")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kinds", nargs="+", choices=sorted(set(KINDS)), default=list(dict.fromkeys(KINDS)))
    chosen = parser.parse_args()
    print("| attribute | n | truth |\n|---|---|---|")
    for name, share in ceiling(chosen.prompts, chosen.seed, tuple(chosen.kinds)).items():
        print(f"| {name} | {share.count} | {share} |")


if __name__ == "__main__":
    main()
