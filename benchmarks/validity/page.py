"""The study as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.validity.defects import Response
from benchmarks.validity.people import Agreement

__all__ = ["render"]


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def render(
    responses: Sequence[Response],
    benign: Mapping[str, Mapping[str, float]],
    agreements: Sequence[Agreement],
    about: Mapping[str, Any],
) -> str:
    """The page.

    Args:
        responses: metrics under their own defects.
        benign: change of every metric under every harmless change, in units of its spread between clips.
        agreements: correlation with people; empty where the rated clips are absent.
        about: what was run: clips, encoders, seconds.
    """
    lines = [
        "# Do the metrics see what people see?",
        "",
        (
            f"Written by `python -m benchmarks.validity`: {about['clips']} clips, reduced to a short side of "
            f"{about['short_side']} and {about['frames']} frames; {about['cpu_seconds']:.0f} CPU seconds."
        ),
        "",
        "## Known defects",
        "",
        (
            "Each defect is made at five strengths on every clip and scored with the metric made for it. *monotone*: "
            "Spearman of strength and median. *paired*: share of clips that the middle strength makes worse. *detected*: "
            "AUC of the change that the middle strength makes against the change that a re-encode at crf 18 makes. "
            "*between clips*: AUC of spoilt clips against other, clean clips (by their worst moment where the defect is "
            "local), the harder question. *IoU*: overlap of the frames the series points at with the spoilt ones."
        ),
        "",
        "| defect | metric | monotone | paired | detected | between clips | IoU |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {item.defect} | `{item.metric}` | {item.monotone:+.2f} | {item.paired:.2f} | {item.detected:.2f} | "
        f"{item.auc:.2f} | {_number(item.iou)} |"
        for item in responses
    ]
    for name in dict.fromkeys(item.metric for item in responses):
        lines += ["", f"![{name}](figures/{name}.svg)"]
    if benign:
        metrics = list(dict.fromkeys(name for row in benign.values() for name in row))
        lines += [
            "",
            "## Harmless changes",
            "",
            "Median absolute change, in units of the metric's spread between clean clips (1.48 MAD).",
            "",
            f"| metric | {' | '.join(benign)} |",
            f"|---|{'---|' * len(benign)}",
        ]
        lines += [
            f"| `{name}` | {' | '.join(_number(row.get(name)) for row in benign.values())} |"
            for name in metrics
        ]
    lines += ["", "## People", ""]
    if not agreements:
        lines += ["The rated clips were not at hand (`EVALKIT_DATA`), so nothing is said here.", ""]
        return "\n".join(lines)
    first = agreements[0]
    lines += [
        (
            f"{first.clips} clips of {first.prompts} prompts, {first.rating.replace('_', ' ')}, mean of three raters. "
            "Positive: the metric agrees. The interval resamples prompts. Raters agree with each other at an ordinal "
            "alpha of .725."
        ),
        "",
        "| metric | Spearman | 95% | Kendall | generated clips only | not scored |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{item.metric}` | {item.spearman:+.3f} | {item.interval[0]:+.2f} to {item.interval[1]:+.2f} | "
        f"{item.kendall:+.3f} | {item.generated:+.3f} | {item.not_scored} |"
        for item in agreements
    ]
    lines += ["", "![agreement](figures/people.svg)", ""]
    return "\n".join(lines)
