"""Prompt files of other benchmarks as suites.

Facts the importers rest on, read from the named repositories:

- VBench (`VBench_full_info.json`, commit fed9982): a list of `{prompt_en, dimension[], auxiliary_info}`; 946 entries
  are 944 texts, two of which differ only by case. Entries of one text are merged, texts are compared exactly.
- EvalCrafter (`evalcrafter_prompt.txt`, commit 3c7d976, or `metadata.json`): the clip `0000.mp4` belongs to the first
  line. Some texts appear twice, so the number is the identity.
- T2V-CompBench (`prompts/7_numeracy.txt`, commit 47622f5): one file a category; the clip `numeracy/0001.mp4` belongs
  to the first line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from evalkit.errors import SuiteError
from evalkit.suites.document import Problem
from evalkit.suites.expect import ATTRIBUTES
from evalkit.suites.load import load_suite
from evalkit.suites.prompt import Prompt, Suite
from evalkit.suites.table import read_prompt_table, table_suite

FORMATS = ("vbench", "evalcrafter", "t2v-compbench", "table")
_VBENCH_RELATIONS = {
    "on the left of": "left_of",
    "on the right of": "right_of",
    "on the top of": "above",
    "on the bottom of": "below",
}


def vbench_suite(entries: Sequence[Mapping[str, Any]], source: str = "") -> Suite:
    """Return VBench's prompts; ids count the entries (`vbench-0000`), tags name the dimensions (`vbench.color`).

    Raises:
        SuiteError: An entry that is not what VBench writes.
    """
    first: dict[str, int] = {}
    dimensions: dict[str, list[str]] = {}
    expectations: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(entries):
        text = entry.get("prompt_en") if isinstance(entry, Mapping) else None
        listed = entry.get("dimension") if isinstance(entry, Mapping) else None
        if not isinstance(text, str) or not text.strip() or not isinstance(listed, list) or not listed:
            raise SuiteError(
                f"{source or 'VBench file'}: entry {number} lacks `prompt_en` or `dimension`; "
                "expected VBench_full_info.json as published"
            )
        first.setdefault(text, number)
        known = dimensions.setdefault(text, [])
        known.extend(name for name in listed if name not in known)
        expectations.setdefault(text, {}).update(_vbench_expect(entry.get("auxiliary_info") or {}))
    prompts = [
        Prompt(
            id=f"vbench-{number:04d}",
            text=text,
            category=dimensions[text][0],
            tags=tuple(f"vbench.{name}" for name in dimensions[text]),
            expect=expectations[text],
        )
        for text, number in first.items()
    ]
    return Suite("vbench", "1.0", "Apache-2.0", "Prompts of VBench, merged by text.", tuple(prompts), source)


def _vbench_expect(info: Mapping[str, Any]) -> dict[str, Any]:
    expect: dict[str, Any] = {}

    def said(dimension: str, key: str) -> Any:
        entry = info.get(dimension)
        return entry.get(key) if isinstance(entry, Mapping) else None

    if said("color", "color") in ATTRIBUTES["colour"].values:
        expect["colour"] = said("color", "color")
    for dimension, key, name in (
        ("object_class", "object", "object"),
        ("appearance_style", "appearance_style", "style"),
        ("scene", "scene", "background"),
    ):
        value = said(dimension, key)
        value = value.get(key) if isinstance(value, Mapping) else value
        if isinstance(value, str) and value:
            expect[name] = value
    both = said("multiple_objects", "object")
    if isinstance(both, str) and both.count(" and ") == 1:
        expect["object"], expect["second_object"] = both.split(" and ")
    spatial = said("spatial_relationship", "spatial_relationship")
    if isinstance(spatial, Mapping) and spatial.get("relationship") in _VBENCH_RELATIONS:
        expect["object"], expect["second_object"] = str(spatial["object_a"]), str(spatial["object_b"])
        expect["relation"] = _VBENCH_RELATIONS[spatial["relationship"]]
    return expect


def evalcrafter_suite(lines: Iterable[str], source: str = "") -> Suite:
    """Return EvalCrafter's prompts from the lines of its text file; ids carry the clip's number."""
    return _numbered_suite("evalcrafter", enumerate(lines), source)


def evalcrafter_metadata_suite(entries: Mapping[str, Mapping[str, Any]], source: str = "") -> Suite:
    """Return EvalCrafter's prompts from its `metadata.json`; tags name the attributes that it annotates.

    Raises:
        SuiteError: An entry that is not what EvalCrafter writes.
    """
    prompts = []
    for number, entry in entries.items():
        if not number.isdecimal() or not isinstance(entry.get("prompt"), str):
            raise SuiteError(
                f'{source or "EvalCrafter file"}: entry {number!r} is not `"0000": {{"prompt": ...}}`; '
                "expected metadata.json as published"
            )
        said = entry.get("attributes") or {}
        expect = {name: said[name] for name in ("action", "style") if isinstance(said.get(name), str)}
        if counted := re.fullmatch(r"(\d+) (\w[\w ]*)", str(said.get("count", ""))):
            expect |= {"object": counted[2], "count": int(counted[1])}
        prompts.append(
            Prompt(
                id=f"evalcrafter-{int(number):04d}",
                text=entry["prompt"].strip(),
                category="evalcrafter",
                tags=tuple(f"evalcrafter.{name}" for name in said if re.fullmatch(r"[\w-]+", name)),
                expect=expect,
            )
        )
    return Suite(
        "evalcrafter", "1.0", "unknown", "Prompts of EvalCrafter by clip number.", tuple(prompts), source
    )


def compbench_suite(files: Mapping[str, Iterable[str]], source: str = "") -> Suite:
    """Return T2V-CompBench's prompts from `{file stem: lines}`; `7_numeracy` gives the ids `numeracy-0001`..."""
    prompts: list[Prompt] = []
    for stem, lines in files.items():
        category = compbench_category(stem)
        prompts.extend(_numbered_suite(category, enumerate(lines, start=1), source).prompts)
    return Suite(
        "t2v-compbench", "1.0", "unknown", "Prompts of T2V-CompBench by category.", tuple(prompts), source
    )


