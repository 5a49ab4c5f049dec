"""Clips that already exist: which file shows which prompt.

Layouts, by how files are named:

- `vbench`: `{prompt}-{i}.mp4`, also `{prompt[:180]}-{i}.mp4` as VBench-2.0 writes;
- `evalcrafter`: `0000.mp4`, the number of the prompt;
- `t2v-compbench`: `<category>/0001.mp4`;
- `plain`: the file's stem is the prompt's id, also `{id}-{i}`;
- `csv`: a table with a `file` column.

Every file and every prompt ends up in a row. A file that belongs to no prompt and a prompt that has no file are rows
with a `problem`. Sub-folders become the row's `group`, so that several models can lie side by side.
"""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalkit.errors import SuiteError
from evalkit.remote import RemoteFile, is_url, list_remote
from evalkit.suites.clip_files import CLIP_SUFFIXES, ClipFile, file_names, list_files, no_clips
from evalkit.suites.document import nearest
from evalkit.suites.importers import compbench_category, read_prompts
from evalkit.suites.naming import prompt_id
from evalkit.suites.prompt import Prompt, Suite
from evalkit.suites.table import TableRow, read_prompt_table, table_suite

__all__ = ["CLIP_SUFFIXES", "LAYOUTS", "FolderScan", "FoundClip", "scan_folder"]

LAYOUTS = ("vbench", "evalcrafter", "t2v-compbench", "plain", "csv")
_VBENCH_NAME = re.compile(r"(?P<text>.*)-(?P<sample>\d+)", re.DOTALL)
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FoundClip:
    """One row of a folder.

    Args:
        path: The clip: a file, a folder of frames or a file behind a URL; None when the prompt has no clip.
        prompt: The prompt it shows; its text is empty when nothing says what was asked.
        sample_index: Which of the prompt's clips it is.
        group: Whose clip it is, when one folder holds several models.
        problem: Why the row cannot be scored; None when it can.
    """

    path: Path | RemoteFile | None
    prompt: Prompt
    sample_index: int = 0
    group: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class FolderScan:
    """All rows of a folder, the suite of their prompts, the layout that was used, and remarks for people."""

    clips: tuple[FoundClip, ...]
    suite: Suite
    layout: str
    problems: tuple[str, ...]


def scan_folder(
    folder: Path | str,
    layout: str | None = None,
    suite: Suite | None = None,
    prompts_file: Path | None = None,
) -> FolderScan:
    """Find out which clip of `folder` shows which prompt.

    Args:
        folder: Where the clips are; a URL for an object store (`s3://bucket/clips`).
        layout: One of `LAYOUTS`; None recognises it from the prompts file and the names.
        suite: The prompts; exclusive with `prompts_file`.
        prompts_file: A table, a suite or another benchmark's prompt file.

    Raises:
        SuiteError: No such folder, no clips in it, an unknown layout, or one that needs prompts and has none.
    """
    if is_url(folder):
        return _scan_remote(str(folder).rstrip("/"), layout, suite, prompts_file)
    folder = Path(folder)
    if suite is not None and prompts_file is not None:
        raise SuiteError("a suite and a prompts file were both given; give one of them")
    if not folder.is_dir():
        raise SuiteError(f"{folder}: no such folder; give the folder that holds the clips")
    if layout is not None and layout not in LAYOUTS:
        raise SuiteError(f"unknown layout {layout!r}; {nearest(layout, LAYOUTS)}")
    files, remarks = list_files(folder, prompts_file)
    rows: list[TableRow] = []
    if prompts_file is not None:
        is_table = prompts_file.suffix.lower() in {".csv", ".tsv", ".jsonl"} or layout == "csv"
        rows = [row for row in read_prompt_table(prompts_file) if row.file] if is_table else []
        suite = read_prompts(prompts_file) if not rows else table_suite(rows, prompts_file)
    if layout == "csv" and not rows:
        raise SuiteError("layout `csv` needs --prompts with a table that has a `file` column")
    if not files and not any(_inside(row.file, folder, prompts_file) for row in rows):
        raise no_clips(folder)
    chosen = layout or ("csv" if rows else _recognise(files, suite))
    if chosen == "csv" and prompts_file is not None:
        clips = _from_table(folder, files, rows, prompts_file)
    else:
        clips = _from_names(chosen, files, suite)
        if suite is not None:
            clips += _missing(clips, suite)
    clips = _unique(clips, numbered=chosen == "csv")
    return FolderScan(tuple(clips), _suite_of(clips, suite, folder), chosen, tuple(remarks))


