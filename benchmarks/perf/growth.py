"""Bars 6 and 12: time and memory against the number of clips, and against a clip's frames and pixels.

Scoring runs in a process of its own for every size, whose peak of memory is its own; comparing and reporting, which are
short, take many turns in one. A small run that loads libraries, networks, fonts and templates goes first, and sizes take
turns, so that a busy minute of the machine does not fall on one of them.
"""

from __future__ import annotations

import gc
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from benchmarks.perf.measure import Bar, Kept

METRICS = 16
WARM_UP = 20
TINY = (4, 64, 64)
"""Clips of the run that goes first in every process, and frames, height and width of its clip: loading libraries does not
grow, and must not be read as slow growth."""
LEAST, MOST = 0.95, 1.05


def _score(root: Path, size: int) -> Callable[[], float]:
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

    def score() -> float:
        scan = scan_folder(clips, layout="plain")
        score_found(scan, root / "run", metrics=metrics, executor=InlineExecutor())
        return 0.0

    return score


def _synthetic(root: Path, size: int, name: str, seed: int = 0) -> object:
    from evalkit.testing.runs import make_run

    values = np.random.default_rng(seed).normal(size=(METRICS, size, 1))
    return make_run(
        root / name,
        values={f"synthetic.m{index}": values[index] for index in range(METRICS)},
        series=lambda metric, prompt, sample: [0.1] * 16,
        model={"revision": str(seed)},
    )


def _compare(root: Path, size: int) -> Callable[[], float]:
    from evalkit.compare.runs import compare_runs

    runs = [_synthetic(root, size, "a", 1), _synthetic(root, size, "b", 2)]

    def compare() -> float:
        compare_runs(runs)  # type: ignore[arg-type]
        return 0.0

    return compare


def _report(root: Path, size: int) -> Callable[[], float]:
    """A report; how long drawing took, since it makes as many figures for 100 clips as for 10,000."""
    from evalkit.report import run_report

    run = _synthetic(root, size, "a", 1)

    def report() -> float:
        drawing = 0.0

        def timed(draw: Callable[..., Any]) -> Callable[..., Any]:
            def drawn(*what: Any) -> Any:
                nonlocal drawing
                start = time.process_time()
                try:
                    return draw(*what)
                finally:
                    drawing += time.process_time() - start

            return drawn

        histogram, picture = timed(run_report.distribution), timed(run_report.inline_svg)
        with patch.multiple(run_report, distribution=histogram, inline_svg=picture):
            run_report.render_report(run)  # type: ignore[arg-type]
        return drawing

    return report


OFTEN = {"compare": 4, "report": 12}
"""Turns a round of what is done in seconds; what does not grow hides most of a report's growth."""
STAGES: dict[str, Callable[[Path, int], Callable[[], float]]] = {
    "score": _score,
    "compare": _compare,
    "report": _report,
}
"""What makes a run of so many clips ready, and does it; the seconds that it returns are a share of it that is told
apart."""
AXES: dict[str, Callable[[int], tuple[int, int, int]]] = {
    "frames": lambda frames: (frames, 128, 128),
    "pixels": lambda side: (8, side, side),
}


def _peak_mib() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _shape(root: Path, shape: tuple[int, int, int]) -> Callable[[], float]:
    """One clip of `(frames, height, width)`, decoded and scored."""
    from benchmarks.perf.clips import write_clip
    from benchmarks.perf.scoring import EVERY, scorer

    scored, path = scorer(EVERY), write_clip(root / "clip.mp4", *shape)

    def score() -> float:
        scored(path)
        return 0.0

    return score


