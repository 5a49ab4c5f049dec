"""Which clips of a run deserve a report, and filing them: the worst values, or the biggest drops since a baseline."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.failures.drafts import clip_fields, find_clip, keep_clip
from evalkit.failures.errors import InvalidReport
from evalkit.failures.record import Segment, parse_report
from evalkit.failures.taxonomy import load_taxonomy

if TYPE_CHECKING:
    from evalkit.failures.store import FailureStore, Filed
    from evalkit.runs.manifest import MetricRecord
    from evalkit.runs.store import Run

__all__ = ["WorstClip", "file_drafts", "file_gate_drafts", "regressed_checks", "worst_clips"]


class WorstClip(NamedTuple):
    """A clip that stands out: its row of the generations table, the metric that says so, and fields of a report."""

    row: dict[str, Any]
    metric_id: str
    fields: dict[str, Any]


def file_drafts(
    store: FailureStore,
    run: Run,
    *,
    baseline: Run | None,
    count: int,
    actor: str,
    metrics: Sequence[str] = (),
    gate_check: str = "",
) -> list[Filed]:
    """File reports for the worst clips of a run. Drafting the same run again files nothing twice.

    Args:
        store: where.
        run, baseline, count, metrics: as for `worst_clips`.
        actor: for the history.
        gate_check: id of the gate's check that failed; the source of the reports is then the gate.
    """
    filed = []
    for row, metric_id, fields in worst_clips(run, baseline, count, metrics):
        fields["evidence"]["clip"] |= keep_clip(store, run, row, actor=actor)
        if gate_check:
            fields["source"] = {"kind": "gate", "name": gate_check}
        key = f"draft:{run.manifest.run_id}:{row['clip_id']}:{metric_id}"
        filed.append(store.add(parse_report(fields), actor=actor, filing_key=key[:100], action="drafted"))
    return filed


def regressed_checks(gate_result: Path) -> dict[str, str]:
    """Ids of the checks of a `gate.json` that got worse, with the metric of each; waived ones, too.

    Raises:
        InvalidReport: the file is no result of `evalkit gate --out`.
    """
    try:
        content = json.loads(gate_result.read_text(encoding="utf-8"))
        if content["schema"] != "evalkit.gate-result/v1":
            raise ValueError(f"its schema is {content['schema']!r}")
        return {
            check["id"]: check["metric"]
            for check in content["checks"]
            if check["verdict"] == "REGRESS" and check["metric"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidReport(
            f"{gate_result} is no gate.json ({error}); `evalkit gate --out FOLDER` writes one"
        ) from error


def file_gate_drafts(
    store: FailureStore, run: Run, gate_result: Path, *, baseline: Run | None, count: int, actor: str
) -> list[Filed]:
    """File reports for the worst clips of every check that a gate found worse.

    Args:
        store: where.
        run, baseline: the runs that the gate compared.
        gate_result: its `gate.json`.
        count: clips a check at most.
        actor: for the history.
    """
    return [
        filed
        for check, metric in regressed_checks(gate_result).items()
        for filed in file_drafts(
            store, run, baseline=baseline, count=count, actor=actor, metrics=[metric], gate_check=check
        )
    ]


def worst_clips(
    run: Run, baseline: Run | None, count: int, metrics: Sequence[str] = ()
) -> Iterator[WorstClip]:
    """The clips that deserve a report: the biggest paired drops against a baseline, else the worst values.

    A clip is named once, by the metric under which it stands out most: drops and values are ranked in units of the
    metric's standard deviation over the run, since metrics have different units.

    Args:
        run: what is judged.
        baseline: paired by prompt and sample; None for the worst values.
        count: how many clips at most.
        metrics: ids; by default all clip metrics that are evidence for a leaf of the taxonomy.

    """
    taxonomy = load_taxonomy()
    ranked: list[tuple[float, str, str, float, float | None]] = []
    for record in run.manifest.metrics:
        if record.kind != "clip" or (metrics and record.id not in metrics):
            continue
        if not metrics and not (record.leaf or taxonomy.leaves_of_metric(record.id)):
            continue
        ranked += _rank(run, baseline, record)
    ranked.sort(key=lambda entry: -entry[0])
    seen: set[str] = set()
    for badness, clip_id, metric_id, value, before in ranked:
        if badness <= 0 or len(seen) == count:
            return
        if clip_id in seen:
            continue
        seen.add(clip_id)
        row = find_clip(run, clip_id)
        record = run.manifest.metric(metric_id)
        leaves = taxonomy.leaves_of_metric(metric_id)
        category = (
            record.leaf if record.leaf in taxonomy.ids else leaves[0].id if leaves else "meta.unclassified"
        )
        segments = worst_window(run, clip_id, record)
        than = f", {before:.4g} in the baseline" if before is not None else ""
        fields = {
            **clip_fields(run, row, segments, category),
            "category": category,
            "severity": "S1",
            "source": {"kind": "metric", "name": metric_id},
            "title": f"{record.title}: {value:.4g}{than}"[:500],
            "observation": {"segments": [segment.model_dump() for segment in segments]},
        }
        yield WorstClip(row, metric_id, fields)


def _rank(
    run: Run, baseline: Run | None, record: MetricRecord
) -> Iterator[tuple[float, str, str, float, float | None]]:
    keys = ["prompt_id", "group", "sample_index"]

    def scored(of: Run) -> Any:
        table = of.scores
        return table[(table["metric_id"] == record.id) & (table["status"] == "ok")].set_index(keys)

    own = scored(run)
    spread = float(own["value"].std(ddof=0))
    if not math.isfinite(spread) or spread == 0:
        return
    sign = 1.0 if record.direction == "lower" else -1.0
    if baseline is None:
        middle = float(own["value"].median())
        for clip_id, value in zip(own["clip_id"], own["value"], strict=True):
            yield sign * (value - middle) / spread, clip_id, record.id, float(value), None
        return
    pairs = own.join(scored(baseline)["value"].rename("before"), how="inner")
    for clip_id, value, before in zip(pairs["clip_id"], pairs["value"], pairs["before"], strict=True):
        yield sign * (value - before) / spread, clip_id, record.id, float(value), float(before)


def worst_window(run: Run, clip_id: str, record: MetricRecord) -> tuple[Segment, ...]:
    """The stretch of a quarter of the clip in which the metric's series is worst; empty without a series.

    A series points the way its metric does: a higher value is worse where `direction` is `lower`.
    """
    course = run.series[(run.series["clip_id"] == clip_id) & (run.series["metric_id"] == record.id)]
    if course.empty or len(course["values"].iloc[0]) < 2:
        return ()
    values = [float(value) for value in course["values"].iloc[0]]
    length = max(1, len(values) // 4)
    sums = [sum(values[start : start + length]) for start in range(len(values) - length + 1)]
    worst = max(sums) if record.direction == "lower" else min(sums)
    first = sums.index(worst)
    last = first + length - (0 if record.series == "transition" else 1)
    return (Segment(first=first, last=last),)
