"""Figures of the study: one per metric, its course over the strength of its defects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

from evalkit.metrics.registry import load_metric
from evalkit.testing.defects import STRENGTHS

mpl.use("svg")
# Text stays text, and the same study gives the same file.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "evalkit", "font.size": 9})

from matplotlib import pyplot as plt  # noqa: E402  (the backend must be chosen first)
from matplotlib.axes import Axes  # noqa: E402

__all__ = ["draw_agreement", "draw_prompts", "draw_responses", "draw_sets", "draw_shares"]

_SIZE = (4.8, 3.0)


def draw_responses(responses: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Draw `METRIC.svg` for every metric that has a defect of its own; rendered clips dashed."""
    paths = []
    responses = [response for response in responses if response["source"] in ("real", "world")]
    for name in dict.fromkeys(response["metric"] for response in responses):
        mine = [response for response in responses if response["metric"] == name]
        colours = {
            defect: f"C{place}" for place, defect in enumerate(dict.fromkeys(r["defect"] for r in mine))
        }
        with _course(folder, name, "strength of the defect") as (axes, path):
            for response in mine:
                world = response["source"] == "world"
                _line(
                    axes,
                    response["medians"],
                    response["defect"] + (", rendered" if world else ""),
                    color=colours[response["defect"]],
                    linestyle="--" if world else "-",
                )
        paths.append(path)
    return paths


def draw_sets(responses: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Draw `METRIC.svg` for every set metric, with the re-encoded clean set as a line."""
    paths = []
    for response in responses:
        with _course(folder, response["metric"], "strength of the defect") as (axes, path):
            _line(axes, response["values"], f"{response['defect']}, {response['clips']} rendered clips")
            axes.axhline(
                response["harmless"], color="gray", linewidth=0.8, label="clean, re-encoded at crf 18"
            )
        paths.append(path)
    return paths


def draw_prompts(responses: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Draw `METRIC.svg` for every metric of the prompt; a line for each of its variants."""
    paths = []
    for name in dict.fromkeys(response["metric"].partition(":")[0] for response in responses):
        with _course(folder, name, "share of clips judged by another prompt") as (axes, path):
            for response in responses:
                own, _, variant = response["metric"].partition(":")
                if own == name:
                    label = f"another prompt, {response['clips']} rendered clips"
                    _line(axes, response["values"], f"{label}, {variant}" if variant else label)
        paths.append(path)
    return paths


def draw_shares(responses: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Draw `METRIC.svg` for every metric that is a share; what there is without any mark as a line."""
    paths = []
    for name in dict.fromkeys(response["metric"] for response in responses):
        with _course(folder, name, "strength of the defect") as (axes, path):
            mine = [response for response in responses if response["metric"] == name]
            for response in mine:
                _line(axes, response["values"], f"{response['defect']}, {response['clips']} clips")
            if mine[0]["without"] is not None:
                axes.axhline(mine[0]["without"], color="gray", linewidth=0.8, label="without any mark")
        paths.append(path)
    return paths


@contextmanager
def _course(folder: Path, metric: str, along: str) -> Iterator[tuple[Axes, Path]]:
    """Axes of a metric over strength, saved as `METRIC.svg` at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    spec, path = load_metric(metric).spec, folder / f"{metric}.svg"
    figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
    yield axes, path
    axes.set_xlabel(along)
    axes.set_ylabel(f"{spec.title} ({spec.unit})" if spec.unit else spec.title)
    axes.legend(frameon=False, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _line(axes: Axes, values: Sequence[float], label: str, **style: Any) -> None:
    axes.plot([0, *STRENGTHS], values, marker="o", markersize=3, label=label, **style)


def draw_agreement(agreements: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Draw `people-RATING.svg`: Spearman's correlation of every metric with its interval."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for rating in dict.fromkeys(item["rating"] for item in agreements):
        ordered = [item for item in reversed(agreements) if item["rating"] == rating]
        figure, axes = plt.subplots(figsize=(5.2, 0.4 * len(ordered) + 1), layout="constrained")
        for row, item in enumerate(ordered):
            colour = "tab:gray" if item["metric"].startswith("vbench.") else "tab:blue"
            axes.plot(item["interval"], [row, row], color=colour, linewidth=2)
            axes.plot([item["spearman"]], [row], "o", color=colour)
        axes.set_yticks(range(len(ordered)), [item["metric"] for item in ordered])
        axes.axvline(0, color="black", linewidth=0.5)
        axes.set_xlabel(f"Spearman with human {rating.replace('_', ' ')} (95%, prompts resampled)")
        axes.spines[["top", "right"]].set_visible(False)
        path = folder / f"people-{rating}.svg"
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
        paths.append(path)
    return paths
