"""`evalkit gate`: pass or block a change in CI."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["gate_app"]

gate_app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, invoke_without_command=True
)

Policy = Annotated[Path, typer.Option("--policy", help="Policy file.")]
Baseline = Annotated[
    str, typer.Option("--baseline", help="Promoted baseline by name, or a run folder; default: the policy's.")
]
Baselines = Annotated[Path, typer.Option("--baselines", help="Folder of promoted baselines.")]
CasesRun = Annotated[
    Path | None,
    typer.Option("--cases-run", help="Run over the regression cases, where it is a run of its own."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
DEFAULT_BASELINES = Path("benchmarks/baselines")


@gate_app.callback()
def gate(
    context: typer.Context,
    run: Annotated[Path | None, typer.Option("--run", help="Run folder of the candidate.")] = None,
    policy: Annotated[Path | None, typer.Option("--policy", help="Policy file.")] = None,
    baseline: Baseline = "",
    baselines: Baselines = DEFAULT_BASELINES,
    cases_run: CasesRun = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write gate.json, gate.txt, junit.xml, summary.md, comment.md, annotations.txt here.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge a run by a policy.

    Exit codes: 0 pass, 1 regression, 2 usage or configuration, 3 inconclusive, 4 evidence incomplete, 70 bug.

    Example: evalkit gate --run runs/candidate --policy benchmarks/gates/policy.yaml --out gate
    """
    if context.invoked_subcommand is not None:
        return
    if run is None or policy is None:
        raise typer.BadParameter("a gate needs --run RUN and --policy POLICY.yaml")
    from evalkit.gate.render import to_dict, to_text, write_outputs
    from evalkit.gate.run import run_gate

    result = run_gate(run, policy, baseline=baseline, baselines=baselines, cases=cases_run)
    if out is not None:
        write_outputs(result, out)
    if as_json:
        typer.echo(json.dumps(to_dict(result), indent=2, ensure_ascii=False))
    typer.echo(to_text(result), err=True, nl=False)
    raise typer.Exit(result.conclusion.exit_code)


@gate_app.command("check-policy")
def check_policy(
    policy: Annotated[Path, typer.Argument(help="Policy file.")],
    as_json: Json = False,
) -> None:
    """Say everything that is wrong with a policy and its waivers, with file, line and column.

    Example: evalkit gate check-policy benchmarks/gates/policy.yaml
    """
    from evalkit.gate.lint import lint_policy

    problems = lint_policy(policy, datetime.datetime.now(datetime.UTC).date())
    if as_json:
        fields = ("path", "line", "column", "severity", "code", "message")
        typer.echo(
            json.dumps([{name: getattr(problem, name) for name in fields} for problem in problems], indent=2)
        )
    for problem in problems:
        typer.echo(str(problem), err=True)
    errors = sum(problem.severity == "error" for problem in problems)
    typer.echo(f"{policy}: {errors} errors, {len(problems) - errors} warnings", err=True)
    raise typer.Exit(2 if errors else 0)


@gate_app.command("explain")
def explain(
    policy: Policy,
    run: Annotated[
        Path | None, typer.Option("--run", help="Adds what the checks can see with this run.")
    ] = None,
    baseline: Baseline = "",
    baselines: Baselines = DEFAULT_BASELINES,
    as_json: Json = False,
) -> None:
    """Say in plain words what a policy asks, and with a run, how likely an unchanged model passes.

    Example: evalkit gate explain --policy benchmarks/gates/policy.yaml --run runs/candidate
    """
    from evalkit.gate.explain import explain_policy
    from evalkit.gate.policy import load_policy
    from evalkit.gate.run import gather

    read = load_policy(policy)
    evidence = None if run is None else gather(run, read, baseline=baseline, baselines=baselines)
    lines = explain_policy(read, evidence)
    _show(lines, as_json)