def _scan_remote(url: str, layout: str | None, suite: Suite | None, prompts_file: Path | None) -> FolderScan:
    """Scan a stand-in: names alone say which clip shows which prompt, so empty files of the same names will do."""
    with tempfile.TemporaryDirectory(prefix="evalkit-") as temporary:
        root = Path(temporary).resolve() / (url.rsplit("/", 1)[-1] or "clips")
        root.mkdir()
        passed_over = 0
        for name in list_remote(url):
            stand_in = root / name
            if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in name.split("/")):
                passed_over += 1  # no path on a disk
                continue
            stand_in.parent.mkdir(parents=True, exist_ok=True)
            stand_in.touch()

        def told(text: str) -> str:
            return text.replace(str(root), url)

        try:
            scan = scan_folder(root, layout, suite, prompts_file)
        except SuiteError as error:
            raise SuiteError(told(str(error))) from None
        clips = tuple(
            replace(
                clip,
                path=None if clip.path is None else RemoteFile(told(str(clip.path))),
                problem=None if clip.problem is None else told(clip.problem),
            )
            for clip in scan.clips
        )
        remarks = [told(remark) for remark in scan.problems]
    if passed_over:
        remarks.append(f"{passed_over} objects of {url} have keys that are no paths")
    return replace(
        scan, clips=clips, suite=replace(scan.suite, source=told(scan.suite.source)), problems=tuple(remarks)
    )


def _recognise(files: Sequence[ClipFile], suite: Suite | None) -> str:
    stems = [file.stem for file in files]
    if suite is not None and any(stem in suite.by_id for stem in stems):
        return "plain"
    if suite is not None and suite.name in LAYOUTS:
        return suite.name
    return "vbench" if all(_VBENCH_NAME.fullmatch(stem) and " " in stem for stem in stems) else "plain"


def _from_names(layout: str, files: Sequence[ClipFile], suite: Suite | None) -> list[FoundClip]:
    if layout in {"evalcrafter", "t2v-compbench"}:
        if suite is None:
            raise SuiteError(
                f"layout `{layout}` numbers its clips; give the prompts with --suite or --prompts"
            )
        return _numbered(layout, files, suite)
    find = _vbench_finder(suite) if layout == "vbench" else _plain_finder(suite)
    return [find(file) for file in files]


def _stranger(file: ClipFile, why: str) -> FoundClip:
    """Return the row of a file that belongs to no prompt."""
    own = Prompt(prompt_id(file.relative), "", _UNKNOWN, notes=file.relative)
    return FoundClip(file.path, own, group=file.group, problem=f"{file.relative}: {why}")


def _vbench_finder(suite: Suite | None) -> Callable[[ClipFile], FoundClip]:
    exact: dict[str, Prompt] = {}
    folded: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in suite or ():
        for name in file_names(prompt.text):
            exact.setdefault(name, prompt)
            if prompt not in folded[name.casefold()]:
                folded[name.casefold()].append(prompt)

    def find(file: ClipFile) -> FoundClip:
        for stem, group in ((file.stem, file.group), (str(Path(file.relative).with_suffix("")), "")):
            match = _VBENCH_NAME.fullmatch(unicodedata.normalize("NFC", stem))
            if match is None:
                continue
            text, sample = match["text"], int(match["sample"])
            if suite is None:
                own = Prompt(prompt_id(text), text, "all")
                return FoundClip(file.path, own, sample, group)
            near = folded.get(text.casefold(), [])
            found = exact.get(text) or (near[0] if len(near) == 1 else None)
            if found is not None:
                return FoundClip(file.path, found, sample, group)
        if _VBENCH_NAME.fullmatch(file.stem) is None:
            return _stranger(
                file, "not named `{prompt}-{i}` as VBench names clips; rename it or choose another --layout"
            )
        return _stranger(
            file, f"no prompt of the suite {suite.name if suite else ''!r} has this text; check the suite"
        )

    return find


def _plain_finder(suite: Suite | None) -> Callable[[ClipFile], FoundClip]:
    def find(file: ClipFile) -> FoundClip:
        if suite is None:
            own = Prompt(_plain_id(file.stem), "", "all")
            return FoundClip(file.path, own, group=file.group)
        if file.stem in suite.by_id:
            return FoundClip(file.path, suite.by_id[file.stem], group=file.group)
        match = re.fullmatch(r"(.+)[-_](\d+)", file.stem)
        if match and match[1] in suite.by_id:
            return FoundClip(file.path, suite.by_id[match[1]], int(match[2]), file.group)
        return _stranger(
            file,
            f"no prompt of the suite {suite.name!r} has the id {file.stem!r}; rename the file or check the suite",
        )

    return find


def _plain_id(stem: str) -> str:
    return stem if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", stem) else prompt_id(stem)


