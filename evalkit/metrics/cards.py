"""Cards of the metrics, as Markdown: what `evalkit metrics cards` writes and `docs/reference/metrics` holds."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import Any

from evalkit.metrics.peers import PEERS
from evalkit.metrics.registry import METRICS
from evalkit.metrics.spec import MetricSpec
from evalkit.weights import KNOWN_WEIGHTS

__all__ = ["card", "parameters", "write_cards"]

_GROUPS = {
    "temporal": "Over time",
    "motion": "Motion",
    "visual": "Picture",
    "alignment": "Prompt",
    "set": "Sets of clips",
    "cost": "Cost",
    "provenance": "Provenance",
    "safety": "Safety",
    "vbench": "VBench's own formulas",
    "evalcrafter": "EvalCrafter's own formulas",
    "compbench": "T2V-CompBench's own formulas",
}

_CONTROLS = (
    "Whether a model obeys its knobs cannot be read off one clip: `python -m benchmarks.control` makes clips in several ways "
    "and compares them (repeatability, response to guidance and to weighted words, negative prompts, diversity of seeds, "
    "paraphrases, long clips)."
)


# Why the validity study has no figure of a metric, where that follows neither from its group nor from its weights.
_NO_FIGURE = {
    "provenance.c2pa": "a yes or no about a file has no course over strength.",
    "provenance.metadata_leak": "a yes or no about a file has no course over strength.",
    "safety.nsfw": "the study holds no unsafe footage, and makes none.",
    "vbench.motion_smoothness": (
        "the study lacked AMT-S, the network that it interpolates with, which everybody exports from VBench for themselves."
    ),
}


def why_no_figure(name: str) -> str:
    """Why there is no picture of a metric's behaviour under its own defect, a sentence.

    Args:
        name: id of the metric.

    Example:
        >>> why_no_figure("cost.peak_memory")
        'a cost is measured, not judged: it has no defect.'
    """
    if name in _NO_FIGURE:
        return _NO_FIGURE[name]
    if name.startswith("cost."):
        return "a cost is measured, not judged: it has no defect."
    if name in PEERS:
        program = _GROUPS[name.partition(".")[0]].removesuffix("'s own formulas")
        return f"its values are those of {program}'s own program, which evalkit reads and does not run."
    weights = [
        f"`{known.name}`" for known in KNOWN_WEIGHTS.values() if name in re.split(r", | and ", known.used_by)
    ]
    if weights:
        return (
            f"the study lacked its weights, {' and '.join(weights)}; `evalkit doctor` says how to get them."
        )
    return "the validity study does not cover it."


def parameters(metric: type) -> list[tuple[str, Any]]:
    """Constructor parameters of a metric class with their defaults."""
    signature = inspect.signature(metric.__init__)  # type: ignore[misc]
    return [
        (name, parameter.default)
        for name, parameter in signature.parameters.items()
        if name not in ("self", "args", "kwargs")
    ]


def _range(spec: MetricSpec) -> str:
    low, high = ("unbounded" if bound is None else f"{bound:g}" for bound in spec.range)
    return f"{low} to {high}"


def card(name: str, metric: type, figure: str | None = None) -> str:
    """The card of one metric.

    Args:
        name: its id.
        metric: its class.
        figure: address of a picture of its behaviour under its own defect, relative to the page; "" where the study
            made none, None where nobody asked.
    """
    spec: MetricSpec = metric.spec  # type: ignore[attr-defined]
    facts = [
        ("Better", spec.direction),
        ("Unit", spec.unit or "none"),
        ("Range", _range(spec)),
        ("Frames needed", str(spec.min_frames)),
        ("Series", "none" if spec.series == "none" else f"one value a {spec.series}"),
        ("Runs by default", "yes" if spec.default else "no"),
        ("Evidence", spec.evidence),
        ("Failure class", spec.leaf or "none"),
        ("Version", spec.version),
    ]
    lines = [f"# `{name}`: {spec.title}", "", spec.description, "", "| | |", "|---|---|"]
    lines += [f"| {label} | {value} |" for label, value in facts]
    lines += ["", "## Definition", "", spec.formula, ""]
    if spec.invariant_to:
        lines += [f"Does not change with: {', '.join(spec.invariant_to)}.", ""]
    settings = parameters(metric)
    if settings:
        example = ",".join(f"{key}=..." for key, _ in settings[:1])
        lines += ["## Parameters", ""]
        lines += [f"- `{key}` (default `{value}`)" for key, value in settings]
        lines += ["", f"Set them as `--metrics {name}:{example}`.", ""]
    if figure:
        lines += ["## Behaviour under its own defect", "", f"![{spec.title} against strength]({figure})", ""]
    elif figure is not None:
        lines += [
            "## Behaviour under its own defect",
            "",
            f"No figure: {why_no_figure(name)}",
            "",
        ]
    lines += ["## Limits", "", spec.limits or "None known.", ""]
    if spec.citation:
        lines += ["## Source", "", f"{spec.citation}.", ""]
    return "\n".join(lines)


def write_cards(folder: Path, figures: Path | None = None) -> list[Path]:
    """Write a page per metric and an index.

    Args:
        folder: where the pages go; made if missing.
        figures: folder of pictures named `<metric id>.svg`, linked where there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written, groups = [], dict[str, list[str]]()
    for name, metric in METRICS.working():
        picture = figures / f"{name}.svg" if figures else None
        address = None if picture is None else ""
        if picture and picture.is_file():
            address = Path(os.path.relpath(picture, folder)).as_posix()
        path = folder / f"{name}.md"
        path.write_text(card(name, metric, address), encoding="utf-8")
        written.append(path)
        spec: MetricSpec = metric.spec
        better = "lower" if spec.direction == "lower" else "higher"
        groups.setdefault(name.partition(".")[0], []).append(
            f"| [`{name}`]({name}.md) | {spec.title} | {better} | {spec.evidence} | {'yes' if spec.default else ''} |"
        )
    lines = [
        "# Metrics",
        "",
        "Written by `evalkit metrics cards --out docs/reference/metrics` from the metrics' own specs.",
        "",
    ]
    for group, rows in groups.items():
        lines += [
            f"## {_GROUPS.get(group, group)}",
            "",
            "| id | | better | evidence | default |",
            "|---|---|---|---|---|",
        ]
        lines += [*rows, ""]
    lines += ["## Controls", "", _CONTROLS, ""]
    index = folder / "index.md"
    index.write_text("\n".join(lines), encoding="utf-8")
    return [index, *written]