def compbench_category(stem: str) -> str:
    """Return the category that a T2V-CompBench file or folder is about: `7_numeracy` -> `numeracy`."""
    return re.sub(r"^\d+[_-]", "", stem)


def _numbered_suite(name: str, lines: Iterable[tuple[int, str]], source: str) -> Suite:
    prompts = [
        Prompt(id=f"{name}-{number:04d}", text=line.strip(), category=name)
        for number, line in lines
        if line.strip()
    ]
    if not prompts:
        raise SuiteError(f"{source or name}: no prompt in the file; expected one a line")
    return Suite(name, "1.0", "unknown", f"Prompts of {name} by clip number.", tuple(prompts), source)


def import_suite(path: Path, format: str | None = None, name: str | None = None) -> Suite:  # noqa: A002
    """Read a prompt file of another benchmark, or a table of prompts, as a suite.

    Args:
        path: A file; for T2V-CompBench the folder of its text files or one of them.
        format: One of `FORMATS`; recognised from the content where None.
        name: Name of the suite; the benchmark's or the file's own where None.

    Raises:
        SuiteError: The file cannot be read as that format; says why and where.
    """
    if not path.exists():
        raise SuiteError(f"{path}: no such file; check the path")
    chosen = format or _recognise(path)
    if chosen == "t2v-compbench":
        files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        if not files:
            raise SuiteError(f"{path}: no .txt file in this folder; T2V-CompBench keeps one a category")
        suite = compbench_suite({file.stem: _text(file).splitlines() for file in files}, str(path))
    elif chosen == "evalcrafter" and path.suffix != ".json":
        suite = evalcrafter_suite(_text(path).splitlines(), str(path))
    elif chosen == "evalcrafter":
        suite = evalcrafter_metadata_suite(_json(path, dict), str(path))
    elif chosen == "vbench":
        suite = vbench_suite(_json(path, list), str(path))
    elif chosen == "table":
        suite = table_suite(read_prompt_table(path), path)
    else:
        raise SuiteError(f"unknown format {chosen!r}; known: {', '.join(FORMATS)}")
    return (
        suite
        if name is None
        else Suite(name, suite.version, suite.licence, suite.description, suite.prompts, suite.source)
    )


def read_prompts(path: Path) -> Suite:
    """Return the prompts of any file that `--prompts` takes: a suite (YAML), a benchmark's file or a table."""
    if path.suffix in {".yaml", ".yml"}:
        return load_suite(path)
    return import_suite(path)


def suite_yaml(suite: Suite) -> str:
    """Return the suite as YAML that `load_suite` reads back to an equal suite (its source aside)."""
    entries = [
        {key: value for key, value in prompt.to_dict().items() if value not in ("", [], {})}
        for prompt in suite.prompts
    ]
    document: dict[str, Any] = {
        "suite": suite.name,
        "version": suite.version,
        "licence": suite.licence,
        "description": suite.description,
        "categories": dict(suite.probes),
        "prompts": entries,
    }
    document = {key: value for key, value in document.items() if value not in ("", {})}
    return yaml.dump(document, Dumper=_SuiteDumper, sort_keys=False, allow_unicode=True, width=110)


class _SuiteDumper(yaml.SafeDumper):
    """Writes equal lists out twice (a suite has no aliases) and keeps every character of a text."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # Unquoted, these line breaks would be folded into spaces when the suite is read.
        style = '"' if re.search("[\\x85\\u2028\\u2029]", text) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_SuiteDumper.add_representer(str, _SuiteDumper.represent_text)


def _recognise(path: Path) -> str:
    if path.is_dir():
        return "t2v-compbench"
    if path.suffix == ".txt":
        return (
            "t2v-compbench"
            if re.match(r"\d_", path.stem)
            else "evalcrafter"
            if "evalcrafter" in path.stem
            else "table"
        )
    if path.suffix == ".json":
        content = _json(path, (list, dict))
        sample = (
            content[0]
            if isinstance(content, list) and content
            else next(iter(content.values()), None)
            if content
            else None
        )
        if isinstance(sample, Mapping) and "prompt_en" in sample:
            return "vbench"
        if isinstance(content, dict) and isinstance(sample, Mapping) and "attributes" in sample:
            return "evalcrafter"
    return "table"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(
            f"{path}: cannot be read as UTF-8 text: {error}; check the path and the encoding"
        ) from error


def _json(path: Path, kinds: type | tuple[type, ...]) -> Any:
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise SuiteError(
            str(
                Problem(
                    str(path), error.lineno, error.colno, "error", "not-json", f"not valid JSON: {error.msg}"
                )
            )
        ) from error
    if not isinstance(content, kinds):
        raise SuiteError(
            f"{path}: holds {type(content).__name__} at the top level, which is no known prompt file"
        )
    return content
