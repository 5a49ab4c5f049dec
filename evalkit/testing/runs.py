"""Synthetic run folders: real files, written by the same writers as real runs, with values that you choose.

For tests of everything that reads runs (compare, gate, report, failures, server), and for plug-in authors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.runs.keys import digest
from evalkit.runs.manifest import Counts, Manifest, MetricRecord, ModelRecord, SuiteRecord, write_manifest
from evalkit.runs.store import Run, open_run, write_suite
from evalkit.runs.tables import TABLES, write_table
from evalkit.suites.prompt import Prompt, Suite

if TYPE_CHECKING:
    import numpy as np

    from evalkit.video import Video

__all__ = ["make_run", "make_suite"]

_CREATED = "2026-01-01T00:00:00+00:00"


def make_suite(
    num_prompts: int = 8, categories: Sequence[str] = ("colour", "motion"), name: str = "synthetic"
) -> Suite:
    """A suite of plain prompts, spread evenly over `categories`."""
    return Suite(
        name=name,
        version="1",
        licence="CC0-1.0",
        description="synthetic",
        prompts=tuple(
            Prompt(
                id=f"p{i:04d}", text=f"synthetic prompt number {i}", category=categories[i % len(categories)]
            )
            for i in range(num_prompts)
        ),
    )


def make_run(
    folder: Path,
    *,
    values: Mapping[str, np.ndarray[Any, Any]],
    suite: Suite | None = None,
    directions: Mapping[str, str] | None = None,
    failed: Sequence[tuple[int, int]] = (),
    series: Callable[[str, int, int], Sequence[float]] | None = None,
    clip: Callable[[int, int], Video] | None = None,
    model: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Mapping[str, Any]] | None = None,
    sets: Mapping[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] | None = None,
) -> Run:
    """Write a finished run.

    Args:
        folder: where.
        values: metric id to scores, `(prompts, samples)`; NaN stands for a score that is `not_applicable`.
        suite: defaults to `make_suite(prompts)`.
        directions: metric id to `higher` (default) or `lower`.
        failed: (prompt index, sample index) of clips whose generation failed.
        series: (metric id, prompt index, sample index) to per-transition values.
        clip: (prompt index, sample index) to a real clip, stored losslessly with preview and poster; without
            it clips have ids but no files.
        model: fields of `ModelRecord` to override.
        metrics: metric id to fields of `MetricRecord` to override.
        sets: set metric id to features `(prompts, samples, D)` of the clips and `(m, D)` of the reference; the
            value is the kernel distance. Clips that failed have no features.
    """
    import numpy as np

    first = next(iter(values.values()))
    num_prompts, num_samples = first.shape
    suite = suite or make_suite(num_prompts)
    if len(suite) != num_prompts or any(scores.shape != first.shape for scores in values.values()):
        raise ValueError("every metric needs one value a prompt and sample of the suite")
    model_record = ModelRecord(**{"id": "synthetic", "revision": "1", **(model or {})})
    run_id = digest(
        [suite.digest, model_record.model_dump(), {k: np.nan_to_num(v).tolist() for k, v in values.items()}]
    )
    records = [
        MetricRecord(
            **{
                "id": metric_id,
                "version": "1",
                "title": metric_id.split(".")[-1].replace("_", " "),
                "description": f"synthetic {metric_id}",
                "direction": (directions or {}).get(metric_id, "higher"),
                "unit": "",
                "range": (None, None),
                "kind": "clip",
                "series": "transition" if series else "none",
                "evidence": "proxy",
                **(metrics or {}).get(metric_id, {}),
            }
        )
        for metric_id in values
    ]
    records += [
        records[0].model_copy(
            update={
                "id": name,
                "title": name.split(".")[-1],
                "kind": "set",
                "direction": "lower",
                "series": "none",
            }
            | dict((metrics or {}).get(name, {}))
        )
        for name in sets or {}
    ]
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for p, prompt in enumerate(suite.prompts):
        for s in range(num_samples):
            ok = (p, s) not in set(failed)
            video = clip(p, s) if clip and ok else None
            clip_id = (video.clip_id if video else digest([run_id, p, s])) if ok else None
            generation = {
                "prompt_id": prompt.id,
                "category": prompt.category,
                "group": "",
                "sample_index": s,
                "seed": s,
                "clip_id": clip_id,
                "path": None,
                "file_digest": None,
                "preview": None,
                "poster": None,
                "status": "ok" if ok else "failed",
                "error": None if ok else "synthetic failure: the model raised RuntimeError('out of ideas')",
                "num_frames": video.num_frames if video else (16 if ok else None),
                "height": video.height if video else (64 if ok else None),
                "width": video.width if video else (64 if ok else None),
                "fps": str(video.fps) if video else ("8" if ok else None),
                "seconds": 1.0 if ok else None,
                "peak_memory_bytes": 1 << 20 if ok else None,
                "attempts": 1,
                "params": json.dumps({}),
            }
            if video is not None and clip_id is not None:
                generation |= _store_clip(folder, video, clip_id)
            tables["generations"].append(generation)
            for record in records[: len(values)]:
                value = float(values[record.id][p, s])
                status = ("ok" if np.isfinite(value) else "not_applicable") if ok else "generation_failed"
                tables["scores"].append(
                    {
                        "run_id": run_id,
                        "suite": suite.name,
                        "prompt_id": prompt.id,
                        "category": prompt.category,
                        "group": "",
                        "sample_index": s,
                        "seed": s,
                        "clip_id": clip_id,
                        "metric_id": record.id,
                        "metric_version": record.version,
                        "value": value if status == "ok" else None,
                        "status": status,
                        "reason": {
                            "ok": None,
                            "not_applicable": "synthetic: not applicable",
                            "generation_failed": generation["error"],
                        }[status],
                        "n_frames": generation["num_frames"],
                        "elapsed_ms": 1.0 if status == "ok" else None,
                    }
                )
                if series is not None and status == "ok":
                    tables["series"].append(
                        {
                            "clip_id": clip_id,
                            "prompt_id": prompt.id,
                            "group": "",
                            "sample_index": s,
                            "metric_id": record.id,
                            "kind": record.series,
                            "values": [float(v) for v in series(record.id, p, s)],
                        }
                    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, (vectors, reference) in (sets or {}).items():
        version = next(record.version for record in records if record.id == name)
        row = _store_set(folder, name, suite, vectors, reference, set(failed))
        tables["set_scores"].append({"run_id": run_id, "metric_id": name, "metric_version": version, **row})
    for name, schema in TABLES.items():
        write_table(folder / f"{name}.parquet", schema, tables[name])
    write_suite(folder, suite)
    statuses = [row["status"] for row in tables["scores"]]
    write_manifest(
        folder,
        Manifest(
            run_id=run_id,
            kind="run",
            status="partial" if failed else "complete",
            created=_CREATED,
            finished=_CREATED,
            evalkit_version="0",
            command=["evalkit", "run", "--out", folder.name],
            suite=SuiteRecord(
                name=suite.name, version=suite.version, digest=suite.digest, num_prompts=num_prompts
            ),
            model=model_record,
            settings={"samples": num_samples, "seed": 0},
            metrics=records,
            environment={"python": "3.11", "device": "cpu"},
            counts=Counts(
                clips_planned=num_prompts * num_samples,
                clips_ok=num_prompts * num_samples - len(set(failed)),
                clips_failed=len(set(failed)),
                clips_missing=0,
                scores_planned=len(statuses),
                scores={status: statuses.count(status) for status in sorted(set(statuses))},
            ),
        ),
    )
    return open_run(folder)


def _store_clip(folder: Path, video: Video, clip_id: str) -> dict[str, str | None]:
    from evalkit.runs.clips import store_clip

    return store_clip(folder, video, clip_id)


def _store_set(
    folder: Path,
    name: str,
    suite: Suite,
    vectors: np.ndarray[Any, Any],
    reference: np.ndarray[Any, Any],
    failed: set[tuple[int, int]],
) -> dict[str, Any]:
    import numpy as np
    from safetensors.numpy import save_file

    from evalkit.stats.sets import mmd_permutation_test, unbiased_mmd

    kept = [(p, s) for p in range(vectors.shape[0]) for s in range(vectors.shape[1]) if (p, s) not in failed]
    rows = [[suite.prompts[p].id, "", s] for p, s in kept]
    generated = np.stack([vectors[p, s] for p, s in kept])
    path = folder / "features" / "sets" / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            "rows": np.frombuffer(json.dumps(rows).encode(), dtype=np.uint8).copy(),
            "vectors": np.ascontiguousarray(generated),
            "reference": np.ascontiguousarray(reference),
        },
        path,
    )
    return {
        "group": "",
        "value": unbiased_mmd(generated, reference),
        "interval_low": None,
        "interval_high": None,
        "noise_floor": 0.0,
        "p_value": (
            mmd_permutation_test(generated, reference, np.random.default_rng(0), 199).p_value
            if name == "set.kvd"
            else None
        ),
        "n_generated": len(generated),
        "n_reference": len(reference),
        "reference_digest": digest(np.asarray(reference).tolist()),
        "protocol": f"{name}/synthetic/n={len(generated)}/m={len(reference)}",
        "status": "ok",
        "reason": None,
    }
