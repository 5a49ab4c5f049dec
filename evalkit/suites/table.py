"""Tables of prompts (CSV, TSV, JSON, JSONL, plain text): one row a prompt, or one row a clip.

Columns are found by name: `prompt`/`text`/`caption`, `id`/`prompt_id`, `category`, `tags`, `negative`/
`negative_prompt`, `notes`, and for rows that name a clip `file`/`path`/`video`, `model`/`group`, `sample`/
`sample_index`. `prompt_idx` numbers the prompts within a category, as FETV's ratings do. Other columns are left alone.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import SuiteError
from evalkit.suites.document import Problem, nearest
from evalkit.suites.naming import prompt_id
from evalkit.suites.prompt import Prompt, Suite

_COLUMNS = {
    "prompt": ("prompt", "text", "caption", "prompt_en"),
    "id": ("id", "prompt_id"),
    "category": ("category",),
    "index": ("prompt_idx",),
    "tags": ("tags",),
    "negative": ("negative", "negative_prompt"),
    "notes": ("notes",),
    "file": ("file", "path", "video", "filename"),
    "group": ("group", "model"),
    "sample": ("sample_index", "sample"),
}


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: its prompt, and the clip it names, if any.

    Args:
        line: Line in the file, counted from 1 (the row's number where a file has no lines).
        prompt: The prompt of the row.
        file: Path as written; empty when the table names no clips.
        group: Whose clip it is; empty when the table does not say.
        sample_index: None when the table does not say.
    """

    line: int
    prompt: Prompt
    file: str = ""
    group: str = ""
    sample_index: int | None = None


def read_prompt_table(path: Path) -> list[TableRow]:
    """Read a table of prompts.

    Raises:
        SuiteError: All problems at once, one a line, each with file:line:column.
    """
    rows = _records(path)
    if not rows:
        raise SuiteError(f"{path}: the table has no rows; expected a header and one row a prompt")
    named = {name.strip().casefold(): name for _, row in rows for name in row if name is not None}
    columns = {
        meaning: named[name]
        for meaning, names in _COLUMNS.items()
        for name in reversed(names)
        if name in named
    }
    if "prompt" not in columns:
        cure = nearest("prompt", list(named))
        raise SuiteError(f"{path}:1:1: error: no column `prompt`, `text` or `caption`; {cure}")
    problems: list[Problem] = []
    found: list[TableRow] = []
    first: dict[str, TableRow] = {}
    for line, record in rows:
        row = _row(path, line, record, columns, problems)
        if row is None:
            continue
        earlier = first.setdefault(row.prompt.id, row)
        if earlier.prompt.text != row.prompt.text:
            message = (
                f"prompt id {row.prompt.id!r} has another text than at line {earlier.line}; "
                "one id stands for one text, rename one"
            )
            problems.append(Problem(str(path), line, 1, "error", "duplicate-id", message))
        found.append(row)
    if problems:
        raise SuiteError("\n".join(map(str, problems)))
    return found


def table_suite(rows: Sequence[TableRow], path: Path) -> Suite:
    """Return the prompts of a table, each once, as a suite named after the file."""
    prompts = {row.prompt.id: row.prompt for row in reversed(rows)}
    ordered = tuple(dict.fromkeys(prompts[row.prompt.id] for row in rows))
    return Suite(path.stem, "1.0", "unknown", f"Prompts of {path.name}.", ordered, str(path))


def _row(
    path: Path,
    line: int,
    record: Mapping[str | None, Any],
    columns: Mapping[str, str],
    problems: list[Problem],
) -> TableRow | None:
    def cell(meaning: str) -> str:
        value = record.get(columns[meaning]) if meaning in columns else None
        return "" if value is None else str(value).strip()

    def wrong(code: str, message: str) -> None:
        problems.append(Problem(str(path), line, 1, "error", code, message))

    if any(record.get(None, ())):  # where the csv module puts surplus cells
        wrong("surplus-cells", "the row has more cells than the header; quote cells that hold a comma")
        return None
    text = cell("prompt")
    if not text:
        wrong("empty-text", "the prompt is empty; write it or drop the row")
        return None
    category = cell("category") or "all"
    own_id = cell("id")
    if not own_id and cell("index"):
        own_id = f"{re.sub(r'[^A-Za-z0-9_]+', '-', category.rsplit('/', 1)[-1])}-{cell('index')}"
    own_id = own_id or prompt_id(text)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", own_id):
        wrong(
            "bad-id",
            f"prompt id {own_id!r} cannot name a file or a page; use letters, digits, '.', '_' and '-'",
        )
        return None
    sample = cell("sample")
    if sample and not sample.isdecimal():
        wrong("wrong-type", f"sample index must be a whole number of 0 or more, got {sample!r}")
        return None
    tags = tuple(dict.fromkeys(re.findall(r"[\w-]+(?:\.[\w-]+)*", cell("tags"))))
    prompt = Prompt(own_id, text, category, tags, negative=cell("negative"), notes=cell("notes"))
    return TableRow(line, prompt, cell("file"), cell("group"), int(sample) if sample else None)


def _records(path: Path) -> list[tuple[int, Mapping[str | None, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(
            f"{path}: cannot be read as UTF-8 text: {error}; check the path and the encoding"
        ) from error
    kind = path.suffix.lower()
    if kind in {".csv", ".tsv"}:
        reader = csv.DictReader(
            io.StringIO(text, newline=""), delimiter="\t" if kind == ".tsv" else ",", strict=True
        )
        try:
            return [(reader.line_num, record) for record in reader]
        except csv.Error as error:
            raise SuiteError(
                f"{path}:{reader.line_num}:1: error: not a valid {kind[1:].upper()} row: {error}"
            ) from error
    if kind == ".txt":
        return [(line, {"prompt": words}) for line, words in enumerate(text.splitlines(), 1) if words.strip()]
    if kind == ".jsonl":
        return [
            (line, _parsed(path, words, line))
            for line, words in enumerate(text.splitlines(), 1)
            if words.strip()
        ]
    if kind == ".json":
        content = _parsed(path, text, 1, mapping=False)
        if isinstance(content, dict):  # {id: text} or {id: {prompt: ...}}
            content = [
                {"id": key, **(value if isinstance(value, dict) else {"prompt": value})}
                for key, value in content.items()
            ]
        if isinstance(content, list):
            content = [{"prompt": entry} if isinstance(entry, str) else entry for entry in content]
            if all(isinstance(entry, dict) for entry in content):
                return list(enumerate(content, 1))
        raise SuiteError(
            f"{path}: expected a list of prompts (text, or objects with a `prompt`), or {{id: prompt}}"
        )
    raise SuiteError(
        f"{path}: cannot tell the format from {kind!r}; use .csv, .tsv, .json, .jsonl, .txt or .yaml"
    )


def _parsed(path: Path, text: str, line: int, *, mapping: bool = True) -> Any:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}:{line + error.lineno - 1}:{error.colno}"
        raise SuiteError(f"{place}: error: not valid JSON: {error.msg}") from error
    if mapping and not isinstance(content, dict):
        raise SuiteError(
            f'{path}:{line}:1: error: expected an object such as {{"prompt": ...}} on every line'
        )
    return content
