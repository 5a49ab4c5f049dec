"""From a report to a regression case, and from a judged case back to its report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from evalkit.failures.errors import InvalidReport, StateConflict, UnknownReport
from evalkit.failures.taxonomy import load_taxonomy
from evalkit.runs.files import write_text
from evalkit.suites.case_files import case_document, load_cases
from evalkit.suites.cases import Case, CaseResult, Detector
from evalkit.suites.prompt import FrozenMapping

if TYPE_CHECKING:
    from evalkit.failures.record import FailureReport
    from evalkit.failures.states import Status
    from evalkit.failures.store import FailureStore

__all__ = ["Applied", "apply_results", "case_of", "mark_fixed", "promote", "suggest_detector", "write_case"]


def suggest_detector(report: FailureReport) -> str | None:
    """Id of the metric that is the best evidence for a report: it belongs to the leaf and has a value on the clip.

    None where only people can tell.
    """
    scored = {entry.metric_id for entry in report.detectors if entry.status == "ok"}
    known = load_taxonomy().leaf(report.category).metrics
    return next((metric for metric in known if metric in scored), next(iter(known), None))


def case_of(
    report: FailureReport,
    *,
    metric: str,
    limit: float,
    seeds: Sequence[int] = (),
    must_pass: int | None = None,
    higher_is_better: bool | None = None,
) -> Case:
    """The regression case of a report, open.

    The detector judges the span that the reporter marked, where the metric has a course over time there.

    Args:
        report: with the prompt and the settings of the clip.
        metric: id of a clip metric.
        limit: the clip passes on the good side of it.
        seeds: by default the seed of the report and the next two.
        must_pass: seeds that must pass once it is fixed; by default the greater half.
        higher_is_better: which side is good; by default what the report's own reading of the metric says.

    Raises:
        InvalidReport: the report has no prompt, or its settings do not say how to make the clip again.
    """
    if not report.prompt.strip():
        raise InvalidReport(f"report {report.id} has no prompt; a case needs one to make the clip again")
    settings = report.reproduction
    if not seeds and settings.seed is None:
        raise InvalidReport(f"report {report.id} names no seed; give some with --seeds")
    seeds = tuple(seeds) or tuple(range(settings.seed or 0, (settings.seed or 0) + 3))
    reading = next((entry for entry in report.detectors if entry.metric_id == metric), None)
    if higher_is_better is None:
        if reading is None:
            raise InvalidReport(
                f"report {report.id} has no reading of {metric}, so it is not known which side of the limit is good"
            )
        higher_is_better = reading.direction == "higher"
    window = reading.window if reading is not None and reading.window_value is not None else None
    params: dict[str, Any] = dict(settings.params)
    for name in (
        "num_frames",
        "height",
        "width",
        "fps",
        "num_inference_steps",
        "guidance_scale",
        "scheduler",
    ):
        if (value := getattr(settings, name)) not in (None, ""):
            params[name] = value
    return Case(
        id=_case_id(report),
        report=report.id,
        state="open",
        category=report.category,
        summary=report.title or report.observation.observed.strip().partition("\n")[0][:200],
        model=f"{report.model.name} {report.model.version}",
        text=report.prompt,
        negative=settings.negative_prompt,
        params=FrozenMapping(params),
        expect=FrozenMapping(settings.expect),
        seeds=seeds,
        must_pass=must_pass if must_pass is not None else len(seeds) // 2 + 1,
        detector=Detector(
            metric=metric,
            window=(window.first, window.last) if window else None,
            min=limit if higher_is_better else None,
            max=None if higher_is_better else limit,
        ),
    )


def _case_id(report: FailureReport) -> str:
    """`flicker-a-red-ball-rolls-t4k9`: says what it is about, and the end of the report's id keeps it unique."""
    leaf = report.category.partition(".")[2].replace("_", "-")
    words = re.findall(r"[a-z0-9]+", report.prompt.lower())[:4]
    return "-".join([leaf, *words])[:70].rstrip("-") + "-" + report.id[-6:].lower()


