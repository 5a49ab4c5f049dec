"""What a run says, in numbers: one summary per metric, the category table, completeness and cost.

Statistics treat the prompt as the cluster: samples of one prompt are averaged before anything is inferred.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from evalkit.report.numbers import decimals_for
from evalkit.stats.intervals import Interval, t_interval
from evalkit.stats.pairing import prompt_means

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.runs.manifest import MetricRecord
    from evalkit.runs.store import Run

__all__ = [
    "CategoryCell",
    "CategoryTable",
    "MetricSummary",
    "RunSummary",
    "SetRow",
    "category_table",
    "estimate",
    "group_table",
    "metric_decimals",
    "summarise",
]

TAIL = 0.05
"""Share of clips behind the tail value of a metric: its 5th percentile on the bad side."""


@dataclass(frozen=True)
class MetricSummary:
    """One clip metric over a whole run.

    Attributes:
        record: the metric's card.
        rows: its rows of `scores`.
        interval: mean over prompts with a 95% interval; None when no clip has a value.
        tail: the value that the worst 5% of clips reach; None when no clip has a value.
        counts: status to number of rows.
        reasons: why rows have no value: (status, reason, rows), most frequent first.
    """

    record: MetricRecord
    rows: pd.DataFrame
    interval: Interval | None
    tail: float | None
    counts: dict[str, int]
    reasons: list[tuple[str, str, int]]

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def lower_is_better(self) -> bool:
        return self.record.direction == "lower"

    @cached_property
    def ok(self) -> pd.DataFrame:
        """Rows that have a value."""
        return self.rows[self.rows["status"] == "ok"]

    @property
    def num_ok(self) -> int:
        return len(self.ok)

    @cached_property
    def constant(self) -> bool:
        """Whether every clip has the same value, so that there is nothing to plot or to rank."""
        return self.ok["value"].nunique() <= 1

    @property
    def num_failed(self) -> int:
        """Rows that should have a value and have none: everything but `ok` and `not_applicable`."""
        return sum(count for status, count in self.counts.items() if status not in ("ok", "not_applicable"))

    @property
    def num_not_applicable(self) -> int:
        return self.counts.get("not_applicable", 0)

    @property
    def num_prompts(self) -> int:
        return int(self.ok["prompt_id"].nunique())

    @property
    def decimals(self) -> int:
        """Decimals that the interval justifies."""
        return metric_decimals(self.interval)

    @cached_property
    def clip_decimals(self) -> int:
        """Decimals for one clip's value: those of the mean, and enough to tell the middle half of the clips apart."""
        if self.ok.empty:
            return self.decimals
        low, high = np.quantile(self.ok["value"].to_numpy(float), [0.25, 0.75])
        return max(self.decimals, decimals_for(0.0, float(high - low))) if high > low else self.decimals

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """Rows with a value, worst first, ties by prompt, group and sample, so always in the same order.

        Columns beside those of `scores`: `badness`, the value turned so that higher is worse; `percentile`,
        the share of the run's clips, in percent, that a clip is better than (ties share their mean rank);
        `severity`, the distance from the median in interquartile ranges, towards worse.
        """
        values = self.ok["value"].astype(float)
        badness = values if self.lower_is_better else -values
        if badness.empty:
            return self.ok.assign(badness=badness, percentile=badness, severity=badness)
        low, middle, high = np.quantile(badness, [0.25, 0.5, 0.75])
        # Half of the clips may score the same; the full range still says how far out a clip is.
        spread = (high - low) or float(np.ptp(badness)) or 1.0
        table = self.ok.assign(
            badness=badness,
            percentile=(badness.rank(ascending=False) - 1) / max(1, self.num_ok - 1) * 100,
            severity=(badness - middle) / spread,
        )
        return table.sort_values(
            ["badness", "prompt_id", "group", "sample_index"], ascending=[False, True, True, True]
        )


@dataclass(frozen=True)
class CategoryCell:
    """One metric in one category.

    Attributes:
        interval: mean over the category's prompts; None without values.
        num_prompts: prompts behind it.
        shift: distance from the metric's overall mean in standard deviations between prompts, positive is
            better; 0 where it cannot be told.
        clear: the interval does not contain the overall mean.
    """

    interval: Interval | None
    num_prompts: int
    shift: float
    clear: bool

    @property
    def level(self) -> int:
        """Colour step from -4 (much worse) to 4 (much better)."""
        return max(-4, min(4, round(self.shift * 2.5)))


@dataclass(frozen=True)
class CategoryTable:
    """`cells[row][column]`: a row per category (or group), a column per metric."""

    names: list[str]
    metrics: list[MetricSummary]
    cells: list[list[CategoryCell]]


@dataclass(frozen=True)
class SetRow:
    """One row of `set_scores`, with the metric's card and missing values as None."""

    record: MetricRecord
    group: str
    value: float | None
    low: float | None
    high: float | None
    noise_floor: float | None
    p_value: float | None
    n_generated: int | None
    n_reference: int | None
    protocol: str
    status: str
    reason: str

    @property
    def decimals(self) -> int:
        if self.low is not None and self.high is not None:
            return decimals_for(0.0, (self.high - self.low) / 2)
        return decimals_for(self.value or 0.0)


