"""Reports prefilled from what a run knows of a clip: prompt, settings, evidence, and what the metrics say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from evalkit.errors import VideoError
from evalkit.failures.errors import InvalidReport
from evalkit.failures.record import ClipEvidence, Detector, Model, Reproduction, Segment
from evalkit.failures.taxonomy import load_taxonomy
from evalkit.suites.cases import window_value

if TYPE_CHECKING:
    from evalkit.failures.store import FailureStore
    from evalkit.runs.manifest import MetricRecord
    from evalkit.runs.store import Run

__all__ = ["clip_fields", "detectors", "find_clip", "inside_run", "keep_clip", "plain"]

_AGREES, _DISAGREES = 80.0, 50.0
_REPRODUCTION = ("num_inference_steps", "guidance_scale", "scheduler", "context_window")
_ELSEWHERE = ("prompt", "negative_prompt", "num_frames", "height", "width", "fps", "seed")
_ENVIRONMENT = ("precision", "quantization")


def find_clip(run: Run, name: str) -> dict[str, Any]:
    """The row of the generations table that `name` stands for.

    Args:
        run: the run.
        name: a clip id (or the unique beginning of one), or `PROMPT_ID#SAMPLE`.

    Raises:
        InvalidReport: nothing or more than one clip has that name, or its generation failed.
    """
    table = run.generations
    prompt_id, mark, sample = name.rpartition("#")
    if mark and sample.isdecimal():
        rows = table[(table["prompt_id"] == prompt_id) & (table["sample_index"] == int(sample))]
    else:
        known = table["clip_id"].notna()
        rows = table[known & table["clip_id"].astype("string").str.startswith(name or "-").fillna(False)]
        rows = rows.drop_duplicates("clip_id")
    if len(rows) != 1:
        found = "no clip" if rows.empty else f"{len(rows)} clips"
        raise InvalidReport(
            f"{run.folder} has {found} {name!r}; give a clip id from the gallery, or PROMPT_ID#SAMPLE such as "
            f"{table['prompt_id'].iloc[0]}#{table['sample_index'].iloc[0]}"
        )
    row: dict[str, Any] = {str(key): plain(value) for key, value in rows.iloc[0].to_dict().items()}
    if row["clip_id"] is None:
        raise InvalidReport(f"{run.folder} has no clip for {name!r}: {row['error'] or row['status']}")
    return row


def clip_fields(
    run: Run, row: Mapping[str, Any], segments: Sequence[Segment] = (), category: str = ""
) -> dict[str, Any]:
    """Fields of a report that a run knows: model, prompt, evidence, reproduction, detectors.

    Args:
        run: the run.
        row: the clip's row of the generations table.
        segments: where the reporter saw the failure; the detectors are read inside the first one.
        category: what the reporter saw, for the detectors' verdicts.
    """
    manifest = run.manifest
    prompt = run.suite.by_id.get(row["prompt_id"])
    params: dict[str, Any] = {**(prompt.params if prompt else {}), **json.loads(row["params"] or "{}")}
    params = {name: value for name, value in params.items() if isinstance(value, str | int | float | bool)}
    known = {name: params.pop(name) for name in _REPRODUCTION if params.get(name) is not None}
    for name in _ELSEWHERE:
        params.pop(name, None)
    environment = manifest.environment
    reproduction = Reproduction.model_validate(
        {
            "model_spec": model_spec(run),
            "weights": dict(manifest.model.weights),
            "commit": str(environment.get("commit", "")),
            "device": str(environment.get("device", "")),
            **{name: str(manifest.model.config.get(name, "")) for name in _ENVIRONMENT},
            "seed": row["seed"],
            **{name: row[name] for name in ("num_frames", "height", "width", "fps")},
            "negative_prompt": prompt.negative if prompt else "",
            "params": params,
            "expect": prompt.to_dict()["expect"] if prompt else {},
            **known,
        }
    )
    evidence = ClipEvidence(
        clip_id=row["clip_id"],
        run_id=manifest.run_id,
        prompt_id=row["prompt_id"],
        sample_index=row["sample_index"],
        **{name: row[name] for name in ("num_frames", "height", "width", "fps")},
    )
    return {
        "model": Model(name=manifest.model.id, version=manifest.model.revision).model_dump(),
        "prompt": prompt.text if prompt else "",
        "evidence": {"clip": evidence.model_dump()},
        "reproduction": reproduction.model_dump(),
        "detectors": [entry.model_dump() for entry in detectors(run, row["clip_id"], segments, category)],
    }


def model_spec(run: Run) -> str:
    """What `--model` was given for this run, else the model's id; empty for clips that nobody can make again."""
    command = run.manifest.command
    for position, word in enumerate(command):
        if word == "--model" and position + 1 < len(command):
            return command[position + 1]
        if word.startswith("--model="):
            return word.partition("=")[2]
    return run.manifest.model.id if run.manifest.kind != "score" else ""


