"""Is a study worse than the one on record, beyond the record's own interval?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.metrics.registry import metric_specs

__all__ = ["outdated", "worse"]

_FIGURES = ("monotone", "detected", "iou")
Summary = Mapping[str, Any]


def outdated(summary: Summary) -> list[str]:
    """Metrics whose version is not the one that the summary measured, one sentence each."""
    specs = metric_specs()
    return [
        f"{name} was measured as version {version} and is now {specs[name].version if name in specs else 'gone'}"
        for name, version in summary["versions"].items()
        if name not in specs or specs[name].version != version
    ]


def worse(new: Summary, record: Summary) -> list[str]:
    """What fell below the lower end of the record's 95% interval, one sentence each.

    Only what both hold is compared: defects by source, defect and metric; sets and shares by metric and defect; agreement by metric
    and rating; alignment by task.
    """
    return [
        f"{what}: {value:.3f}, on record {before:.3f} (95% down to {low:.3f})"
        for what, value, before, low in _pairs(new, record)
        # Both are rounded when they are written.
        if value < low - 1e-6
    ]


def _pairs(new: Summary, record: Summary) -> Iterator[tuple[str, float, float, float]]:
    for part in ("defects", "slice"):
        known = {(item["source"], item["defect"], item["metric"]): item for item in record.get(part, [])}
        for item in new.get(part, []):
            before = known.get((item["source"], item["defect"], item["metric"]))
            for name in _FIGURES if before else ():
                if item[name] is not None and name in before["intervals"]:
                    title = f"{part} {item['source']} {item['defect']} {item['metric']} {name}"
                    yield title, item[name], before[name], before["intervals"][name][0]
    sets = {(item["metric"], item["defect"]): item for item in record.get("sets", [])}
    for item in new.get("sets", []):
        if (before := sets.get((item["metric"], item["defect"]))) is not None:
            title = f"sets {item['defect']} {item['metric']} monotone"
            yield title, item["monotone"], before["monotone"], before["interval"][0]
    shares = {(item["metric"], item["defect"]): item for item in record.get("shares", [])}
    for item in new.get("shares", []):
        if (before := shares.get((item["metric"], item["defect"]))) is not None:
            title = f"shares {item['defect']} {item['metric']} monotone"
            yield title, item["monotone"], before["monotone"], before["interval"][0]
    prompts = {item["metric"]: item for item in record.get("prompts", [])}
    for item in new.get("prompts", []):
        if (before := prompts.get(item["metric"])) is not None:
            yield f"prompts {item['metric']} auc", item["auc"], before["auc"], before["interval"][0]
    people = {(item["metric"], item["rating"]): item for item in record.get("people", [])}
    for item in new.get("people", []):
        if (before := people.get((item["metric"], item["rating"]))) is not None:
            title = f"people {item['metric']} {item['rating']}"
            yield title, item["spearman"], before["spearman"], before["interval"][0]
    tasks = {item["task"]: item for item in record.get("alignment", [])}
    for item in new.get("alignment", []):
        if (before := tasks.get(item["task"])) is not None:
            yield f"alignment {item['task']}", item["value"], before["value"], before["interval"][0]
