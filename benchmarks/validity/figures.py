"""Figures of the study: one per metric, its course over the strength of its defects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from benchmarks.validity.defects import Response
from benchmarks.validity.people import Agreement
from evalkit.metrics.registry import load_metric
from evalkit.testing.defects import STRENGTHS

mpl.use("svg")
# Text stays text, and the same study gives the same file.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "evalkit", "font.size": 9})

from matplotlib import pyplot as plt  # noqa: E402  (the backend must be chosen first)

__all__ = ["draw_agreement", "draw_responses"]

_SIZE = (4.8, 3.0)


def draw_responses(responses: Sequence[Response], folder: Path) -> list[Path]:
    """Draw `METRIC.svg` for every metric that has a defect of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in dict.fromkeys(response.metric for response in responses):
        spec = load_metric(name).spec
        figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
        for response in responses:
            if response.metric == name:
                axes.plot([0, *STRENGTHS], response.medians, marker="o", markersize=3, label=response.defect)
        axes.set_xlabel("strength of the defect")
        axes.set_ylabel(f"{spec.title} ({spec.unit})" if spec.unit else spec.title)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        path = folder / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
        paths.append(path)
    return paths


def draw_agreement(agreements: Sequence[Agreement], path: Path) -> Path:
    """Draw Spearman's correlation of every metric with its interval."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(5.2, 0.4 * len(agreements) + 1), layout="constrained")
    ordered = list(reversed(agreements))
    for row, item in enumerate(ordered):
        colour = "tab:gray" if item.metric.startswith("vbench.") else "tab:blue"
        axes.plot(item.interval, [row, row], color=colour, linewidth=2)
        axes.plot([item.spearman], [row], "o", color=colour)
    axes.set_yticks(range(len(ordered)), [item.metric for item in ordered])
    axes.axvline(0, color="black", linewidth=0.5)
    axes.set_xlabel("Spearman with human temporal quality (95%, prompts resampled)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path