def _child(what: str, size: int) -> dict[str, float]:
    """Processor time of a run, after a small one, and the process's peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("warm-up", "measured"):
            root = Path(folder) / name
            root.mkdir()
            if what in STAGES:
                run = STAGES[what](root, WARM_UP if name == "warm-up" else size)
            else:
                run = _shape(root, TINY if name == "warm-up" else AXES[what](size))
            start = time.process_time()
            run()
        return {"seconds": time.process_time() - start, "peak_mib": _peak_mib()}


def _turns(stage: str, rounds: int, sizes: list[int]) -> dict[str, list[dict[str, float]]]:
    """Processor time of a stage on runs of every size, which are made once and take turns."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for size in (WARM_UP, *sizes):
            root = Path(folder) / str(size)
            root.mkdir()
            runs[size] = STAGES[stage](root, size)
        runs.pop(WARM_UP)()
        found: dict[str, list[dict[str, float]]] = {str(size): [] for size in sizes}
        for _ in range(rounds):
            for size, run in runs.items():
                gc.collect()  # or a size pays for what the one before it left
                start = time.process_time()
                apart = run()
                found[str(size)].append({"seconds": time.process_time() - start - apart, "apart": apart})
        return found


def _in_a_child(*what: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.perf.growth", *what], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(what)}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class Growth(NamedTuple):
    """`seconds = fixed + each * size ** exponent`, with the standard error of the exponent."""

    fixed: float
    each: float
    exponent: float
    error: float


def fit(sizes: list[float], seconds: list[float]) -> Growth:
    """Fit start-up, cost and exponent together, by least squares of relative errors.

    What does not grow must not be read as slow growth, and a page's lists and pictures have an upper number that small runs
    do not reach: all runs of all sizes decide together how much that is.

    Args:
        sizes: one entry a run; at least four different ones.
        seconds: what each run took.
    """
    from scipy.optimize import curve_fit

    x, y = np.asarray(sizes, float), np.asarray(seconds, float)
    largest = x.max()

    def model(size: np.ndarray, fixed: float, rest: float, exponent: float) -> np.ndarray:
        return fixed + rest * (size / largest) ** exponent

    start = (y.min() / 2, y.max() - y.min() / 2, 1.0)
    (fixed, rest, exponent), covariance = curve_fit(
        model, x, y, start, sigma=y, bounds=([0, 0, 0], [np.inf, np.inf, 4])
    )
    return Growth(float(fixed), float(rest / largest**exponent), float(exponent), math.sqrt(covariance[2, 2]))


def _points(kept: Kept, stage: str, sizes: list[int], rounds: int) -> dict[int, list[dict[str, float]]]:
    """Every size in processes of its own, once a round."""
    points: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for turn in range(rounds):
        for size in sizes:
            points[size].append(
                kept.measure(f"{stage} {size} run {turn}", lambda size=size: _in_a_child(stage, str(size)))
            )
    return points


def _quick_points(kept: Kept, stage: str, sizes: list[int], rounds: int) -> dict[int, list[dict[str, float]]]:
    """All sizes in one process, several times a round."""
    words = [stage, str(OFTEN[stage] * rounds), *map(str, sizes)]
    runs = kept.measure(" ".join(words), lambda: {"runs": _in_a_child(*words)})["runs"]
    return {size: runs[str(size)] for size in sizes}


def _seconds(points: dict[int, list[dict[str, float]]]) -> str:
    medians = {
        size: statistics.median(one["seconds"] + one.get("apart", 0.0) for one in runs)
        for size, runs in points.items()
    }
    return ", ".join(f"{size:,}: {one:.3g} s" for size, one in medians.items())


def _fitted(points: dict[int, list[dict[str, float]]], *also: str) -> Growth:
    """The growth of the seconds, and of what else the points hold under these names.

    A round in which the machine was slower for all sizes is first brought to the mean round's speed.
    """
    seconds = [
        [sum(one[name] for name in ("seconds", *also)) for one in several] for several in points.values()
    ]
    logs = np.log(seconds)
    even = np.exp(logs - logs.mean(0) + logs.mean())
    growth = fit([size for size, row in zip(points, even, strict=True) for _ in row], even.ravel().tolist())
    # Every round but one has cost a degree of freedom beside the three of the curve.
    left = even.size - 3
    return growth._replace(error=growth.error * math.sqrt(left / (left - even.shape[1] + 1)))


def _peak(points: dict[int, list[dict[str, float]]], size: int) -> float:
    return max(one["peak_mib"] for one in points[size])


def clips(rounds: int, quick: bool, kept: Kept) -> list[Bar]:
    """Score, compare and report in the number of clips; peak memory of scoring."""
    sizes = [100, 200, 400, 1600] if quick else [100, 500, 2000, 5000, 10_000]
    found = []
    for stage in ("score", "compare", "report"):
        points = (_points if stage == "score" else _quick_points)(kept, stage, sizes, rounds)
        growth, drawing = _fitted(points), ""
        apart = [statistics.median(one.get("apart", 0.0) for one in runs) for runs in points.values()]
        if any(apart):
            drawing = (
                f"; drawing its figures, counted in, takes {min(apart):.2g} to {max(apart):.2g} s; without it the exponent is "
                f"{growth.exponent:.2f} with a standard error of {growth.error:.2g}"
            )
            growth = _fitted(points, "apart")
        marginal = 1000 * growth.each * growth.exponent * sizes[-1] ** (growth.exponent - 1)
        found.append(
            Bar(f"6 {stage}", f"time exponent of {stage} in clips", growth.exponent, MOST, "within", unit="",
                least=LEAST,
                detail=f"standard error {growth.error:.2g}; start-up {growth.fixed:.2f} s; {_seconds(points)}{drawing}",
                reason=f"The fit leaves a standard error of {growth.error:.2g}; one more clip costs {marginal:.2g} ms "
                f"at {sizes[-1]:,} clips. "
                + ("Below the range means that a large run costs less than in proportion."
                   if growth.exponent < LEAST else ""))
        )  # fmt: skip
        if stage == "score":
            low, high = sizes[1], sizes[-1]
            found.append(
                Bar("6 memory", f"peak memory of score at {high:,} clips / at {low:,}",
                    _peak(points, high) / _peak(points, low), 1.2, "at most",
                    detail=", ".join(f"{size:,}: {_peak(points, size):.0f} MiB" for size in sizes),
                    reason="The rows of the tables are held until they are written.")
            )  # fmt: skip
    return found


def shapes(rounds: int, quick: bool, kept: Kept) -> list[Bar]:
    """Scoring one clip in its frames and in its pixels; peak memory in frames."""
    frames = [8, 16, 32, 64] if quick else [8, 16, 32, 64, 128]
    sides = [64, 128, 256, 512] if quick else [64, 128, 256, 512, 1024]
    by_frames = _points(kept, "frames", frames, rounds)
    by_side = _points(kept, "pixels", sides, rounds)
    in_frames = _fitted(by_frames)
    in_pixels = _fitted({side * side: runs for side, runs in by_side.items()})
    low, high = frames[1], frames[-1]
    decoded = (high - low) * 128 * 128 * 3 / 2**20
    grown = _peak(by_frames, high) - _peak(by_frames, low)
    return [
        Bar("12 frames", "time exponent of scoring a clip in its frames, at 128x128", in_frames.exponent, MOST,
            "at most", unit="", detail=f"standard error {in_frames.error:.2g}; {_seconds(by_frames)}",
            reason=f"The fit leaves a standard error of {in_frames.error:.2g}."),
        Bar("12 pixels", "time exponent of scoring a clip of 8 frames in the pixels of a frame", in_pixels.exponent,
            MOST, "at most", unit="",
            detail=f"standard error {in_pixels.error:.2g}; {_seconds(by_side)} (sides of square frames); networks and "
            "flow see frames at a bounded size",
            reason=f"The fit leaves a standard error of {in_pixels.error:.2g}."),
        Bar("12 memory", f"peak memory of scoring a clip of {high} frames / of {low}, at 128x128",
            _peak(by_frames, high) / _peak(by_frames, low), 1.2, "at most",
            detail=", ".join(f"{size}: {_peak(by_frames, size):.0f} MiB" for size in frames)
            + f"; {grown:.0f} MiB more for {decoded:.1f} MiB of decoded pixels",
            reason=f"A clip is kept whole, since its metrics read it more than once: {grown / decoded:.1f} bytes are "
            "held for a byte of pixels, flow and other features included."),
    ]  # fmt: skip


def main(what: str, first: str, *more: str) -> None:
    """What a child measures, as one line of JSON: `WHAT SIZE`, or `STAGE ROUNDS SIZE...` for sizes that take turns."""
    from benchmarks.perf.measure import one_thread

    one_thread()
    found = _turns(what, int(first), [int(size) for size in more]) if more else _child(what, int(first))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
