"""Static pages: templates with autoescape, one stylesheet and script inlined under a strict policy.

A page may run only its own script and the data files beside it, load pictures and clips only from where it
lies, and never talk to a network. Text from prompts, models and errors is data: escaped in templates, set
with `textContent` in scripts.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from evalkit.report import numbers
from evalkit.report.tables import escape_markdown
from evalkit.runs.files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["STATIC", "environment", "script_data", "static_text", "write_page"]

_HERE = Path(__file__).parent
STATIC = _HERE / "static"


@cache
def environment() -> Environment:
    """The template environment of all pages; autoescape on, an unknown name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        number=numbers.format_number,
        signed=numbers.format_signed,
        interval=numbers.format_interval,
        count=numbers.format_count,
        seconds=numbers.format_seconds,
        bytes=numbers.format_bytes,
        time=numbers.format_time,
        p_value=numbers.format_p,
        md=escape_markdown,
    )
    return templates


@cache
def static_text(name: str) -> str:
    """A stylesheet or script of the pages."""
    return (STATIC / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def write_page(
    path: Path,
    template: str,
    *,
    styles: Sequence[str],
    scripts: Sequence[str],
    context: Mapping[str, Any],
) -> None:
    """Render a template to a file that carries its own style, script and content security policy.

    Args:
        path: the HTML file.
        template: name under `templates/`.
        styles: stylesheets under `static/`, inlined in this order.
        scripts: scripts under `static/`, inlined in this order as one script.
        context: what the template shows.
    """
    style = "\n".join(map(static_text, styles))
    script = "\n".join(map(static_text, scripts))
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' {_hash(script)}",
            f"style-src {_hash(style)}",
            "img-src 'self' data:",
            "media-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    html = (
        environment()
        .get_template(template)
        .render(**context, policy=policy, style=Markup(style), script=Markup(script))
    )
    write_text(path, html)


def script_data(name: str, value: Any) -> str:
    r"""A classic script that hands `value` to the page: `fetch` and modules do not work from `file://`.

    Everything outside ASCII is escaped, so the file means the same under any encoding.

    >>> script_data("clips", {"text": "<é"})
    'evalkitData("clips", {"text":"\\u003c\\u00e9"});\n'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return f"evalkitData({json.dumps(name)}, {text.replace('<', chr(92) + 'u003c')});\n"
