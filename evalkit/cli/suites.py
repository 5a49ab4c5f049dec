"""`evalkit suites`: list, show, check and import suites of prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from evalkit.suites import Prompt, Suite

__all__ = ["suites_app"]

suites_app = typer.Typer(
    help="List, show, check and import suites of prompts.",
    epilog="Example: evalkit suites lint my-suite.yaml",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

SuiteArgument = Annotated[str, typer.Argument(help="A suite file, or the name of a shipped suite.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]


@suites_app.command("list", epilog="Example: evalkit suites list")
def list_suites(as_json: JsonOption = False) -> None:
    """List the suites that come with evalkit."""
    from evalkit.suites import load_suite, shipped_suites

    suites = [load_suite(path) for path in shipped_suites().values()]
    if as_json:
        _write([_card(suite) for suite in suites])
        return
    for suite in suites:
        first = suite.description.split(". ")[0].replace("\n", " ").rstrip(".")
        size = f"{len(suite)} prompts in {len(suite.categories)} categories"
        typer.echo(f"{suite.name:<14} {suite.version:<6} {size:<34} {suite.licence:<12} {first}.")


@suites_app.command("show", epilog="Example: evalkit suites show core --category camera")
def show_suite(
    suite: SuiteArgument,
    category: Annotated[
        list[str] | None, typer.Option(help="Only this category; may be given several times.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only this tag or class of tags; may be given several times.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most this many prompts, balanced over categories.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a suite: what it probes, and its prompts."""
    from evalkit.suites import load_suite

    chosen = load_suite(suite).select(categories=category or None, tags=tag or None, limit=limit)
    if as_json:
        _write({**_card(chosen), "prompts": [prompt.to_dict() for prompt in chosen]})
        return
    typer.echo(
        f"{chosen.name} {chosen.version}, {chosen.licence}, {len(chosen)} prompts, digest {chosen.digest}"
    )
    if chosen.description:
        typer.echo(chosen.description)
    for name in chosen.categories:
        probes = f": {chosen.probes[name]}" if name in chosen.probes else ""
        typer.echo(f"\n{name}{probes}")
        for prompt in chosen:
            if prompt.category == name:
                typer.echo(f"  {_line(prompt)}")


@suites_app.command("lint", epilog="Example: evalkit suites lint my-suite.yaml --strict")
def lint(
    suites: Annotated[list[str], typer.Argument(help="Suite files, or names of shipped suites.")],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check suites: duplicates, typos, wrong types, each with file, line, column and the cure.

    Ends with 0 when all is well, and with 2 when there are errors (with --strict: or warnings).
    """
    from dataclasses import asdict

    from evalkit.suites import lint_suite

    problems = [problem for suite in suites for problem in lint_suite(suite)]
    errors = sum(problem.severity == "error" for problem in problems)
    if as_json:
        _write([asdict(problem) for problem in problems])
    else:
        for problem in problems:
            typer.echo(str(problem))
        typer.echo(f"{errors} errors, {len(problems) - errors} warnings", err=True)
    if errors or (strict and problems):
        raise typer.Exit(2)


@suites_app.command(
    "import", epilog="Example: evalkit suites import VBench_full_info.json --out vbench.yaml --name vbench"
)
def import_(
    prompts: Annotated[
        Path, typer.Argument(help="The prompt file; for T2V-CompBench the folder of its files.")
    ],
    out: Annotated[Path, typer.Option(help="The suite file to write.")],
    format: Annotated[  # noqa: A002
        str | None, typer.Option(help="vbench, evalcrafter, t2v-compbench or table; recognised if left out.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the suite; the benchmark's or the file's own if left out.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a prompt file of another benchmark, or a table of prompts, into a suite."""
    from evalkit.errors import SuiteError
    from evalkit.suites import import_suite, suite_yaml

    suite = import_suite(prompts, format, name)
    if out.exists() and not force:
        raise SuiteError(f"{out} exists; choose another --out, or replace it with --force")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(suite_yaml(suite), encoding="utf-8")
    if as_json:
        _write({**_card(suite), "file": str(out)})
    else:
        typer.echo(
            f"{out}: {len(suite)} prompts in {len(suite.categories)} categories; set `licence` where unknown"
        )


def _card(suite: Suite) -> dict[str, Any]:
    counts = {name: sum(prompt.category == name for prompt in suite) for name in suite.categories}
    return {
        "name": suite.name,
        "version": suite.version,
        "licence": suite.licence,
        "description": suite.description,
        "source": suite.source,
        "digest": suite.digest,
        "prompts_total": len(suite),
        "categories": [
            {"name": name, "prompts": count, "probes": suite.probes.get(name, "")}
            for name, count in counts.items()
        ],
    }


def _line(prompt: Prompt) -> str:
    negative = f"  [not: {prompt.negative}]" if prompt.negative else ""
    return f"{prompt.id:<36} {prompt.text}{negative}"


def _write(content: object) -> None:
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
