"""A report as the text of a GitHub issue, and the issue form through which people file one there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from evalkit.failures.taxonomy import load_taxonomy
from evalkit.stats.intervals import wilson_interval

if TYPE_CHECKING:
    from evalkit.failures.record import FailureReport

__all__ = ["issue_form", "issue_markdown"]

_LIMIT = 60_000  # GitHub takes 65,536 characters
_ACTIVE = re.compile(r"([\\`*_{}\[\]<>()+!|~])")
# GitHub looks for mentions and issue numbers in the rendered text, where an escape is gone: only a character in
# between keeps "@team" and "#1" from notifying people.
_JOINER = "\N{WORD JOINER}"


def _inert(text: str) -> str:
    """Text that Markdown shows as it is: no links, images, HTML, mentions, issue numbers or headings."""
    escaped = _ACTIVE.sub(r"\\\1", text)
    for start in ("@", "#", "://", "www."):
        escaped = escaped.replace(start, f"{start[0]}{_JOINER}{start[1:]}")
    return " ".join(escaped.splitlines())


def _block(text: str) -> str:
    """A fenced block that the text cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def issue_markdown(report: FailureReport) -> str:
    """The report as Markdown; whatever a tester typed is shown, never interpreted. At most 60,000 characters."""
    leaf = load_taxonomy().leaf(report.category)
    lines = [
        f"# [{leaf.id}] {_inert(report.title or report.prompt)[:120]}",
        "",
        f"{leaf.definition}",
        "",
        "| | |",
        "|---|---|",
        f"| Report | `{report.id}` |",
        f"| Status | {report.status}, {report.severity} |",
        f"| Model | {_inert(report.model.name)} {_inert(report.model.version)} |",
        *_facts(report),
        "",
        "**Prompt**",
        "",
        _block(report.prompt),
    ]
    for title, text in (
        ("Expected", report.observation.expected),
        ("Observed", report.observation.observed),
        ("Statement", report.evidence.statement),
        ("Negative prompt", report.reproduction.negative_prompt),
    ):
        if text.strip():
            lines += ["", f"**{title}**", "", _block(text)]
    readings = [entry for entry in report.detectors if entry.value is not None]
    if readings:
        lines += ["", "| Metric | Value | Worse than | Says |", "|---|---|---|---|"]
        for entry in readings:
            rank = "" if entry.percentile is None else f"{entry.percentile:.0f} % of the run"
            lines.append(f"| {_inert(entry.metric_id)} | {entry.value:.4g} | {rank} | {entry.verdict} |")
    text = "\n".join(lines) + "\n"
    return text if len(text) <= _LIMIT else text[:_LIMIT] + "\n```\n\n(shortened)\n"


def _facts(report: FailureReport) -> list[str]:
    settings = report.reproduction
    rows: list[tuple[str, Any]] = [
        ("Seed", settings.seed),
        ("Size", f"{settings.width}x{settings.height}" if settings.width and settings.height else None),
        ("Frames", settings.num_frames),
        ("fps", settings.fps),
        ("Steps", settings.num_inference_steps),
        ("Guidance", settings.guidance_scale),
        ("Scheduler", settings.scheduler),
        ("Commit", settings.commit),
    ]
    spans = ", ".join(f"{s.first} to {s.last}" for s in report.observation.segments)
    rows.append(("Frames affected (from 0, both included)", spans))
    failed, tried = report.failed_of_tried
    if tried:
        low, high = wilson_interval(failed, tried)
        rows.append(
            (
                "Reproduced",
                f"{failed} of {tried} seeds (95 % interval {low:.0%} to {high:.0%})",
            )
        )
    return [f"| {name} | {_inert(str(value))} |" for name, value in rows if value not in (None, "")]


def issue_form() -> str:
    """A GitHub issue form (`.github/ISSUE_TEMPLATE/failure.yml`) generated from the taxonomy."""
    taxonomy = load_taxonomy()

    def field(
        kind: str, name: str, label: str, *, required: bool = False, **attributes: Any
    ) -> dict[str, Any]:
        return {
            "type": kind,
            "id": name,
            "attributes": {"label": label, **attributes},
            "validations": {"required": required},
        }

    form = {
        "name": "Failure of a generated video",
        "description": "One clip, one thing that is wrong with it.",
        "title": "[failure] ",
        "labels": ["failure"],
        "body": [
            {
                "type": "markdown",
                "attributes": {
                    "value": "Do not attach clips that may harm somebody, and never any that show minors in a harmful "
                    "way; describe them in words."
                },
            },
            field(
                "dropdown",
                "category",
                "What is wrong?",
                required=True,
                description="Class and leaf of the failure taxonomy.",
                options=[f"{leaf.id}: {leaf.definition}" for leaf in taxonomy],
            ),
            field(
                "dropdown",
                "severity",
                "How bad is it?",
                required=True,
                options=[f"{level.id} {level.title}: {level.definition}" for level in taxonomy.severities],
            ),
            field("input", "model", "Model and version", required=True, placeholder="reference v1"),
            field("textarea", "prompt", "Prompt", required=True, render="text"),
            field("textarea", "observed", "What did you see, and what did you expect?", required=True),
            field("input", "seed", "Seed", placeholder="7"),
            field(
                "input",
                "frames",
                "First and last frame that show it",
                description="Counted from 0, both included.",
                placeholder="12-30",
            ),
            field(
                "textarea", "settings", "Size, frames, fps, steps, guidance, scheduler, commit", render="text"
            ),
            field("textarea", "clip", "Clip", description="Drag the file here."),
        ],
    }
    return yaml.safe_dump(form, sort_keys=False, allow_unicode=True, width=110)