def _numbered(layout: str, files: Sequence[ClipFile], suite: Suite) -> list[FoundClip]:
    """Clips whose number says which prompt of the suite (or of its category) they show."""
    by_category: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in suite:
        by_category[prompt.category].append(prompt)
    from_zero = layout == "evalcrafter" or any(
        file.stem.isdecimal() and int(file.stem) == 0 for file in files
    )
    clips = []
    for file in files:
        outer, _, inner = file.group.rpartition("/")
        category = compbench_category(inner) if layout == "t2v-compbench" else "evalcrafter"
        group = outer if layout == "t2v-compbench" else file.group
        if not file.stem.isdecimal():
            clips.append(_stranger(file, "its name is no number; rename it or choose another --layout"))
            continue
        if layout == "t2v-compbench" and category not in by_category:
            clips.append(
                _stranger(
                    file, f"the suite has no category {category!r}; name the folder after its prompt file"
                )
            )
            continue
        number = int(file.stem) if from_zero else int(file.stem) - 1
        listed = by_category[category] if category in by_category else list(suite)
        own_id = f"{category}-{number + (layout == 't2v-compbench'):04d}"
        found = suite.by_id.get(own_id)
        if (
            found is None
            and not (listed and listed[0].id.startswith(f"{category}-"))
            and 0 <= number < len(listed)
        ):
            found = listed[number]
        if found is None:
            clips.append(
                _stranger(
                    file, f"there is no prompt number {file.stem} among {len(listed)}; check the prompts"
                )
            )
        else:
            clips.append(FoundClip(file.path, found, group=group))
    return clips


def _missing(clips: Sequence[FoundClip], suite: Suite) -> list[FoundClip]:
    """Rows for prompts without a clip, and for gaps in the numbers of a prompt's clips, in every group."""
    seen: Mapping[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for clip in clips:
        if clip.problem is None:
            seen[clip.group][clip.prompt.id].add(clip.sample_index)
    rows = []
    for group in seen or {"": {}}:
        name = group.rsplit("/", 1)[-1]
        of_category = [
            p
            for p in suite
            if name and (p.category == name or any(tag.endswith(f".{name}") for tag in p.tags))
        ]
        for prompt in of_category or suite.prompts:
            have = seen[group].get(prompt.id, set())
            for index in sorted(set(range(max(have, default=0) + 1)) - have):
                where = f" in {group!r}" if group else ""
                what = f"clip {index} of prompt" if have else "prompt"
                why = f"no clip was found{where} for {what} {prompt.id!r}; generate it or drop it from the suite"
                rows.append(FoundClip(None, prompt, index, group, why))
    return rows


def _from_table(
    folder: Path, files: Sequence[ClipFile], rows: Sequence[TableRow], table: Path
) -> list[FoundClip]:
    named: set[Path] = set()
    clips = []
    for row in rows:
        path = _inside(row.file, folder, table)
        problem = None
        if path is None:
            problem = f"{table.name}:{row.line}: {row.file!r} exists neither beside the table nor in {folder.name}; check it"
        else:
            named.add(path.resolve())
        # -1: numbered by `_unique`, after all rows of the prompt are known
        sample = -1 if row.sample_index is None else row.sample_index
        clips.append(FoundClip(path, row.prompt, sample, row.group, problem))
    why = f"no row of {table.name} names this file; add one or move the file away"
    return clips + [_stranger(file, why) for file in files if file.path.resolve() not in named]


def _inside(name: str, folder: Path, table: Path | None) -> Path | None:
    """Return the existing clip that a table means, or None; a name that leads out of both folders means nothing."""
    for base in (table.parent if table else folder, folder):
        path = base / name
        if path.exists() and path.resolve().is_relative_to(base.resolve()) and name:
            return path
    return None


def _unique(clips: Sequence[FoundClip], *, numbered: bool) -> list[FoundClip]:
    """Give every row its own (prompt, group, sample); rows of a table are counted, files of one name are a problem."""
    taken: dict[tuple[str, str], dict[int, FoundClip]] = defaultdict(dict)
    result = []
    for clip in clips:
        used = taken[clip.prompt.id, clip.group]
        if clip.sample_index < 0 or clip.sample_index in used:
            free = next(index for index in range(len(used) + 1) if index not in used)
            problem = clip.problem
            if clip.sample_index >= 0 and problem is None and not numbered:
                other = used[clip.sample_index].path
                problem = f"{clip.path}: shows the same prompt and sample as {other}; keep one of them"
            elif clip.sample_index >= 0 and problem is None:
                problem = f"{clip.path}: sample {clip.sample_index} of prompt {clip.prompt.id!r} is listed twice; renumber"
            clip = replace(clip, sample_index=free, problem=problem)
        used[clip.sample_index] = clip
        result.append(clip)
    return result


def _suite_of(clips: Sequence[FoundClip], suite: Suite | None, folder: Path) -> Suite:
    """Return the suite plus the prompts that only files made known."""
    known = {prompt.id: prompt for prompt in suite or ()}
    for clip in clips:
        known.setdefault(clip.prompt.id, clip.prompt)
    if suite is None:
        name = folder.resolve().name
        return Suite(
            name, "1.0", _UNKNOWN, f"Prompts of the clips in {name}.", tuple(known.values()), str(folder)
        )
    return replace(suite, prompts=tuple(known.values()))
