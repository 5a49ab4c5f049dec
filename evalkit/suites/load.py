"""Suites from YAML files: `load_suite` for those who need a suite, `lint_suite` for those who write one.

suite: my-suite
version: "1.0"
licence: CC-BY-4.0
description: What the suite is for.
categories:
  hands: Fingers stay five, also while they move.
prompts:
  - id: hands-shuffling-cards
    text: close-up of two hands shuffling a deck of cards
    category: hands
    tags: [anatomy.hands]
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import yaml

from evalkit.errors import SuiteError, UnknownName
from evalkit.suites.case_files import load_cases
from evalkit.suites.cases import to_suite
from evalkit.suites.document import Document, Problem, is_text, nearest
from evalkit.suites.expect import read_expect, read_params
from evalkit.suites.prompt import Prompt, Suite
from evalkit.suites.similar import find_similar

_SUITE_KEYS = ("suite", "version", "licence", "description", "categories", "prompts")
_PROMPT_KEYS = ("id", "text", "category", "tags", "negative", "params", "expect", "notes")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_MAX_TEXT = 5000


class Placed(NamedTuple):
    """A prompt with the nodes that its messages point at."""

    prompt: Prompt
    id_node: yaml.Node
    text_node: yaml.Node


def shipped_suites() -> dict[str, Path]:
    """Return the suites that come with evalkit, by name.

    They live in `prompts/` of the source tree and in `evalkit/prompts/` of an installed wheel.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "prompts", package.parent / "prompts"):
        found = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
        if found:
            return found
    return {}


def suite_path(path_or_name: str | Path) -> Path:
    """Return the file that a path or the name of a shipped suite stands for.

    Raises:
        UnknownName: A bare word that no shipped suite is called and no file either.
    """
    path = Path(path_or_name)
    if isinstance(path_or_name, Path) or len(path.parts) != 1 or path.suffix:
        return path
    shipped = shipped_suites()
    if str(path) in shipped:
        return shipped[str(path)]
    if path.exists():
        return path
    raise UnknownName("suite", str(path), shipped)


def load_suite(path_or_name: str | Path) -> Suite:
    """Load a suite from a YAML file, a shipped one by name (`core`, `open-domain`), or a folder of regression cases.

    Raises:
        SuiteError: The file has errors; the message lists all of them, one a line, each with file:line:column.
        UnknownName: No suite of that name is shipped.
    """
    path = suite_path(path_or_name)
    if path.is_dir():
        return to_suite(load_cases(path), name=path.name)
    suite, problems = _read(path)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors or suite is None:
        raise SuiteError("\n".join(map(str, errors)))
    return suite


def lint_suite(path_or_name: str | Path) -> list[Problem]:
    """Return everything that is wrong or doubtful in a suite file, in the order of the file."""
    _, problems = _read(suite_path(path_or_name), similar=True)
    return sorted(problems)


def _read(path: Path, *, similar: bool = False) -> tuple[Suite | None, list[Problem]]:
    document = Document(path)
    if document.root is None:
        return None, document.problems
    entries = document.mapping(document.root, "the suite", _SUITE_KEYS)
    for key in ("suite", "version", "licence", "prompts"):
        if key not in entries and isinstance(document.root, yaml.MappingNode):
            document.error(document.root, "missing-key", f"the suite has no `{key}`; add it at the top level")
    texts = {}
    for key in ("suite", "version", "licence", "description"):
        texts[key] = document.text(entries[key], key).strip() if key in entries else ""
        if key in entries and key != "description" and not texts[key] and is_text(entries[key]):
            document.error(entries[key], "empty-text", f"`{key}` is empty; give it a value")
    probes = _read_probes(document, entries.get("categories"))
    placed = _read_prompts(document, entries.get("prompts"), probes)
    if similar:
        find_similar(document, placed)
    if any(problem.severity == "error" for problem in document.problems):
        return None, document.problems
    prompts = tuple(entry.prompt for entry in placed)
    suite = Suite(
        texts["suite"], texts["version"], texts["licence"], texts["description"], prompts, str(path), probes
    )
    return suite, document.problems


def _read_probes(document: Document, node: yaml.Node | None) -> dict[str, str]:
    if node is None:
        return {}
    entries = document.mapping(node, "categories")
    return {name: document.text(value, f"categories.{name}").strip() for name, value in entries.items()}


