"""The command line: one file a verb, each a thin wrapper around a plain function of the package.

Verbs are imported when they are called, so that `evalkit --help` answers at once. Results for machines go to
stdout with `--json`; text for people and progress go to stderr.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, cast

import typer
from typer.core import TyperGroup

from evalkit.errors import EvalkitError

__all__ = ["app", "main"]

_STOPPED = 130
_INTERNAL_ERROR = 70

_VERBS = {
    "run": ("evalkit.cli.run:run", "Generate clips with a model, score them and write the report."),
    "generate": ("evalkit.cli.run:generate", "Only generate clips; score them later with rescore."),
    "score": ("evalkit.cli.score:score", "Score clips that exist already."),
    "rescore": ("evalkit.cli.score:rescore", "Score a run again: further metrics, or what changed."),
    "report": ("evalkit.cli.report:report", "Render a run's report again, from its tables alone."),
    "gallery": ("evalkit.cli.report:gallery", "Render a run's gallery of worst, regressed and random clips."),
    "export": (
        "evalkit.cli.export:export",
        "Write a run in the layout of VBench, EvalCrafter or T2V-CompBench.",
    ),
    "compare": (
        "evalkit.cli.compare:compare",
        "Which of two or more runs is better, at what, and is it real?",
    ),
    "gate": ("evalkit.cli.gate:gate_app", "Pass or block a change in CI by a policy."),
    "baseline": ("evalkit.cli.baseline:baseline_app", "Promote, list, show and compare gate baselines."),
    "failures": ("evalkit.cli.failures:failures_app", "File, triage, reproduce and promote failure reports."),
    "serve": ("evalkit.cli.serve:serve", "Browse runs, file reports and vote in a local web app."),
    "suites": ("evalkit.cli.suites:suites_app", "List, show, lint and import prompt suites."),
    "metrics": ("evalkit.cli.metrics:metrics_app", "List and explain metrics."),
    "models": ("evalkit.cli.models:models_app", "List and explain models."),
    "doctor": (
        "evalkit.cli.doctor:doctor",
        "What is installed, what is missing, and the command that gets it.",
    ),
    "cache": ("evalkit.cli.cache:cache_app", "Size of runs' feature caches, and pruning."),
}


class _LazyGroup(TyperGroup):
    """Knows every verb's one-line help without importing the verb."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Names only, for suggestions after a misspelt verb.
        self.commands = cast("Any", dict.fromkeys(_VERBS))

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _load(cmd_name) if cmd_name in _VERBS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, help_text) for verb, (_, help_text) in _VERBS.items()])


def _load(verb: str) -> Any:
    module, _, attribute = _VERBS[verb][0].partition(":")
    target: Any = getattr(importlib.import_module(module), attribute)
    if isinstance(target, typer.Typer):
        command = typer.main.get_command(target)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name=verb)(target)
        command = typer.main.get_command(single)
    command.name = verb
    return command


app = typer.Typer(
    cls=_LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Evaluate generative video: score clips, compare models, gate regressions.

Example: evalkit run --suite core --model reference --limit 12 --out runs/first""",
)


def _print_version(asked: bool) -> None:
    if asked:
        from evalkit import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
    ),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 regression, 2 usage, 3 inconclusive, 4 evidence, 70 a bug here."""
    command = typer.main.get_command(app)
    try:
        command(args=list(arguments) if arguments is not None else None, prog_name="evalkit")
    except EvalkitError as error:
        typer.echo(f"evalkit: {error}", err=True)
        sys.exit(error.exit_code)
    except SystemExit as done:
        if done.code == _STOPPED:
            typer.echo("evalkit: stopped; the same command continues where it was", err=True)
        raise
    except Exception as error:
        if os.environ.get("EVALKIT_TRACEBACK"):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        typer.echo(
            f"evalkit: internal error: {type(error).__name__}: {error} ({last.filename}:{last.lineno}); this is a "
            "bug in evalkit: please report it with the output of the same command under EVALKIT_TRACEBACK=1",
            err=True,
        )
        sys.exit(_INTERNAL_ERROR)
