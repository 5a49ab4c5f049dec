"""What cannot be compared, and why: other prompts, another metric version, another encoder or protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from evalkit.errors import EvidenceError
from evalkit.runs.manifest import MetricRecord
from evalkit.runs.store import Run

__all__ = ["Obstacle", "metric_obstacle", "obstacles", "refuse", "set_obstacle", "suite_obstacle"]


class Obstacle(NamedTuple):
    """Why a run cannot be compared with the baseline; `metric_id` is "" where nothing of it can."""

    metric_id: str
    text: str


def suite_obstacle(a: Run, b: Run) -> str:
    """Why the prompts of two runs differ, or ""."""
    first, second = a.manifest.suite, b.manifest.suite
    if first.digest == second.digest:
        return ""
    ours, theirs = set(a.suite.by_id), set(b.suite.by_id)
    edited = [p for p in ours & theirs if a.suite.by_id[p].digest != b.suite.by_id[p].digest]
    counts = [
        f"{len(ids)} prompts {what} (such as {min(ids)!r})"
        for ids, what in (
            (ours - theirs, "only in the first"),
            (theirs - ours, "only in the second"),
            (edited, "with other content"),
        )
        if ids
    ]
    return (
        f"the suites differ: {first.name} {first.version} ({first.digest[:12]}) in {a.folder} and {second.name} "
        f"{second.version} ({second.digest[:12]}) in {b.folder}; {', '.join(counts) or 'another name or version'}; "
        "run both on one suite file"
    )


def metric_obstacle(a: MetricRecord, b: MetricRecord) -> str:
    """Why the numbers of one metric in two runs mean different things, or ""."""
    parts = []
    if a.version != b.version:
        parts.append(f"version {a.version} and {b.version}")
    if a.direction != b.direction:
        parts.append(f"direction {a.direction} and {b.direction}")
    if a.params != b.params:
        changed = sorted(k for k in {*a.params, *b.params} if a.params.get(k) != b.params.get(k))
        parts.append(
            "parameters " + ", ".join(f"{k}={a.params.get(k)} and {b.params.get(k)}" for k in changed)
        )
    for request in sorted({*a.features, *b.features}):
        ours, theirs = a.features.get(request, "none"), b.features.get(request, "none")
        if ours != theirs:
            parts.append(f"encoder of {request}: {ours} and {theirs}")
    if not parts and a.key != b.key:
        parts.append(f"content key {a.key[:12]} and {b.key[:12]}")
    if not parts:
        return ""
    return f"{a.id} was computed differently ({'; '.join(parts)}); `evalkit rescore` one of the runs, or leave it out"


def set_obstacle(a: Run, b: Run, metric_id: str) -> str:
    """Why two set distances (FVD, KVD) cannot be compared, or ""."""
    rows = [
        table[(table["metric_id"] == metric_id) & (table["group"] == "")]
        for table in (a.set_scores, b.set_scores)
    ]
    if any(len(table) != 1 for table in rows):
        return ""
    first, second = (table.iloc[0] for table in rows)
    if first["status"] != "ok" or second["status"] != "ok":
        return ""
    if first["n_generated"] != second["n_generated"]:
        return (
            f"{metric_id} was computed of {first['n_generated']} clips in {a.folder} and of {second['n_generated']} in "
            f"{b.folder}: a set's distance falls with the number of clips, so two such numbers are not comparable; "
            "score both runs on the same clips, or leave it out"
        )
    for column, what in (("protocol", "protocols"), ("reference_digest", "references")):
        if first[column] != second[column]:
            return (
                f"{metric_id} follows different {what} ({first[column]!r} and {second[column]!r}); two such numbers "
                "are not comparable; score both runs the same way, or leave it out"
            )
    return ""


def obstacles(baseline: Run, candidate: Run, metrics: Sequence[str] | None = None) -> list[Obstacle]:
    """Everything that keeps two runs from being compared.

    Args:
        baseline: first run.
        candidate: second run.
        metrics: look at these metrics only; None means every metric that both runs have.
    """
    suite = suite_obstacle(baseline, candidate)
    if suite:
        return [Obstacle("", suite)]
    first = {record.id: record for record in baseline.manifest.metrics}
    second = {record.id: record for record in candidate.manifest.metrics}
    found = []
    for metric_id in sorted(first.keys() & second.keys()):
        if metrics is not None and metric_id not in metrics:
            continue
        text = metric_obstacle(first[metric_id], second[metric_id])
        if not text and first[metric_id].kind == "set":
            text = set_obstacle(baseline, candidate, metric_id)
        if text:
            found.append(Obstacle(metric_id, text))
    return found


def refuse(found: Sequence[Obstacle]) -> None:
    """Raise if there is an obstacle.

    Raises:
        EvidenceError: names every one of them.
    """
    if found:
        raise EvidenceError(
            "these runs cannot be compared: " + "; ".join(obstacle.text for obstacle in found)
        )