def _read_prompts(document: Document, node: yaml.Node | None, probes: dict[str, str]) -> list[Placed]:
    if node is None:
        return []
    placed: list[Placed] = []
    first: dict[str, Placed] = {}
    nodes = document.items(node, "prompts")
    if not nodes and isinstance(node, yaml.SequenceNode):
        document.error(node, "no-prompts", "the suite has no prompts; add at least one")
    for item in nodes:
        found = _read_prompt(document, item, probes)
        if found is None:
            continue
        key = found.prompt.id.casefold()
        earlier = first.setdefault(key, found)
        if earlier is not found:
            line = earlier.id_node.start_mark.line + 1
            if earlier.prompt.id == found.prompt.id:
                message = (
                    f"duplicate prompt id {found.prompt.id!r} (first at line {line}); ids must be unique"
                )
                document.error(found.id_node, "duplicate-id", message)
            else:
                message = (
                    f"prompt id {found.prompt.id!r} differs from {earlier.prompt.id!r} (line {line}) only by case; "
                    "their files would overwrite each other on some systems, rename one"
                )
                document.error(found.id_node, "case-collision", message)
        placed.append(found)
    unused = set(probes) - {entry.prompt.category for entry in placed}
    for name in sorted(unused):
        document.warn(
            node, "unused-category", f"category {name!r} has no prompt; add one or drop the category"
        )
    return placed


def _read_prompt(document: Document, node: yaml.Node, probes: dict[str, str]) -> Placed | None:
    entries = document.mapping(node, "a prompt", _PROMPT_KEYS)
    missing = [key for key in ("id", "text", "category") if key not in entries]
    if missing and isinstance(node, yaml.MappingNode):
        document.error(
            node, "missing-key", f"the prompt has no {' and no '.join(f'`{key}`' for key in missing)}; add it"
        )
    params = read_params(document, entries["params"]) if "params" in entries else {}
    expect = read_expect(document, entries["expect"]) if "expect" in entries else {}
    tags = _read_tags(document, entries["tags"]) if "tags" in entries else ()
    words = {
        key: document.text(entries[key], f"`{key}`")
        for key in ("id", "text", "category", "negative", "notes")
        if key in entries
    }
    for key in words:
        _check_words(document, entries[key], key, words[key])
    if probes and words.get("category") and words["category"] not in probes:
        message = f"category {words['category']!r} is not listed under `categories`; {nearest(words['category'], probes)}"
        document.error(entries["category"], "unknown-category", message)
    if missing:
        return None
    prompt = Prompt(
        id=words["id"],
        text=words["text"],
        category=words["category"],
        tags=tags,
        negative=words.get("negative", ""),
        params=params,
        expect=expect,
        notes=words.get("notes", "").strip(),
    )
    return Placed(prompt, entries["id"], entries["text"])


def _read_tags(document: Document, node: yaml.Node) -> tuple[str, ...]:
    tags: list[str] = []
    for tag, tag_node in document.texts(node, "tags"):
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", tag):
            message = (
                f"tag {tag!r} must be words of letters, digits, _ or -, joined by dots (`anatomy.hands`)"
            )
            document.error(tag_node, "wrong-value", message)
        elif tag in tags:
            document.warn(tag_node, "duplicate-tag", f"tag {tag!r} appears twice; keep one")
        else:
            tags.append(tag)
    return tuple(tags)


def _check_words(document: Document, node: yaml.Node, key: str, words: str) -> None:
    if not is_text(node):
        return  # already reported
    if key in {"id", "text", "category"} and not words.strip():
        document.error(node, "empty-text", f"`{key}` is empty; write it or drop the prompt")
    elif key == "id" and not _ID.fullmatch(words):
        cure = "use letters, digits, '.', '_' and '-', at most 100, starting with a letter or digit"
        document.error(node, "bad-id", f"prompt id {words!r} cannot name a file or a page; {cure}")
    elif control := _CONTROL.search(words):
        document.error(
            node,
            "control-character",
            f"`{key}` holds the control character U+{ord(control[0]):04X}; remove it",
        )
    elif key != "notes" and words != words.strip():
        document.warn(
            node, "stray-space", f"`{key}` begins or ends with white space; models see it, remove it"
        )
    elif len(words) > _MAX_TEXT:
        document.error(
            node, "too-long", f"`{key}` has {len(words)} characters, more than {_MAX_TEXT}; shorten it"
        )
