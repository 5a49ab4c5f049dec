"""Does it happen again? The model makes the clip over k seeds, and the metric judges each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evalkit.failures.errors import InvalidReport
from evalkit.failures.promote import case_of, suggest_detector
from evalkit.failures.record import Confirmation, Model, now
from evalkit.suites.cases import check_case, to_suite, window_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evalkit.failures.record import FailureReport
    from evalkit.runs.store import Run
    from evalkit.suites.cases import CaseResult

__all__ = ["Reproduced", "reproduce", "suggest_limit"]


class Reproduced(NamedTuple):
    """A reproduction that ran: what goes into the report, each seed's result, and the run with its clips."""

    confirmation: Confirmation
    result: CaseResult
    run: Run


def reproduce(
    report: FailureReport,
    *,
    out: Path,
    by: str,
    model_spec: str = "",
    metric: str = "",
    limit: float | None = None,
    seeds: Sequence[int] = (),
    run: Run | None = None,
    device: str = "cpu",
    workers: int | None = None,
) -> Reproduced:
    """Run the model again with the report's prompt and settings.

    The clips are made, scored and judged exactly as the promoted case will be.

    Args:
        report: what to reproduce.
        out: run folder for the clips; it stays, as evidence.
        by: who asks, for the confirmation.
        model_spec: as for `evalkit run --model`; by default the report's.
        metric: what judges; by default the best evidence for the report's category.
        limit: what separates bad from good; by default halfway between the reported clip and its run (`suggest_limit`).
        seeds: by default the reported seed and the next two.
        run: the run that the clip comes from, for the default limit.
        device, workers: as for `evalkit run`.

    Raises:
        InvalidReport: the report does not say enough; the message names what to give.
        EvalkitError: the model or the metric cannot be used.
    """
    from evalkit.engine.run import run_model
    from evalkit.metrics.registry import load_metric
    from evalkit.models import load_model

    spec = model_spec or report.reproduction.model_spec
    if not spec:
        raise InvalidReport(f"report {report.id} names no model that can be run; give one with --model")
    metric = metric or suggest_detector(report) or ""
    if not metric:
        raise InvalidReport(
            f"no metric can tell {report.category}; let a second person look (`evalkit failures confirm {report.id} "
            "--witness`), or give --metric and --limit"
        )
    if limit is None:
        if run is None:
            raise InvalidReport(
                f"give --limit, or --run with the run that the clip of report {report.id} comes from"
            )
        limit = suggest_limit(report, run, metric)
    card = load_metric(metric).spec
    case = case_of(
        report, metric=card.id, limit=limit, seeds=seeds, higher_is_better=card.direction == "higher"
    )
    model = load_model(spec)
    made = run_model(
        to_suite([case]),
        model,
        out,
        metrics=[metric],
        device=device,
        workers=workers,
        command=["evalkit", "failures", "confirm", report.id],
    )
    result = check_case(made.scores, made.series, case)
    missing = [f"seed {entry.seed}: {entry.reason}" for entry in result.seeds if entry.passed is None]
    if missing:
        raise InvalidReport(f"the reproduction of report {report.id} says nothing: {'; '.join(missing)}")
    confirmation = Confirmation(
        kind="reproduction",
        by=by,
        at=now(),
        model=Model(name=model.info.id, version=model.info.revision),
        seeds=case.seeds,
        failed_seeds=tuple(entry.seed for entry in result.seeds if not entry.passed),
        metric_id=metric,
        limit=limit,
        values={str(entry.seed): entry.value for entry in result.seeds},
        note=f"{len([e for e in result.seeds if not e.passed])} of {len(result.seeds)} seeds break "
        f"{metric} {case.detector.limit}",
    )
    return Reproduced(confirmation, result, made)


def suggest_limit(report: FailureReport, run: Run, metric: str) -> float:
    """Halfway between the reported clip and the median of its run, both read inside the reported span.

    Raises:
        InvalidReport: the run has no value for the clip, or the clip is no worse than the median, so that the metric
            does not see what the reporter saw.
    """
    metric_id = metric.partition(":")[0]
    reading = next((entry for entry in report.detectors if entry.metric_id == metric_id), None)
    if reading is None or reading.value is None:
        raise InvalidReport(f"report {report.id} has no value of {metric_id}; give --limit")
    scores, series = run.scores, run.series
    if reading.window is not None and reading.window_value is not None:
        own = reading.window_value
        window = (reading.window.first, reading.window.last)
        rows = series[series["metric_id"] == metric_id]
        others = [
            value
            for values, kind in zip(rows["values"], rows["kind"], strict=True)
            if (value := window_value(values, kind, window)) is not None
        ]
    else:
        own = reading.value
        scored = scores[(scores["metric_id"] == metric_id) & (scores["status"] == "ok")]
        others = [float(value) for value in scored["value"]]
    others.sort()
    if not others:
        raise InvalidReport(f"{run.folder} has no value of {metric_id}; give --limit")
    middle = others[len(others) // 2]
    if (own <= middle) if reading.direction == "lower" else (own >= middle):
        raise InvalidReport(
            f"{metric_id} does not see this failure: the clip has {own:.4g}, the median of its run is {middle:.4g}; "
            "choose another --metric, give --limit, or file the metric itself as meta.metric_wrong"
        )
    return float(f"{(own + middle) / 2:.4g}")  # as people write it; the values differ by far more