def write_case(folder: Path, case: Case) -> Path:
    """Write `<id>.yaml`, atomically, and read it back: a case that cannot be loaded would block every gate."""
    path = folder / f"{case.id}.yaml"
    text = yaml.safe_dump(case_document(case), sort_keys=False, allow_unicode=True, width=100)
    write_text(path, text)
    load_cases(path)
    return path


def promote(
    store: FailureStore,
    report_id: str,
    *,
    folder: Path,
    actor: str,
    metric: str | None = None,
    limit: float | None = None,
    seeds: Sequence[int] = (),
    must_pass: int | None = None,
) -> Path:
    """Write the regression case of a confirmed report, and note it in the report.

    Metric, limit and seeds default to those of the last reproduction in which a seed failed.

    Returns:
        the case's file.

    Raises:
        StateConflict: the report is not confirmed, or has a case already.
        InvalidReport: nothing says which metric and limit tell the failure, or it is restricted.
    """
    report = store.get(report_id)
    if report.case:
        raise StateConflict(f"report {report.id} was promoted already; its case is {report.case}")
    if report.status not in ("confirmed", "regressed"):
        raise StateConflict(f"report {report.id} is {report.status}; confirm it before it is promoted")
    if report.restricted:
        raise InvalidReport(
            f"report {report.id} is restricted ({report.category}); its prompt may not go into a file that is shared"
        )
    shown = [entry for entry in report.confirmations if entry.kind == "reproduction" and entry.failed_seeds]
    if shown:
        last = shown[-1]
        metric, limit, seeds = (
            metric or last.metric_id,
            last.limit if limit is None else limit,
            seeds or last.seeds,
        )
    if metric is None or limit is None:
        raise InvalidReport(
            f"nothing tells when report {report.id} is mended; run `evalkit failures confirm {report.id}` with a model, "
            "or give --metric and --limit"
        )
    path = write_case(folder, case_of(report, metric=metric, limit=limit, seeds=seeds, must_pass=must_pass))
    store.change(
        report.id, actor=actor, action="promoted", changed=lambda _: {"case": path.stem}, note=path.name
    )
    return path


def mark_fixed(folder: Path, case_id: str) -> Path:
    """Set a case to `fixed`, so that the gate demands it; comments and layout of the file are kept.

    Raises:
        InvalidReport: there is no such case, or it has no line `state: open`.
    """
    path = folder / f"{case_id}.yaml"
    if not path.is_file():
        raise InvalidReport(f"{path} does not exist; give the folder of the cases with --cases")
    text = path.read_text(encoding="utf-8")
    changed, count = re.subn(r"(?m)^state:[ \t]*open[ \t]*$", "state: fixed", text)
    if count == 0 and load_cases(path)[0].state != "fixed":
        raise InvalidReport(f"{path} has no line `state: open`; set its state by hand")
    if count:
        write_text(path, changed)
    return path


class Applied(NamedTuple):
    """What a judged case did to its report; the statuses are None where the store does not have the report."""

    report_id: str
    case_id: str
    before: Status | None
    after: Status | None
    message: str


def apply_results(store: FailureStore, results: Iterable[CaseResult], *, actor: str) -> list[Applied]:
    """Carry the verdicts on cases over to their reports.

    A fixed report whose case passes is verified. A fixed or verified report whose case fails has regressed. An open
    case that passes unexpectedly is noted in the history, and a person decides. Evidence that is missing changes
    nothing. A case whose report is in another store is told, and changes nothing either.
    """
    applied = []
    for result in results:
        if not result.case.report:
            continue
        try:
            report = store.get(result.case.report)
        except UnknownReport:
            message = f"{result.message}; its report is not in this store"
            applied.append(Applied(result.case.report, result.case.id, None, None, message))
            continue
        before = report.status
        target = {
            ("passed", "fixed"): "verified",
            ("passed", "regressed"): None,
            ("failed", "fixed"): "regressed",
            ("failed", "verified"): "regressed",
        }.get((result.outcome, before))
        if target == "verified":
            report = store.move(report.id, "verified", actor=actor, note=result.message)
        elif target == "regressed":
            report = store.move(report.id, "regressed", actor=actor, note=result.message)
        elif result.outcome == "unexpected_pass":
            report = store.comment(report.id, result.message, actor=actor)
        applied.append(Applied(report.id, result.case.id, before, report.status, result.message))
    return applied
