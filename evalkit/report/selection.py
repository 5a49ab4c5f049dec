"""Which clips are worth a person's time: the worst by metric and category, and a random control sample."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evalkit.report.evidence import Window, worst_window

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.report.summary import MetricSummary, RunSummary

__all__ = ["ClipKey", "Pick", "SeriesTable", "clip_keys", "control_sample", "most_telling", "worst_clips"]

ClipKey = tuple[str, str, int]
"""(prompt_id, group, sample_index): a planned clip. Two of them may share pixels, and so a clip_id."""


@dataclass(frozen=True)
class Pick:
    """A clip that is bad under a metric.

    Attributes:
        key: which clip.
        clip_id: its pixels.
        metric: the metric.
        value: its score.
        percentile: share of the run's clips it is better than, in percent.
        severity: distance from the metric's median in interquartile ranges, towards worse.
    """

    key: ClipKey
    clip_id: str
    metric: MetricSummary
    value: float
    percentile: float
    severity: float


def clip_keys(table: pd.DataFrame) -> list[ClipKey]:
    """Keys of the rows of `scores`, `series` or `generations`, in order."""
    columns = (table["prompt_id"], table["group"], table["sample_index"])
    return [(str(prompt), str(group), int(sample)) for prompt, group, sample in zip(*columns, strict=True)]


class SeriesTable:
    """Series of a run by clip and metric, and what is usual for each metric."""

    def __init__(self, summary: RunSummary, only: Collection[ClipKey] | None = None) -> None:
        """Series of all clips, or of some; what is usual is always that of all."""
        table = summary.run.series
        by_metric = dict(iter(table.groupby("metric_id", sort=False)))
        self._kinds = {str(metric): str(rows["kind"].iloc[-1]) for metric, rows in by_metric.items()}
        self.typical = {
            str(metric): float(np.median(values))
            for metric, rows in by_metric.items()
            if len(values := np.concatenate([np.asarray(series, float) for series in rows["values"]]))
        }
        if only is not None:
            table = table[table["prompt_id"].isin({prompt for prompt, _, _ in only})]
        self._values = {
            (key, metric): np.asarray(values, dtype=float)
            for key, metric, values in zip(clip_keys(table), table["metric_id"], table["values"], strict=True)
        }

    def values(self, key: ClipKey, metric_id: str) -> np.ndarray | None:
        """Series of a clip under a metric."""
        return self._values.get((key, metric_id))

    def kind(self, metric_id: str) -> str:
        """`frame`, `transition`, or `none` where the metric has no series."""
        return self._kinds.get(metric_id, "none")

    def window(self, key: ClipKey, metric: MetricSummary) -> Window | None:
        """The worst stretch of a clip under a metric."""
        values, kind = self.values(key, metric.id), self.kind(metric.id)
        if values is None or kind not in ("frame", "transition"):
            return None
        return worst_window(
            values,
            "frame" if kind == "frame" else "transition",
            lower_is_better=metric.lower_is_better,
            typical=self.typical.get(metric.id),
        )


def worst_clips(metric: MetricSummary, count: int, *, category: str | None = None) -> list[Pick]:
    """The `count` worst clips under a metric, or under it in one category, worst first."""
    table = metric.ranked
    if category is not None:
        table = table[table["category"] == category]
    table = table.head(count)
    columns = (table["clip_id"], table["value"], table["percentile"], table["severity"])
    return [
        Pick(key, str(clip_id), metric, float(value), float(percentile), float(severity))
        for key, (clip_id, value, percentile, severity) in zip(
            clip_keys(table), zip(*columns, strict=True), strict=True
        )
    ]


def most_telling(
    metrics: Iterable[MetricSummary], count: int, *, per_metric: int = 2, category: str | None = None
) -> list[Pick]:
    """The worst clips over all metrics, each once, under the metric in which it stands out most.

    Every metric gives its `per_metric` worst; a metric on which all clips score alike gives none.
    """
    best: dict[ClipKey, Pick] = {}
    for metric in metrics:
        for candidate in worst_clips(metric, per_metric, category=category):
            known = best.get(candidate.key)
            if candidate.severity > 0 and (known is None or candidate.severity > known.severity):
                best[candidate.key] = candidate
    return sorted(best.values(), key=lambda chosen: (-chosen.severity, chosen.key))[:count]


def control_sample(summary: RunSummary, count: int, seed: int = 0) -> list[ClipKey]:
    """Clips drawn at random from all that exist: what the run looks like when nobody picks.

    Drawn from the run's id and `seed`, so that rendering again shows the same ones.
    """
    table = summary.run.generations
    keys = sorted(clip_keys(table[table["status"] == "ok"]))
    identity = int.from_bytes(summary.run.manifest.run_id.encode()[:8].ljust(8, b"\0"), "big")
    rng = np.random.default_rng([identity, seed])
    chosen = rng.permutation(len(keys))[:count]
    return [keys[index] for index in sorted(chosen.tolist())]
