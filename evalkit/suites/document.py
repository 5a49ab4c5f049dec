"""YAML documents read as nodes, so that every problem can say file, line and column.

`yaml.safe_load` forgets positions, keeps the last of two equal keys, turns `no` into False and `16:9` into 969.
A `Document` refuses each of these with the place and the cure, and collects all problems instead of stopping at
the first.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_BYTES = 16 * 2**20
_MAX_DEPTH = 24
_TAG = "tag:yaml.org,2002:"
_TYPE_NAMES = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true/false",
    "null": "nothing",
    "timestamp": "a date",
    "map": "a mapping",
    "seq": "a list",
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong in a file: where, how bad, and what to do about it. Lines and columns count from 1."""

    path: str
    line: int
    column: int
    severity: Literal["error", "warning"]
    code: str
    message: str

    def __str__(self) -> str:
        """Return `path:line:column: severity: message`, which editors and CI systems turn into links."""
        return f"{self.path}:{self.line}:{self.column}: {self.severity}: {self.message}"


class Document:
    """One YAML (or JSON) file: its root node, and the problems found so far.

    Args:
        path: The file to read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.root: yaml.Node | None = self._compose()

    def error(self, node: yaml.Node | yaml.error.Mark | Any, code: str, message: str) -> None:
        """Record an error at `node`."""
        self._add("error", node, code, message)

    def warn(self, node: yaml.Node | yaml.error.Mark | Any, code: str, message: str) -> None:
        """Record a warning at `node`."""
        self._add("warning", node, code, message)

    def mapping(
        self, node: yaml.Node, what: str, known: Collection[str] | None = None
    ) -> dict[str, yaml.Node]:
        """Return the entries of a mapping; refuse other types, keys that are no text, and keys given twice.

        Args:
            node: The node to read.
            what: What it is, for messages.
            known: The keys that may appear; others are errors with the nearest known key. None allows all.
        """
        if not isinstance(node, yaml.MappingNode):
            self.error(
                node, "wrong-type", f"{what} must be a mapping (`key: value`), got {self.describe(node)}"
            )
            return {}
        entries: dict[str, yaml.Node] = {}
        first: dict[str, int] = {}
        for key_node, value in node.value:
            if not is_text(key_node):
                self.error(
                    key_node,
                    "wrong-type",
                    f"a key of {what} must be text, got {self.describe(key_node)}; quote it",
                )
                continue
            key = key_node.value
            if key in entries:
                self.error(
                    key_node,
                    "duplicate-key",
                    f"{key!r} appears twice in {what} (first at line {first[key]}); keep one",
                )
                continue
            if known is not None and key not in known:
                self.error(key_node, "unknown-key", f"unknown key {key!r} in {what}; {nearest(key, known)}")
                continue
            entries[key] = value
            first[key] = key_node.start_mark.line + 1
        return entries

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """Return the entries of a list; refuse other types."""
        if not isinstance(node, yaml.SequenceNode):
            self.error(node, "wrong-type", f"{what} must be a list, got {self.describe(node)}")
            return []
        return list(node.value)

    def text(self, node: yaml.Node, what: str) -> str:
        """Return a text scalar; refuse numbers, booleans and dates that YAML made of unquoted words."""
        if not isinstance(node, yaml.ScalarNode):
            self.error(node, "wrong-type", f"{what} must be text, got {self.describe(node)}")
            return ""
        if not is_text(node):
            cure = "write the text" if node.tag == _TAG + "null" else f'put it in quotes: "{node.value}"'
            self.error(node, "wrong-type", f"{what} must be text, got {self.describe(node)}; {cure}")
            return ""
        return str(node.value)

    def texts(self, node: yaml.Node, what: str) -> list[tuple[str, yaml.Node]]:
        """Return a list of text scalars with their nodes."""
        return [(self.text(item, f"an entry of {what}"), item) for item in self.items(node, what)]

    def plain(self, node: yaml.Node, what: str) -> Any:
        """Return the node as plain data (text, numbers, booleans, None, lists, dicts) that JSON can hold."""
        if isinstance(node, yaml.MappingNode):
            return {
                key: self.plain(value, f"{what}.{key}") for key, value in self.mapping(node, what).items()
            }
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, what) for item in node.value]
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return str(node.value)
        if kind not in {"int", "float", "bool", "null"}:
            self.error(
                node, "wrong-type", f"{what} is {self.describe(node)}; put it in quotes if text is meant"
            )
            return None
        if kind in {"int", "float"} and (":" in node.value or re.match(r"[+-]?0[0-9_]", node.value)):
            message = f'{what}: YAML reads {node.value} as a number in base 60 or 8; put it in quotes: "{node.value}"'
            self.error(node, "wrong-type", message)
            return None
        value = yaml.constructor.SafeConstructor().construct_object(node)
        if isinstance(value, float) and not math.isfinite(value):
            self.error(node, "not-finite", f"{what} must be a finite number, got {node.value}")
            return None
        return value

    def describe(self, node: yaml.Node) -> str:
        """Return what a node holds in words, e.g. ``true/false `no` ``."""
        kind = node.tag.removeprefix(_TAG)
        name = _TYPE_NAMES.get(kind, f"the tag {node.tag}")
        return f"{name} `{node.value}`" if isinstance(node, yaml.ScalarNode) and node.value else name

    def _add(self, severity: Literal["error", "warning"], place: Any, code: str, message: str) -> None:
        mark = place.start_mark if isinstance(place, yaml.Node) else place
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        self.problems.append(Problem(str(self.path), line, column, severity, code, message))

    def _compose(self) -> yaml.Node | None:
        try:
            with self.path.open("rb") as file:
                raw = file.read(_MAX_BYTES + 1)
        except OSError as error:
            self.error(None, "unreadable", f"cannot read the file: {error.strerror or error}; check the path")
            return None
        if len(raw) > _MAX_BYTES:
            self.error(
                None, "too-large", f"the file is larger than {_MAX_BYTES // 2**20} MiB; split the suite"
            )
            return None
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start)
            mark = _mark(line, error.start - (raw.rfind(b"\n", 0, error.start) + 1))
            self.error(
                mark, "not-utf8", f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
            )
            return None
        try:
            if not self._structure_is_safe(text):
                return None
            root: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            said = ", ".join(part for part in (error.context, error.problem) if part)
            self.error(error.problem_mark or error.context_mark, "not-yaml", f"not valid YAML: {said}")
            return None
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            mark = _mark(before.count("\n"), len(before) - before.rfind("\n") - 1)
            self.error(mark, "not-yaml", f"character {error.character!r} is not allowed in YAML; remove it")
            return None
        if root is None:
            self.error(
                None,
                "empty-file",
                "the file is empty; write its content, or restore it",
            )
        return root

    def _structure_is_safe(self, text: str) -> bool:
        """Refuse aliases (a few lines of them expand to gigabytes) and nesting deeper than any suite needs."""
        depth = 0
        aliases = 0
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent):
                aliases += 1
                message = f"alias `*{event.anchor}` is not allowed; write the value out"
                self.error(event.start_mark, "alias", message)
            elif isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _MAX_DEPTH:
                    self.error(
                        event.start_mark, "too-deep", f"nested deeper than {_MAX_DEPTH} levels; flatten it"
                    )
                    return False
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        return aliases == 0


def _mark(line: int, column: int) -> yaml.error.Mark:
    return yaml.error.Mark("", 0, line, column, "", 0)


def is_text(node: yaml.Node) -> bool:
    """Whether YAML reads the node as text."""
    return bool(node.tag == _TAG + "str")


def nearest(name: str, known: Collection[str]) -> str:
    """Return `did you mean 'x'?`, or the known names where none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