@dataclass(frozen=True)
class RunSummary:
    """Everything that the report page shows of a run's numbers."""

    run: Run
    metrics: list[MetricSummary]
    sets: list[SetRow]

    def metric(self, metric_id: str) -> MetricSummary:
        """Summary of one metric; KeyError when the run did not use it."""
        return {summary.id: summary for summary in self.metrics}[metric_id]

    @property
    def scored(self) -> list[MetricSummary]:
        """Metrics that gave at least one value."""
        return [metric for metric in self.metrics if metric.num_ok]

    @property
    def quality(self) -> list[MetricSummary]:
        """Scored metrics other than cost: those whose worst clips are worth looking at."""
        return [metric for metric in self.scored if not metric.id.startswith("cost.")]

    @property
    def cost(self) -> list[MetricSummary]:
        return [metric for metric in self.scored if metric.id.startswith("cost.")]

    @cached_property
    def failures(self) -> pd.DataFrame:
        """Rows of `generations` without a clip."""
        table = self.run.generations
        return table[table["status"] != "ok"]

    @cached_property
    def groups(self) -> list[str]:
        """Whom the clips belong to, when one run holds several models; empty for one."""
        groups = sorted(set(self.run.generations["group"]))
        return groups if len(groups) > 1 else []


def metric_decimals(interval: Interval | None) -> int:
    """Decimals for a mean with its interval."""
    if interval is None:
        return 2
    reach = max(interval.high - interval.estimate, interval.estimate - interval.low)
    return decimals_for(interval.estimate, reach if math.isfinite(reach) else None)


def estimate(rows: pd.DataFrame, bounds: tuple[float | None, float | None]) -> Interval | None:
    """Mean over prompts of rows with values, with its 95% interval; None for no rows.

    The interval of few prompts may reach past what the metric can be; it is cut there. A single prompt's stays open.
    """
    if rows.empty:
        return None
    means = prompt_means(rows["prompt_id"].to_numpy(str), rows["value"].to_numpy(float))
    interval = t_interval(means.means)
    if not math.isfinite(interval.standard_error):
        return interval
    lowest, highest = bounds
    return interval._replace(
        low=interval.low if lowest is None else max(interval.low, lowest),
        high=interval.high if highest is None else min(interval.high, highest),
    )


def summarise(run: Run) -> RunSummary:
    """Summarise all clip and set metrics, in the order in which the manifest lists them."""
    by_metric = dict(iter(run.scores.groupby("metric_id", sort=False)))
    metrics = []
    for record in run.manifest.metrics:
        if record.kind != "clip":
            continue
        rows = by_metric.get(record.id, run.scores.iloc[:0])
        ok = rows[rows["status"] == "ok"]
        values = ok["value"].to_numpy(float)
        side = 1 - TAIL if record.direction == "lower" else TAIL
        missing = rows[rows["status"] != "ok"]
        reasons = Counter(zip(missing["status"], missing["reason"].fillna("no reason recorded"), strict=True))
        metrics.append(
            MetricSummary(
                record=record,
                rows=rows,
                interval=estimate(ok, record.range),
                tail=float(np.quantile(values, side)) if values.size else None,
                counts={str(status): int(count) for status, count in rows["status"].value_counts().items()},
                reasons=[(status, reason, count) for (status, reason), count in reasons.most_common()],
            )
        )
    return RunSummary(run, metrics, _set_rows(run))


def _set_rows(run: Run) -> list[SetRow]:
    records = {record.id: record for record in run.manifest.metrics}
    rows = []
    for row in run.set_scores.to_dict("records"):
        numbers = {
            name: None if row[name] is None or row[name] != row[name] else row[name]
            for name in (
                "value",
                "interval_low",
                "interval_high",
                "noise_floor",
                "p_value",
                "n_generated",
                "n_reference",
            )
        }
        rows.append(
            SetRow(
                record=records[row["metric_id"]],
                group=row["group"] or "",
                value=numbers["value"],
                low=numbers["interval_low"],
                high=numbers["interval_high"],
                noise_floor=numbers["noise_floor"],
                p_value=numbers["p_value"],
                n_generated=None if numbers["n_generated"] is None else int(numbers["n_generated"]),
                n_reference=None if numbers["n_reference"] is None else int(numbers["n_reference"]),
                protocol=row["protocol"] or "",
                status=row["status"],
                reason=row["reason"] or "",
            )
        )
    return rows


def category_table(metrics: list[MetricSummary], column: str = "category") -> CategoryTable:
    """Means by category (or any other column of `scores`), each against its metric's overall mean."""
    columns = [_cells(metric, column) for metric in metrics]
    names = sorted({name for cells in columns for name in cells})
    empty = CategoryCell(None, 0, 0.0, clear=False)
    return CategoryTable(names, metrics, [[cells.get(name, empty) for cells in columns] for name in names])


def group_table(summary: RunSummary) -> CategoryTable | None:
    """The same by group; None when the run holds only one."""
    return category_table(summary.scored, "group") if summary.groups else None


def _cells(metric: MetricSummary, column: str) -> dict[str, CategoryCell]:
    """What the clips of each category say, by the category's name."""
    names = [str(name) for name in metric.rows[column].unique()]
    if metric.interval is None:
        return dict.fromkeys(names, CategoryCell(None, 0, 0.0, clear=False))
    means = prompt_means(metric.ok["prompt_id"].to_numpy(str), metric.ok["value"].to_numpy(float)).means
    spread = float(means.std(ddof=1)) if means.size > 1 else 0.0
    overall = metric.interval.estimate
    # Rounding noise of a constant metric is no difference between categories.
    negligible = spread <= 1e-12 * max(1.0, abs(overall))
    with_values = {str(name): rows for name, rows in metric.ok.groupby(column, sort=False)}
    cells = {}
    for name in names:
        rows = with_values.get(name, metric.ok.iloc[:0])
        interval = estimate(rows, metric.record.range)
        if interval is None:
            cells[name] = CategoryCell(None, 0, 0.0, clear=False)
            continue
        better = (interval.estimate - overall) * (-1 if metric.lower_is_better else 1)
        cells[name] = CategoryCell(
            interval,
            int(rows["prompt_id"].nunique()),
            0.0 if negligible else better / spread,
            clear=not negligible and not interval.low <= overall <= interval.high,
        )
    return cells
