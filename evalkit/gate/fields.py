"""Typed reading of one YAML mapping; every deviation becomes a problem with its place."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Sequence

import yaml

from evalkit.suites.document import Document, nearest

__all__ = ["Fields"]

# YAML 1.1 reads `1e-3` as text because it has no dot; people mean a number.
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Fields:
    """The entries of one mapping.

    Args:
        document: collects the problems.
        node: the mapping.
        what: its name in messages.
        known: keys that may appear.
        required: keys that must.
    """

    def __init__(
        self,
        document: Document,
        node: yaml.Node,
        what: str,
        known: Sequence[str],
        required: Sequence[str] = (),
    ) -> None:
        self.document, self.node, self.what = document, node, what
        self.entries = document.mapping(node, what, known)
        for key in required:
            if key not in self.entries and isinstance(node, yaml.MappingNode):
                document.error(node, "missing-key", f"{what} has no `{key}`; add it")

    def get(self, key: str) -> yaml.Node | None:
        """The node of a key, or None."""
        return self.entries.get(key)

    def place(self, key: str) -> yaml.Node:
        """Where to point for a key: its value, or the mapping."""
        return self.entries.get(key, self.node)

    def text(self, key: str) -> str:
        """A text, "" where absent."""
        node = self.entries.get(key)
        if node is None:
            return ""
        text = self.document.text(node, f"`{key}`")
        if not text.strip() and isinstance(node, yaml.ScalarNode) and not node.value.strip():
            self.document.error(node, "wrong-value", f"`{key}` is empty; write something or remove the key")
        return text

    def word(self, key: str, known: Sequence[str], default: str) -> str:
        """One of a few words."""
        node = self.entries.get(key)
        if node is None:
            return default
        text = self.document.text(node, f"`{key}`")
        if text and text not in known:
            self.document.error(node, "wrong-value", f"`{key}` is {text!r}; {nearest(text, known)}")
        return text if text in known else default

    def number(
        self, key: str, default: float | None, above: float = -math.inf, below: float = math.inf
    ) -> float | None:
        """A finite number strictly between two bounds (`below` may be reached where it is 1)."""
        node = self.entries.get(key)
        if node is None:
            return default
        value = self.scalar(node, f"`{key}`")
        if value is None:
            return default
        if not above < value or value > below or (value == below and below != 1):
            low = "" if math.isinf(above) else f" above {max(above, 0):g}"
            high = "" if math.isinf(below) else f" below {below:g}" if below != 1 else " up to 1"
            self.document.error(node, "wrong-value", f"`{key}` must be a number{low}{high}, got {value:g}")
        return value

    def scalar(self, node: yaml.Node, what: str) -> float | None:
        """A finite number, written in any usual way."""
        plain = isinstance(node, yaml.ScalarNode) and not node.style
        if plain and _NUMBER.fullmatch(node.value) and not re.match(r"[-+]?0[0-9]", node.value):
            value = float(node.value)
            if math.isfinite(value):
                return value
        cure = "; remove the quotes" if isinstance(node, yaml.ScalarNode) and node.style in ("'", '"') else ""
        message = f"{what} must be a finite number, got {self.document.describe(node)}{cure}"
        self.document.error(node, "wrong-type", message)
        return None

    def whole(self, key: str, default: int) -> int:
        """A whole number of at least 0."""
        node = self.entries.get(key)
        if node is None:
            return default
        value = self.scalar(node, f"`{key}`")
        if value is not None and (value != int(value) or value < 0):
            self.document.error(
                node, "wrong-value", f"`{key}` must be a whole number of at least 0, got {value:g}"
            )
            return default
        return default if value is None else int(value)

    def flag(self, key: str) -> bool:
        """`true` or `false`; YAML 1.1's `on`, `yes` and `y` are refused."""
        node = self.entries.get(key)
        if node is None:
            return False
        if isinstance(node, yaml.ScalarNode) and not node.style and node.value in ("true", "false"):
            return bool(node.value == "true")
        message = f"`{key}` must be true or false, got {self.document.describe(node)}"
        self.document.error(node, "wrong-type", message)
        return False

    def date(self, key: str) -> datetime.date | None:
        """A day, `2026-01-31`."""
        node = self.entries.get(key)
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode) and _DATE.fullmatch(node.value):
            try:
                return datetime.date.fromisoformat(node.value)
            except ValueError:
                pass  # reported below with everything else that is no date
        message = f"`{key}` must be a day such as 2026-01-31, got {self.document.describe(node)}"
        self.document.error(node, "wrong-type", message)
        return None
