"""`evalkit models`: list and show models."""

from __future__ import annotations

import inspect
import json
import warnings
from typing import Annotated, Any

import typer

__all__ = ["models_app"]

models_app = typer.Typer(
    help="List and show models.",
    epilog="Example: evalkit models show reference",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]


@models_app.command("list", epilog="Example: evalkit models list")
def list_models(as_json: JsonOption = False) -> None:
    """List every model that can be asked for by name: adapters of evalkit and models of installed plugins.

    A plugin that cannot be imported is named with the reason, on stderr; the others are listed.
    """
    from evalkit._registry import PluginWarning
    from evalkit.models import MODELS

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PluginWarning)
        cards = [_card(name, factory) for name, factory in MODELS.working()]
    for warning in caught:
        typer.echo(f"warning: {warning.message}", err=True)
    if as_json:
        _write(cards)
        return
    for card in cards:
        needs = [one["name"] for one in card["parameters"] if one["required"]]
        typer.echo(
            f"{card['name']:<12} {card['summary']}{'  (needs ' + ', '.join(needs) + ')' if needs else ''}"
        )


@models_app.command("show", epilog="Example: evalkit models show folder:path=clips/")
def show_model(
    model: Annotated[str, typer.Argument(help="NAME[@REVISION][:key=value,...] or a YAML file.")],
    as_json: JsonOption = False,
) -> None:
    """Show a model: what it is, its parameters, and, where it can be made, its identity and default shape."""
    from evalkit.models import MODELS, load_model
    from evalkit.models.registry import parse_spec
    from evalkit.suites.prompt import thaw

    name, params = parse_spec(model)
    card = _card(name, MODELS.load(name))
    lacking = [one["name"] for one in card["parameters"] if one["required"] and one["name"] not in params]
    identity: dict[str, Any] | None = None
    if not lacking:
        info = load_model(model).info
        identity = {field: thaw(getattr(info, field)) for field in info.__slots__}
    if as_json:
        _write({**card, "info": identity})
        return
    typer.echo(f"{card['name']}\n\n{card['about']}\n")
    for one in card["parameters"]:
        default = "required" if one["required"] else f"default {one['default']!r}"
        typer.echo(f"  {one['name']:<22} {default}")
    if identity is None:
        typer.echo(
            f"\nGive {', '.join(lacking)} to see its identity: evalkit models show {name}:{lacking[0]}=..."
        )
        return
    typer.echo("")
    for field, value in identity.items():
        shown = f"{len(value)} files" if field == "weights" and len(value) > 4 else value
        typer.echo(f"  {field:<22} {shown}")


def _card(name: str, factory: Any) -> dict[str, Any]:
    about = inspect.getdoc(factory) or "no description"
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        parameters = ()  # type: ignore[assignment]
    return {
        "name": name,
        "summary": about.split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".") + ".",
        "about": about,
        "parameters": [
            {
                "name": one.name,
                "required": one.default is one.empty,
                "default": None if one.default is one.empty else one.default,
            }
            for one in parameters
            if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        ],
    }


def _write(content: object) -> None:
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))
