"""`evalkit failures`: file, triage, reproduce, promote, export and import failure reports."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli.failure_filing import new
from evalkit.cli.failure_options import (
    Actor,
    Cases,
    Db,
    Json,
    ReportId,
    Restricted,
    open_failures,
    say,
    who_am_i,
)

if TYPE_CHECKING:
    from evalkit.failures.record import FailureReport
    from evalkit.failures.store import FailureStore

__all__ = ["failures_app"]

failures_app = typer.Typer(
    help="File, triage, reproduce and promote failure reports.",
    epilog="Example: evalkit failures new --run runs/first --clip CLIP_ID",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

failures_app.command(
    "new",
    epilog="Example: evalkit failures new --run runs/first --clip p0003#0 --category temporal.flicker --frames 4-9",
)(new)


def _find(store: FailureStore, name: str) -> FailureReport:
    """A report by its id or by an ending of it that only one report has."""
    from evalkit.failures.errors import InvalidReport, UnknownReport
    from evalkit.failures.store import Query

    if len(name) == 26:
        return store.get(name.upper())
    found = [r for r in store.find(Query(restricted=True, limit=100_000)) if r.id.endswith(name.upper())]
    if len(found) > 1:
        raise InvalidReport(f"{len(found)} reports end with {name!r}; give more characters")
    if not found or len(name) < 4:
        raise UnknownReport(name)
    return found[0]


@failures_app.command("list", epilog="Example: evalkit failures list --status triaged --category temporal")
def list_reports(
    status: Annotated[list[str] | None, typer.Option(help="Only this status; repeatable.")] = None,
    category: Annotated[str, typer.Option(help="Only this class or class.leaf.")] = "",
    severity: Annotated[str, typer.Option(help="Only this severity.")] = "",
    model: Annotated[str, typer.Option(help="Only this model.")] = "",
    text: Annotated[str, typer.Option(help="Words of the prompt.")] = "",
    limit: Annotated[int, typer.Option(help="At most this many, newest first.")] = 50,
    restricted: Restricted = False,
    db: Db = "",
    as_json: Json = False,
) -> None:
    """List reports, newest first."""
    from evalkit.failures.store import Query

    query = Query(
        status=tuple(status or ()), category=category, severity=severity, model=model, text=text,
        restricted=restricted, limit=limit,
    )  # fmt: skip
    reports = open_failures(db).find(query)
    if as_json:
        typer.echo(json.dumps([report.model_dump(mode="json") for report in reports], indent=2))
        return
    for report in reports:
        prompt = "(restricted)" if report.restricted else report.prompt[:48]
        version = f"{report.model.name} {report.model.version}"
        typer.echo(
            f"{report.id}  {report.status:<16} {report.severity} {report.category:<24} {version[:20]:<20} {prompt}"
        )


@failures_app.command("show", epilog="Example: evalkit failures show T4K9XZ")
def show(report_id: ReportId, db: Db = "", as_json: Json = False) -> None:
    """Show one report with its history."""
    from evalkit.failures.exporting import to_document
    from evalkit.failures.github import issue_markdown

    store = open_failures(db)
    report = _find(store, report_id)
    history = store.history(report.id)
    if as_json:
        typer.echo(json.dumps(to_document(report, history), indent=2, ensure_ascii=False))
        return
    typer.echo(issue_markdown(report))
    for entry in history:
        step = (
            f"{entry.from_status} -> {entry.to_status}"
            if entry.from_status != entry.to_status
            else entry.to_status
        )
        typer.echo(f"{entry.at:%Y-%m-%d %H:%M:%S} {entry.actor}: {entry.action} ({step}) {entry.note}")


@failures_app.command(
    "triage", epilog="Example: evalkit failures triage T4K9XZ --status duplicate --of 7QW2AB"
)
def triage(
    report_id: Annotated[str, typer.Argument(metavar="[ID]", help="Report id; not needed with --run.")] = "",
    status: Annotated[str, typer.Option(help="New status.")] = "",
    of: Annotated[str, typer.Option(help="With --status duplicate: the report that this one repeats.")] = "",
    category: Annotated[str, typer.Option(help="Another category.")] = "",
    severity: Annotated[str, typer.Option(help="Another severity.")] = "",
    note: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    run: Annotated[
        Path | None,
        typer.Option(help="A run over the regression cases: verify what passes, reopen what fails."),
    ] = None,
    cases: Cases = Path("regressions"),
    db: Db = "",
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """Move a report on, change its category or severity, comment, or carry over what a run says about the cases."""
    store, who = open_failures(db), who_am_i(actor)
    if run is not None:
        _apply(store, run, cases, who, as_json)
        return
    if not report_id:
        raise typer.BadParameter("give a report id, or --run with a run over the regression cases")
    from evalkit.failures.triage import triage_report

    report = _find(store, report_id)
    report = triage_report(
        store,
        report.id,
        actor=who,
        status=status,
        duplicate_of=_find(store, of).id if of else None,
        category=category,
        severity=severity,
        note=note,
        cases=cases,
    )
    say(report, as_json, f"{report.id} is {report.status} ({report.category}, {report.severity})")


def _apply(store: FailureStore, run: Path, cases: Path, who: str, as_json: bool) -> None:
    from evalkit.failures.promote import apply_results
    from evalkit.runs.store import open_run
    from evalkit.suites.case_files import load_cases
    from evalkit.suites.cases import check_cases

    opened = open_run(run)
    applied = apply_results(store, check_cases(opened.scores, opened.series, load_cases(cases)), actor=who)
    if as_json:
        typer.echo(json.dumps([entry._asdict() for entry in applied], indent=2))
    for entry in applied:
        step = entry.after if entry.before == entry.after else f"{entry.before} -> {entry.after}"
        typer.echo(f"{entry.report_id} {step or 'unknown'}: {entry.message}", err=True)


@failures_app.command(
    "confirm", epilog="Example: evalkit failures confirm T4K9XZ --model reference --run runs/first"
)
def confirm(
    report_id: ReportId,
    witness: Annotated[bool, typer.Option("--witness", help="You saw it too; nothing is run.")] = False,
    model: Annotated[str, typer.Option(help="Model to run (default: the one in the report).")] = "",
    run: Annotated[Path | None, typer.Option(help="Run of the reported clip, for the default limit.")] = None,
    metric: Annotated[
        str, typer.Option(help="What judges (default: the best evidence for the category).")
    ] = "",
    limit: Annotated[
        float | None,
        typer.Option(help="Between bad and good (default: halfway from the clip to its run's median)."),
    ] = None,
    seeds: Annotated[
        str, typer.Option(help="Seeds, e.g. 7,8,9 (default: the reported one and the next two).")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Run folder for the clips (default: failures/reproductions/ID-N).")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the model computes.")] = "cpu",
    workers: Annotated[int | None, typer.Option(help="Worker processes (0: this process only).")] = None,
    note: Annotated[str, typer.Option(help="With --witness: what you saw.")] = "",
    db: Db = "",
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """Reproduce a report with the model over k seeds, or bear witness to it.

    A triaged report that is reproduced by at least one seed, or seen by two people, becomes confirmed.
    """
    from evalkit.failures.record import Confirmation, now

    store, who = open_failures(db), who_am_i(actor)
    report = _find(store, report_id)
    if witness:
        confirmation = Confirmation(kind="witness", by=who, at=now(), note=note)
    else:
        from evalkit.failures.reproduce import reproduce
        from evalkit.runs.store import open_run

        folder = out or Path("failures/reproductions") / f"{report.id}-{len(report.confirmations) + 1}"
        done = reproduce(
            report,
            out=folder,
            by=who,
            model_spec=model,
            metric=metric,
            limit=limit,
            seeds=_seeds(seeds),
            run=open_run(run) if run else None,
            device=device,
            workers=workers,
        )
        confirmation = done.confirmation
        for entry in done.result.seeds:
            value = "no value" if entry.value is None else f"{entry.value:.4g}"
            typer.echo(
                f"seed {entry.seed}: {value}, {'good' if entry.passed else 'fails'} {entry.reason}", err=True
            )
    report = store.confirm(report.id, confirmation, actor=who)
    failed, tried = report.failed_of_tried
    say(report, as_json, f"{report.id} is {report.status}; {failed} of {tried} seeds failed so far")


@failures_app.command("measure", epilog="Example: evalkit failures measure T4K9XZ")
def measure(
    report_id: ReportId,
    media: Annotated[
        Path | None, typer.Option(help="Folder of the reports' files (default: beside the database).")
    ] = None,
    db: Db = "",
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """Run the metrics that are evidence for a report's category on its uploaded clip.

    Filing does it already; do it again after the category or the marked frames were changed.
    """
    from evalkit.failures.detect import add_detectors

    store = open_failures(db, media)
    report = add_detectors(store, _find(store, report_id).id, actor=who_am_i(actor))
    for entry in report.detectors:
        value = f"{entry.status}: {entry.reason}" if entry.value is None else f"{entry.value:.4g}"
        typer.echo(f"{entry.metric_id}: {value}", err=True)
    say(report, as_json, f"{report.id} has {len(report.detectors)} readings")


def _seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(f"--seeds {text!r}: write whole numbers with commas, e.g. 7,8,9")
    return tuple(map(int, parts))


@failures_app.command("promote", epilog="Example: evalkit failures promote T4K9XZ")
def promote(
    report_id: ReportId,
    metric: Annotated[str, typer.Option(help="What judges (default: as confirmed).")] = "",
    limit: Annotated[float | None, typer.Option(help="Between bad and good (default: as confirmed).")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, e.g. 7,8,9 (default: as confirmed).")] = "",
    must_pass: Annotated[
        int | None, typer.Option(help="Seeds that must pass once fixed (default: more than half).")
    ] = None,
    cases: Cases = Path("regressions"),
    db: Db = "",
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """Write the regression case of a confirmed report: `regressions/<id>.yaml`, checked by `evalkit gate`."""
    from evalkit.failures.promote import promote as promote_report

    store = open_failures(db)
    report = _find(store, report_id)
    path = promote_report(
        store, report.id, folder=cases, actor=who_am_i(actor), metric=metric or None, limit=limit,
        seeds=_seeds(seeds), must_pass=must_pass,
    )  # fmt: skip
    say(
        store.get(report.id),
        as_json,
        f"wrote {path}; commit it, and run it with: evalkit run --suite {cases}/",
    )


@failures_app.command("export", epilog="Example: evalkit failures export --format csv --out failures.csv")
def export(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Reports (default: all).")
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--format", help="json, jsonl, csv, github-issue, github-form, label-studio, fiftyone, avid."
        ),
    ] = "json",
    out: Annotated[Path | None, typer.Option(help="File (default: stdout).")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only this status; repeatable.")] = None,
    category: Annotated[str, typer.Option(help="Only this class or class.leaf.")] = "",
    media_prefix: Annotated[
        str, typer.Option(help="Put before a media digest where a path or URL is wanted.")
    ] = "",
    restricted: Restricted = False,
    db: Db = "",
) -> None:
    """Write reports for other tools. Restricted reports stay out unless asked for, and the count is told."""
    from evalkit.failures.exporting import export as export_reports
    from evalkit.failures.store import Query
    from evalkit.runs.files import write_text

    store = open_failures(db)
    if ids:
        reports = [_find(store, name) for name in ids]
    else:
        query = Query(status=tuple(status or ()), category=category, restricted=True, limit=1_000_000)
        reports = store.find(query)
    result = export_reports(store, reports, kind, restricted=restricted, media_prefix=media_prefix)
    if out is None:
        sys.stdout.buffer.write(result.text.encode())  # as it is: CSV has its own line ends
        sys.stdout.buffer.flush()
    else:
        write_text(out, result.text)
    if result.withheld:
        typer.echo(
            f"{result.withheld} restricted reports were left out; --restricted includes them", err=True
        )


@failures_app.command("import", epilog="Example: evalkit failures import failures.jsonl")
def import_(
    file: Annotated[Path, typer.Argument(help="A JSON or JSONL export.")],
    db: Db = "",
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """File reports from an export. Ids are kept; a report that is known already is left as it is."""
    from evalkit.failures.errors import InvalidReport
    from evalkit.failures.exporting import import_reports

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidReport(f"{file} cannot be read as UTF-8 text: {error}") from error
    done = import_reports(open_failures(db), text, actor=who_am_i(actor))
    if as_json:
        typer.echo(json.dumps(done._asdict(), indent=2))
    typer.echo(f"imported {len(done.added)} reports, {len(done.known)} were known", err=True)


@failures_app.command("schema", epilog="Example: evalkit failures schema > failure-report.schema.json")
def schema(
    taxonomy: Annotated[bool, typer.Option("--taxonomy", help="The classes and leaves instead.")] = False,
) -> None:
    """Print the JSON Schema (2020-12) of a report, or the taxonomy."""
    if not taxonomy:
        from evalkit.failures.schema import report_schema

        typer.echo(json.dumps(report_schema(), indent=2))
        return
    from evalkit.failures.taxonomy import load_taxonomy

    loaded = load_taxonomy()
    typer.echo(f"failure taxonomy {loaded.version}")
    for family in loaded.classes:
        typer.echo(f"\n{family.id}: {family.definition}")
        for leaf in family.leaves:
            seen = f"{leaf.level}: {', '.join(leaf.metrics)}" if leaf.metrics else "people only"
            typer.echo(f"  {leaf.id:<28} {leaf.definition} [{seen}]")
