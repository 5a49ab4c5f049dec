"""Bar 6: time and memory against the number of clips, frames and pixels. Every size runs in a process of its own."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.perf.measure import Bar

METRICS = 16
_OFTEN = 500


def _score(root: Path, size: int) -> Callable[[], object]:
    """A run over `size` planned clips whose scoring is all but free: what remains is the engine."""
    from benchmarks.perf.clips import write_clips
    from evalkit.engine.executor import InlineExecutor
    from evalkit.engine.run import score_found
    from evalkit.suites.layouts import scan_folder

    originals = sorted(write_clips(root / "originals", 4, 3, 32, 32).glob("*.mp4"))
    clips = root / "clips"
    clips.mkdir()
    for index in range(size):
        (clips / f"clip {index:06d}.mp4").symlink_to(originals[index % 4])
    metrics = ("vbench.temporal_flickering", "visual.sharpness")
    return lambda: score_found(
        scan_folder(clips, layout="plain"), root / "run", metrics=metrics, executor=InlineExecutor()
    )


def _synthetic(root: Path, size: int, name: str, seed: int = 0) -> object:
    import numpy as np

    from evalkit.testing.runs import make_run

    values = np.random.default_rng(seed).normal(size=(METRICS, size, 1))
    return make_run(
        root / name,
        values={f"synthetic.m{index}": values[index] for index in range(METRICS)},
        series=lambda metric, prompt, sample: [0.1] * 16,
        model={"revision": str(seed)},
    )


def _compare(root: Path, size: int) -> Callable[[], object]:
    from evalkit.compare.runs import compare_runs

    runs = [_synthetic(root, size, "a", 1), _synthetic(root, size, "b", 2)]
    return lambda: compare_runs(runs)  # type: ignore[arg-type]


def _report(root: Path, size: int) -> Callable[[], object]:
    from evalkit.report import render_report

    run = _synthetic(root, size, "a", 1)
    return lambda: render_report(run)  # type: ignore[arg-type]


STAGES = {"score": _score, "compare": _compare, "report": _report}


def _child(stage: str, size: int) -> None:
    import resource

    from benchmarks.perf.measure import one_thread

    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        run = STAGES[stage](Path(folder), size)
        start = time.process_time()
        run()
        seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump({"seconds": seconds, "peak_mib": peak}, sys.stdout)


def _measure(stage: str, size: int) -> dict[str, float]:
    """The median of three runs where they are short, since start-up and caches disturb those most; else one."""
    runs = sorted(
        (_run(stage, size) for _ in range(3 if size <= _OFTEN else 1)), key=lambda one: one["seconds"]
    )
    return runs[len(runs) // 2]


def _run(stage: str, size: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.perf.growth", stage, str(size)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{stage} at {size} clips: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def exponent(sizes: list[int], seconds: list[float], fixed: float) -> float | None:
    """Least-squares slope of log(time beyond the fixed part) on log(size), over the sizes that rise above it.

    Args:
        sizes, seconds: what was measured.
        fixed: time at a size that is next to nothing: start-up, which does not grow.

    Returns:
        None when fewer than two sizes spend a quarter of their time beyond the fixed part.
    """
    points = [
        (math.log(size), math.log(one - fixed))
        for size, one in zip(sizes, seconds, strict=True)
        if one - fixed > 0.25 * one
    ]
    if len(points) < 2:
        return None
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    above = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return above / sum((x - mean_x) ** 2 for x, _ in points)


def bars(rounds: int, quick: bool) -> list[Bar]:
    sizes = [100, 400, 1600] if quick else [100, 500, 2000, 10_000]
    found = []
    for stage in STAGES:
        try:
            smallest, *points = [_measure(stage, size) for size in (sizes[0] // 10, *sizes)]
        except RuntimeError as error:
            found.append(
                Bar(
                    f"6 {stage}",
                    f"time exponent of {stage} in clips",
                    None,
                    1.05,
                    "at most",
                    reason=str(error),
                )
            )
            continue
        seconds = [point["seconds"] for point in points]
        slope = exponent(sizes, seconds, smallest["seconds"])
        figures = f"start-up {smallest['seconds']:.2f} s, " + ", ".join(
            f"{size:,}: {one:.2f} s" for size, one in zip(sizes, seconds, strict=True)
        )
        found.append(
            Bar(f"6 {stage}", f"time exponent of {stage} in clips", slope, 1.05, "at most", unit="",
                detail=figures, reason=f"{1000 * seconds[-1] / sizes[-1]:.2f} ms a clip at the largest size")
        )  # fmt: skip
        if stage == "score":
            memory = points[-1]["peak_mib"] / points[1]["peak_mib"]
            found.append(
                Bar("6 memory", f"peak memory of score at {sizes[-1]:,} clips / at {sizes[1]:,}", memory, 1.2,
                    "at most", detail=", ".join(f"{size:,}: {point['peak_mib']:.0f} MiB"
                                                for size, point in zip(sizes, points, strict=True)))
            )  # fmt: skip
    return found


if __name__ == "__main__":
    _child(sys.argv[1], int(sys.argv[2]))
