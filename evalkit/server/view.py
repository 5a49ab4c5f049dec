"""Pages from templates: everything a tester typed is escaped, every link carries the proxy's prefix."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from markupsafe import Markup

from evalkit.failures.states import BOARD, EXITS, TRANSITIONS
from evalkit.failures.taxonomy import load_taxonomy
from evalkit.server.security import find_session

if TYPE_CHECKING:
    from evalkit.failures.record import FailureReport

__all__ = ["TEMPLATES", "link", "page", "redirect"]

TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = lambda moment: moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    environment.filters["age"] = _age
    environment.filters["number"] = lambda value: "" if value is None else f"{value:.4g}".replace("-", "−")
    environment.filters["breakable"] = _breakable
    environment.filters["words"] = lambda text: str(text).replace("_", " ")
    environment.globals |= {
        "TAXONOMY": load_taxonomy(),
        "BOARD": BOARD,
        "EXITS": EXITS,
        "TRANSITIONS": TRANSITIONS,
    }
    return environment


def _breakable(name: str) -> Markup:
    """An id such as `temporal.subject_consistency` that narrow columns break between its words."""
    return Markup("<wbr>").join(re.split(r"(?<=[._])", name))  # join escapes what it joins


def _age(moment: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for name, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {name} ago"
    return "just now"


def link(request: Request, path: str, **query: Any) -> str:
    """An address of the app as browsers see it."""
    given = {name: value for name, value in query.items() if value not in (None, "", ())}
    asked = f"?{urlencode(given, doseq=True)}" if given else ""
    return f"{request.app.state.settings.prefix}{path}{asked}"


def page(request: Request, template: str, /, status_code: int = 200, **context: Any) -> HTMLResponse:
    """Render a template. It sees `url(path, **query)`, the account, the form token, and `context`."""
    session = find_session(request)

    def url(path: str, **query: Any) -> str:
        return link(request, path, **query)

    def visible(report: FailureReport) -> bool:
        """Whether this account may see the media and the words of a report."""
        return not report.restricted or bool(
            session
            and (
                session.account.may("triage")
                or (report.source.kind == "human" and report.source.name == session.account.name)
            )
        )

    html = (
        _environment()
        .get_template(template)
        .render(
            url=url,
            visible=visible,
            path=request.url.path,
            account=session.account if session else None,
            csrf=session.csrf if session else "",
            **context,
        )
    )
    return HTMLResponse(html, status_code)


def redirect(request: Request, path: str, **query: Any) -> RedirectResponse:
    """Send the browser elsewhere after a write, so that reloading repeats nothing."""
    return RedirectResponse(link(request, path, **query), 303)
