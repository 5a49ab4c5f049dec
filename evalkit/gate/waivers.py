"""Waivers: what may be worse for a while, by whom, why and until when.

    schema: evalkit.waivers/v1
    waivers:
      - check: flicker
        reason: the new sampler flickers in dark scenes; fixed by issue 12
        owner: video-quality
        issue: https://tracker.example/12
        created: 2026-01-10
        expires: 2026-02-10
        max_drop: 0.02

A waiver ends by itself: once it has expired the check blocks again. What is waived is still shown. Safety checks
and completeness cannot be waived.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit.gate.fields import Fields
from evalkit.gate.policy import RESERVED, Check, PolicyError, Where
from evalkit.suites.document import Document, Problem, nearest

__all__ = ["MAX_DAYS", "WAIVERS_SCHEMA", "Waiver", "load_waivers", "read_waivers"]

WAIVERS_SCHEMA = "evalkit.waivers/v1"
MAX_DAYS = 60

_KEYS = ("check", "reason", "owner", "issue", "created", "expires", "max_drop")


@dataclass(frozen=True, slots=True)
class Waiver:
    """Permission for one check to be worse by at most `max_drop`, from `created` to `expires`, both included."""

    check: str
    reason: str
    owner: str
    issue: str
    created: datetime.date
    expires: datetime.date
    max_drop: float
    where: Where

    def active(self, today: datetime.date) -> bool:
        """Whether it holds today."""
        return self.created <= today <= self.expires


def load_waivers(path: Path, checks: Sequence[Check]) -> tuple[Waiver, ...]:
    """Read a waiver file.

    Args:
        path: the file.
        checks: of the policy; a waiver names one of them.

    Raises:
        PolicyError: lists everything that is wrong, each with `file:line:column`.
    """
    waivers, problems = read_waivers(path, checks)
    if problems:
        raise PolicyError("\n".join(map(str, problems)))
    return waivers


def read_waivers(path: Path, checks: Sequence[Check]) -> tuple[tuple[Waiver, ...], list[Problem]]:
    """Read a waiver file and say everything that is wrong with it."""
    document = Document(path)
    if document.root is None:
        return (), document.problems
    top = Fields(document, document.root, "the waiver file", ("schema", "waivers"), ("schema", "waivers"))
    top.word("schema", (WAIVERS_SCHEMA,), "")
    node = top.get("waivers")
    known = {check.id: check for check in checks}
    waivers: list[Waiver] = []
    for item in [] if node is None else document.items(node, "waivers"):
        before = len(document.problems)
        fields = Fields(document, item, "a waiver", _KEYS, _KEYS)
        name = fields.text("check")
        created, expires = fields.date("created"), fields.date("expires")
        drop = fields.number("max_drop", None, above=0)
        texts = {key: fields.text(key) for key in ("reason", "owner", "issue")}
        if name in RESERVED:
            document.error(
                fields.place("check"), "forbidden", f"{name} cannot be waived; make the evidence complete"
            )
        elif name and name not in known:
            document.error(
                fields.place("check"),
                "unknown-check",
                f"no check {name!r} in the policy; {nearest(name, list(known))}",
            )
        elif name and known[name].safety:
            document.error(
                fields.place("check"), "forbidden", f"{name} is a safety check and cannot be waived"
            )
        elif any(waiver.check == name for waiver in waivers):
            document.error(item, "duplicate", f"check {name!r} has two waivers; keep one")
        if created and expires and not 0 <= (expires - created).days <= MAX_DAYS:
            message = (
                f"a waiver lasts at most {MAX_DAYS} days from `created`, this one {(expires - created).days}"
            )
            document.error(fields.place("expires"), "too-long", message)
        if len(document.problems) == before and created and expires and drop is not None:
            mark = item.start_mark
            where = Where(str(path), mark.line + 1, mark.column + 1)
            waivers.append(
                Waiver(check=name, created=created, expires=expires, max_drop=drop, where=where, **texts)
            )
    return tuple(waivers), document.problems
