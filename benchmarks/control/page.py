"""The studies as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.control.definition import Definition
from benchmarks.control.measure import Outcome

__all__ = ["render"]

_UNITS = {
    "identical": "share of clips",
    "trend": "mean Spearman over prompts",
    "change": "last arm minus first",
    "spread": "1 - cos between samples",
    "ratio": "distance by wording / distance by seed",
}


def _taken_with(about: Mapping[str, Any]) -> str:
    if "digest" not in about:
        return "Taken before results kept the digest of the model as one; its files' digests are in `results.json`."
    return (
        f"Taken on {about['date']} with the model's weights `{about['digest']}` (digest of the digests in `results.json`) "
        f"and the encoder's `{about['encoder_digest'][:19]}`."
    )


def render(definition: Definition, outcomes: Sequence[Outcome], about: Mapping[str, Any]) -> str:
    """The page.

    Args:
        definition: the studies, for titles and questions.
        outcomes: what was found, in order.
        about: model, revision, definition, encoder, command; date and digests of what was measured and what saw.
    """
    lines = [
        f"# Controls of {about['model']}@{about['revision']}",
        "",
        (
            f"Written by `{about['command']}`; definition `{about['definition']}`, judged by the encoder "
            f"`{about['encoder']}`. Intervals are 95% over prompts."
        ),
        "",
        _taken_with(about),
        "",
        "| study | read off | estimate | 95% | prompts | clips (lost) | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for item in outcomes:
        if item.status != "ok":
            lines.append(f"| {item.study} | {item.value} | | | {item.prompts} | {item.clips} ({item.lost}) | {item.status}: {item.reason} |")  # fmt: skip
            continue
        lines.append(
            f"| {item.study} | {item.value}, {_UNITS[item.measure]} | {item.estimate:.3g} | "
            f"{item.low:.3g} to {item.high:.3g} | {item.prompts} | {item.clips} ({item.lost}) | {item.verdict} |"
        )
    for name, study in definition.studies.items():
        mine = [item for item in outcomes if item.study == name]
        if not mine:
            continue
        lines += ["", f"## {study.title}", "", study.question]
        shown = [item for item in mine if item.arms]
        if shown:
            lines += ["", f"| mean | {' | '.join(shown[0].arms)} |", f"|---|{'---|' * len(shown[0].arms)}"]
            lines += [
                f"| {item.value} | {' | '.join(f'{mean:.4g}' for mean in item.arms.values())} |"
                for item in shown
            ]
    return "\n".join(lines) + "\n"