def detectors(run: Run, clip_id: str, segments: Sequence[Segment] = (), category: str = "") -> list[Detector]:
    """What the run's clip metrics say about a clip, the evidence for `category` first."""
    scores, series = run.scores, run.series
    own = scores[scores["clip_id"] == clip_id].drop_duplicates("metric_id")
    wanted = load_taxonomy().leaf(category).metrics if category else ()
    found = []
    for record in run.manifest.metrics:
        row = own[own["metric_id"] == record.id]
        if row.empty:
            continue
        value, status = plain(row["value"].iloc[0]), row["status"].iloc[0]
        worse = None if value is None else percentile(run, record, value)
        window = segments[0] if segments else None
        course = series[(series["clip_id"] == clip_id) & (series["metric_id"] == record.id)]
        inside = None
        if window is not None and not course.empty:
            frames = (window.first, window.last)
            inside = window_value(course["values"].iloc[0], course["kind"].iloc[0], frames)
        found.append(
            Detector(
                metric_id=record.id,
                metric_version=record.version,
                status=status,
                value=value,
                reason=(row["reason"].iloc[0] or "")[:500] if value is None else "",
                direction=record.direction,
                percentile=worse,
                window=window if inside is not None else None,
                window_value=inside,
                verdict=_verdict(worse) if record.id in wanted else "unsure",
            )
        )
    return sorted(found, key=lambda entry: entry.metric_id not in wanted)


def percentile(run: Run, record: MetricRecord, value: float) -> float | None:
    """Share of the run's other scored clips that a metric finds better, in percent; ties count half.

    100 is the worst clip of the run. None where there is no other clip.
    """
    scores = run.scores
    column = scores[(scores["metric_id"] == record.id) & (scores["status"] == "ok")]["value"].to_numpy(float)
    if len(column) < 2:
        return None
    better = (column > value) if record.direction == "higher" else (column < value)
    ties = (column == value).sum() - 1  # without the clip itself
    return float((better.sum() + max(ties, 0) / 2) / (len(column) - 1) * 100)


def _verdict(worse: float | None) -> Literal["agrees", "disagrees", "unsure"]:
    if worse is None:
        return "unsure"
    return "agrees" if worse >= _AGREES else "disagrees" if worse <= _DISAGREES else "unsure"


def keep_clip(store: FailureStore, run: Run, row: Mapping[str, Any], *, actor: str) -> dict[str, Any]:
    """Copy preview and poster of a run's clip into the store, so that the report outlives the run.

    Returns:
        the fields `preview`, `poster` and `phash` of the clip's evidence; what the run does not have is left out.
    """
    from evalkit.failures.fingerprint import perceptual_hash

    fields: dict[str, Any] = {}
    for name, kind in (("preview", "video/mp4"), ("poster", "image/webp")):
        path = inside_run(run, row[name])
        if path is not None:
            stored = store.add_media(
                path, kind, name=f"{row['prompt_id']}-{row['sample_index']}", actor=actor
            )
            fields[name] = stored.digest
    source = inside_run(run, row["path"]) or inside_run(run, row["preview"])
    if source is not None:
        from evalkit.video import decode

        try:
            fields["phash"] = perceptual_hash(decode(source))
        except VideoError:
            return fields  # likeness is a convenience; a report about a broken clip must not fail for it
    return fields


def inside_run(run: Run, relative: str | None) -> Any:
    """Path of a file of the run, or None: a table must not be able to name a file elsewhere on the machine."""
    if not relative:
        return None
    path = run.path_of(relative).resolve()
    return path if path.is_relative_to(run.folder.resolve()) and path.is_file() else None


def plain(value: Any) -> Any:
    """A pandas cell as a JSON scalar; every kind of missing value is None."""
    import pandas as pd

    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