@gate_app.command("selftest")
def selftest(
    run: Annotated[Path, typer.Option("--run", help="Run folder of the candidate.")],
    policy: Policy,
    baseline: Baseline = "",
    baselines: Baselines = DEFAULT_BASELINES,
    cases_run: CasesRun = None,
    defects: Annotated[
        list[str] | None,
        typer.Option(
            "--defect", help="Also spoil the clips: DEFECT or DEFECT=STRENGTH, such as flicker_gain=0.8."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for runs with spoiled clips.")] = None,
    as_json: Json = False,
) -> None:
    """Inject known defects into the candidate and look whether the gate turns red.

    Exit codes: 0 every defect was seen, 1 one was not, 3 too few prompts to be sure, 4 a check cannot be judged.

    Example: evalkit gate selftest --run runs/candidate --policy benchmarks/gates/policy.yaml
    """
    from evalkit.gate.policy import load_policy
    from evalkit.gate.run import gather
    from evalkit.gate.selftest import selftest as run_selftest
    from evalkit.gate.selftest import selftest_conclusion

    read = load_policy(policy)
    today = datetime.datetime.now(datetime.UTC).date()
    evidence = gather(run, read, baseline=baseline, baselines=baselines, cases=cases_run)
    found = run_selftest(read, evidence, today)
    code, text = selftest_conclusion(found)
    rows: list[dict[str, Any]] = [entry._asdict() for entry in found]
    for entry in found:
        typer.echo(f"  {entry.seen:<9}{entry.check}: {entry.injected}; {entry.sentence}", err=True)
    if defects:
        from evalkit.gate.defects import spoil_clips

        if out is None:
            raise typer.BadParameter("--defect needs --out FOLDER for the spoiled runs")
        for seen in spoil_clips(read, evidence, [_defect(text) for text in defects], out, today):
            named = ", ".join(seen.red) or "nothing"
            typer.echo(
                f"  {'red' if seen.red else 'blind':<9}clips with {seen.defect}: {named} turned red", err=True
            )
            rows.append(seen._asdict())
            if not seen.red:
                code, text = 1, f"{text}; clips with {seen.defect} passed unseen"
    if as_json:
        typer.echo(
            json.dumps({"exit_code": code, "text": text, "injections": rows}, indent=2, ensure_ascii=False)
        )
    typer.echo(text, err=True)
    raise typer.Exit(code)


def _defect(text: str) -> tuple[str, float]:
    name, equals, strength = text.partition("=")
    try:
        return name, float(strength) if equals else 0.8
    except ValueError:
        raise typer.BadParameter(f"--defect {text!r} is not DEFECT or DEFECT=STRENGTH") from None


@gate_app.command("noise")
def noise(
    run: Annotated[Path, typer.Argument(help="A run.")],
    again: Annotated[Path, typer.Argument(help="A run of the same model with another --seed.")],
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", help="Only these metrics; repeat it. Default: all that both have."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how much two runs of one model differ, and propose margins.

    Example: evalkit gate noise runs/v1-seed0 runs/v1-seed1
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from evalkit.compare.words import number, signed
    from evalkit.gate.noise import measure_noise, policy_lines
    from evalkit.runs.store import open_run

    found = measure_noise(open_run(run), open_run(again), metrics)
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in found], indent=2))
    headers = ("Metric", "Change", "p", "Deviation", "Prompts x seeds", "Margin, alone", "Margin, together")
    grid = Table(*headers)
    for row in found:
        size = f"{row.prompts} x {row.samples:.3g}"
        cells = [row.title, signed(row.effect), f"{row.p_value:.3g}", number(row.deviation), size]
        grid.add_row(*map(Text, (*cells, number(row.margin_alone), number(row.margin_together))))
    Console(stderr=True).print(grid)
    typer.echo(
        "An unchanged model passes the first margin with 95% probability where it is the only check, and all of the "
        "second margins at once with 95% probability. Choose --metric to gate fewer and tighter. For a policy:\n",
        err=True,
    )
    typer.echo(policy_lines(found), err=True, nl=False)


@gate_app.command("prompts")
def prompts(
    policy: Policy,
    look: Annotated[int, typer.Option("--look", help="Number of the planned look, from 1.")] = 1,
    baseline: Baseline = "",
    baselines: Baselines = DEFAULT_BASELINES,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write them as a suite file for `evalkit run --suite`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the prompts of a planned look, in an order that nobody chose.

    Example: evalkit gate prompts --policy policy.yaml --look 1 --out look-1.yaml
    """
    from evalkit.gate.looks import look_prompts, write_look
    from evalkit.gate.policy import load_policy

    read = load_policy(policy)
    suite = look_prompts(read, look, baseline or read.baseline, baselines)
    if out is not None:
        write_look(suite, out)
    _show([prompt.id for prompt in suite.prompts], as_json)


def _show(lines: list[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(lines, indent=2, ensure_ascii=False))
    for line in lines:
        typer.echo(line, file=sys.stderr)
