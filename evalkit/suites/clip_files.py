"""Clips in a folder: which entries are clips, and the names that layouts give them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evalkit.errors import SuiteError

CLIP_SUFFIXES = frozenset({".mp4", ".m4v", ".webm", ".mkv", ".mov", ".avi", ".gif", ".webp"})
_FRAME_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_CUT = 180


@dataclass(frozen=True, slots=True)
class ClipFile:
    """A clip: a file or a folder of frames, and its path inside the folder that was looked through."""

    path: Path
    relative: str

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        name = self.relative.rsplit("/", 1)[-1]
        return Path(name).stem if self.path.suffix.lower() in CLIP_SUFFIXES else name

    @property
    def group(self) -> str:
        """The sub-folder; empty at the top."""
        return self.relative.rpartition("/")[0]


def list_clips(folder: Path) -> dict[str, Path]:
    """Return the clips of a folder by their path in it without suffix (`numeracy/0001`).

    Raises:
        SuiteError: No such folder, or no clips in it.
    """
    if not folder.is_dir():
        raise SuiteError(f"{folder}: no such folder; give the folder that holds the clips")
    files, _ = list_files(folder, None)
    if not files:
        raise no_clips(folder)
    return {file.group + "/" * bool(file.group) + file.stem: file.path for file in reversed(files)}


def clip_stems(prompt_id: str, text: str, sample_index: int) -> Iterator[str]:
    """Yield the names under which any layout keeps a clip, as `list_clips` spells them, the likeliest first."""
    yield f"{prompt_id}-{sample_index}"
    yield f"{prompt_id}_{sample_index}"
    if sample_index == 0:
        yield prompt_id
        if numbered := re.fullmatch(r"(.+)-(\d{4})", prompt_id):
            yield numbered[2] if numbered[1] == "evalcrafter" else f"{numbered[1]}/{numbered[2]}"
    for name in file_names(text) if text else ():
        yield f"{name}-{sample_index}"


def no_clips(folder: Path) -> SuiteError:
    """Return the error of a folder in which nothing looks like a clip."""
    looked = ", ".join(sorted(CLIP_SUFFIXES))
    return SuiteError(f"{folder}: holds no clips (looked for {looked} and folders of frames); check the path")


def list_files(folder: Path, prompts_file: Path | None) -> tuple[list[ClipFile], list[str]]:
    """Return clips in the order of their names, and remarks on what was passed over."""
    files: list[ClipFile] = []
    strange: list[str] = []
    for root, folders, names in os.walk(folder):
        here = Path(root)
        # A run written inside the folder must not feed its own previews to the next scan.
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not (here / name / "plan.json").is_file()
        )
        shown = sorted(name for name in names if not name.startswith("."))
        relative = here.relative_to(folder).as_posix()
        suffixes = {Path(name).suffix.lower() for name in shown}
        if here != folder and shown and not folders and suffixes <= _FRAME_SUFFIXES:
            files.append(ClipFile(here, relative))
            continue
        for name in shown:
            path = here / name
            if path.suffix.lower() in CLIP_SUFFIXES:
                files.append(ClipFile(path, path.relative_to(folder).as_posix()))
            elif prompts_file is None or path.resolve() != prompts_file.resolve():
                strange.append(path.relative_to(folder).as_posix())
        strange.extend(
            f"{relative}/{name} (a link to a folder)" for name in folders if (here / name).is_symlink()
        )
    files.sort(key=lambda file: _natural(file.relative))
    remarks = []
    if strange:
        shown_names = ", ".join(strange[:5]) + (", ..." if len(strange) > 5 else "")
        remarks.append(f"{len(strange)} entries of {folder} are no clips by their names: {shown_names}")
    return files, remarks


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key under which `2.mp4` comes before `10.mp4`."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    ]


def file_names(text: str) -> Iterator[str]:
    """Names under which clips of a prompt are found: whole or cut, with path characters kept or replaced."""
    plain = unicodedata.normalize("NFC", text)
    for cut in (plain, plain[:_CUT]):
        yield cut
        for other in ("_", "-", " ", ""):
            yield re.sub(r'[/\\:*?"<>|]', other, cut)
