"""Markdown that stays what it is meant to be, whatever a prompt or a model name contains."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

__all__ = ["escape", "table"]

_PUNCTUATION = re.compile(r"([\\`*_\[\]<>|~$])")
# Only at the start of a line: lists, headings, rules.
_LEADING = re.compile(r"^(?:([-+=#])|(\d+)([.)])(?=\s|$))")
# GitHub turns these into mentions, references and links after Markdown is parsed; escaping does not help.
_MAGIC = re.compile(r"@(?=\w)|#(?=\d)|(?<=\bGH)-(?=\d)|:(?=//)|(?<=\bwww)\.|(?<=[\w.])@(?=\w)", re.IGNORECASE)


def escape(text: object, limit: int = 200, *, starts_line: bool = True) -> str:
    """Any text as inert inline Markdown on one line, safe in a table cell.

    Line breaks, control and bidirectional characters become spaces; punctuation with a meaning is escaped;
    mentions, issue references and links are broken by a zero-width space; longer text ends in an ellipsis.

    Args:
        text: what to show.
        limit: most characters of the original text to keep.
        starts_line: False where other text stands before it, so that it cannot open a list or heading.
    """
    plain = "".join(
        " " if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} else c for c in str(text)
    )
    plain = " ".join(plain.split())
    if len(plain) > limit:
        plain = plain[: limit - 1].rstrip() + "…"
    broken = _MAGIC.sub(lambda match: f"{match[0]}\u200b", plain)
    escaped = _PUNCTUATION.sub(r"\\\1", broken).replace("&", "&amp;")
    if not starts_line:
        return escaped
    return _LEADING.sub(lambda match: f"\\{match[1]}" if match[1] else f"{match[2]}\\{match[3]}", escaped)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> str:
    """A table whose cells are escaped; columns in `right` are right-aligned."""
    rule = ["---:" if column in right else "---" for column in range(len(headers))]
    lines = [headers, rule, *[[escape(cell, starts_line=False) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
