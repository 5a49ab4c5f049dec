"""A run in the layout of another benchmark, so that the benchmark's own code can score it, and its scores be filed there.

vbench         {prompt}-{i}.mp4, full_info.json, and {name}_eval_results.json of the dimensions that evalkit scored
evalcrafter    videos/0000.mp4, prompts/0000.txt, and results/{metric}_record.txt
t2v-compbench  {category}/0001.mp4 and prompts/{category}.txt
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import EvalkitError
from evalkit.metrics.peer_results import evalcrafter_record
from evalkit.metrics.vbench_scores import export_results
from evalkit.runs.files import write_json, write_text
from evalkit.runs.store import Run
from evalkit.suites.clip_files import file_names
from evalkit.suites.prompt import Prompt

__all__ = ["CLIPS", "PEERS", "Exported", "export_run"]

CLIPS = "evalkit_clips.jsonl"

# Dimensions that VBench scores on any prompt, given to prompts that name none.
_ANY_PROMPT = (
    *("subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness"),
    *("dynamic_degree", "aesthetic_quality", "imaging_quality"),
)
# A file name may have 255 bytes on common file systems; `-0000.mp4` is ours.
_LONGEST_NAME = 240
_EVALCRAFTER = {
    "evalcrafter.clip_temp": "clip_temp_score",
    "evalcrafter.warping_error": "warping_error",
    "evalcrafter.clip_score": "clip_score",
}


class Exported(NamedTuple):
    """What was written.

    Args:
        clips: number of clips.
        scores: the peer's metrics whose scores were written.
        left_out: clips that could not be exported, with the reason.
    """

    clips: int
    scores: tuple[str, ...]
    left_out: tuple[str, ...]


class _Clip(NamedTuple):
    key: tuple[str, int]
    prompt: Prompt
    sample: int
    path: Path


def export_run(run: Run, peer: str, out: Path, *, group: str = "") -> Exported:
    """Write a run's clips, prompts and scores as another benchmark lays them out.

    Args:
        run: a finished run.
        peer: `vbench`, `evalcrafter` or `t2v-compbench`.
        out: a new or empty folder.
        group: whose clips, where the run holds several models.

    Raises:
        EvalkitError: an unknown peer, a folder that is not empty, an unknown group, or no clip.
    """
    if peer not in PEERS:
        raise EvalkitError(f"cannot export to {peer!r}; known: {', '.join(PEERS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EvalkitError(f"{out} is not empty; give a new folder")
    groups = sorted(set(run.generations["group"]))
    if group not in groups:
        raise EvalkitError(f"{run.folder} has no group {group!r}; groups: {', '.join(map(repr, groups))}")
    clips, left_out = [], []
    for row in run.table("generations").to_pylist():
        if row["group"] != group:
            continue
        prompt, sample = run.suite.by_id[row["prompt_id"]], row["sample_index"]
        if row["status"] != "ok":
            left_out.append(f"{prompt.id}-{sample}: {row['error']}")
        elif not prompt.text:
            left_out.append(f"{prompt.id}-{sample}: its prompt has no text")
        else:
            clips.append(_Clip((prompt.id, sample), prompt, sample, run.path_of(row["path"])))
    if not clips:
        raise EvalkitError(f"{run.folder} has no clip to export ({'; '.join(left_out[:3]) or 'it is empty'})")
    scores = run.scores[(run.scores["group"] == group) & (run.scores["status"] == "ok")]
    written, more = PEERS[peer](clips, scores, out)
    return Exported(len(clips) - len(more), written, (*left_out, *more))


def _place(clip: _Clip, out: Path, target: Path) -> None:
    """Link where the file system can, copy elsewhere; the original is never moved.

    `evalkit_clips.jsonl` remembers which file is which clip, so that the peer's scores find back to the run.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(clip.path, target)
    except OSError:
        shutil.copyfile(clip.path, target)
    line = {"file": target.relative_to(out).as_posix(), "prompt_id": clip.key[0], "sample_index": clip.key[1]}
    with (out / CLIPS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _scored(scores: Any, metric: str, clips: Iterable[_Clip]) -> Iterator[tuple[_Clip, float]]:
    rows = scores[scores["metric_id"] == metric]
    values = dict(
        zip(
            zip(rows["prompt_id"], rows["sample_index"].astype(int), strict=True),
            rows["value"].astype(float),
            strict=True,
        )
    )
    yield from ((clip, values[clip.key]) for clip in clips if clip.key in values)


def _vbench(clips: list[_Clip], scores: Any, out: Path) -> tuple[tuple[str, ...], list[str]]:
    paths: dict[tuple[str, int], str] = {}
    entries: dict[str, dict[str, Any]] = {}
    for clip in clips:
        name = _vbench_name(clip.prompt.text)
        target = out / "videos" / f"{name}-{clip.sample}{clip.path.suffix}"
        if target.exists():
            # Two prompts of VBench differ by case alone, which some file systems cannot keep apart.
            target = target.with_name(f"{name}-{clip.prompt.id}-{clip.sample}{clip.path.suffix}")
        _place(clip, out, target)
        paths[clip.key] = target.relative_to(out).as_posix()
        named = [tag.removeprefix("vbench.") for tag in clip.prompt.tags if tag.startswith("vbench.")]
        entry = entries.setdefault(
            clip.prompt.id,
            {"prompt_en": clip.prompt.text, "dimension": named or list(_ANY_PROMPT), "video_list": []},
        )
        entry["video_list"].append(paths[clip.key])
    write_json(out / "full_info.json", list(entries.values()))
    results: dict[str, Any] = {}
    for metric in sorted({one for one in scores["metric_id"] if one.startswith("vbench.")}):
        dimension = metric.removeprefix("vbench.")
        # VBench's files hold imaging quality of single clips in 0..100 and its mean in 0..1.
        scale = 100.0 if dimension == "imaging_quality" else 1.0
        rows = [
            (paths[clip.key], value * scale)
            for clip, value in _scored(scores, metric, clips)
            if dimension in entries[clip.prompt.id]["dimension"]
        ]
        if rows:
            (overall, listed), *_ = export_results(dimension, rows).values()
            results[dimension] = [overall / scale, listed]
    if results:
        write_json(out / "evalkit_eval_results.json", results)
    return tuple(results), []


def _vbench_name(text: str) -> str:
    """The prompt where it can be a file name, else as VBench-2.0 cuts it and the layout `vbench` finds it."""
    for name in file_names(text):
        if (
            not re.search(r'[/\\:*?"<>|\x00-\x1f]', name)
            and len(name.encode()) <= _LONGEST_NAME
            and name.strip(". ")
        ):
            return name
    raise EvalkitError(f"no file can be named after the prompt {text[:60]!r}")


def _evalcrafter(clips: list[_Clip], scores: Any, out: Path) -> tuple[tuple[str, ...], list[str]]:
    first = [clip for clip in clips if clip.sample == 0]
    left_out = [
        f"{clip.prompt.id}-{clip.sample}: EvalCrafter knows one clip a prompt"
        for clip in clips
        if clip.sample
    ]
    own = [re.fullmatch(r"evalcrafter-(\d{4})", clip.prompt.id) for clip in first]
    numbers = [found[1] if found else f"{place:04d}" for place, found in enumerate(own)]
    if len(set(numbers)) < len(numbers):
        numbers = [f"{place:04d}" for place in range(len(first))]
    names: dict[tuple[str, int], str] = {}
    for number, clip in zip(numbers, first, strict=True):
        names[clip.key] = f"{number}{clip.path.suffix}"
        _place(clip, out, out / "videos" / names[clip.key])
        (out / "prompts").mkdir(parents=True, exist_ok=True)
        write_text(out / "prompts" / f"{number}.txt", clip.prompt.text + "\n")
    written = []
    for metric, theirs in _EVALCRAFTER.items():
        rows = [(names[clip.key], value) for clip, value in _scored(scores, metric, first)]
        if rows:
            (out / "results").mkdir(parents=True, exist_ok=True)
            write_text(out / "results" / f"{theirs}_record.txt", evalcrafter_record(theirs, rows))
            written.append(theirs)
    return tuple(written), left_out


def _compbench(clips: list[_Clip], scores: Any, out: Path) -> tuple[tuple[str, ...], list[str]]:
    left_out = [
        f"{clip.prompt.id}-{clip.sample}: T2V-CompBench knows one clip a prompt"
        for clip in clips
        if clip.sample
    ]
    prompts: dict[str, list[str]] = {}
    for clip in clips:
        if clip.sample:
            continue
        category = re.sub(r"[^\w-]", "_", clip.prompt.category)
        listed = prompts.setdefault(category, [])
        listed.append(clip.prompt.text)
        _place(clip, out, out / category / f"{len(listed):04d}{clip.path.suffix}")
    (out / "prompts").mkdir()
    for category, texts in prompts.items():
        write_text(out / "prompts" / f"{category}.txt", "\n".join(texts) + "\n")
    return (), left_out


PEERS: dict[str, Callable[[list[_Clip], Any, Path], tuple[tuple[str, ...], list[str]]]] = {
    "vbench": _vbench,
    "evalcrafter": _evalcrafter,
    "t2v-compbench": _compbench,
}
