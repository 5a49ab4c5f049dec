"""Bars 2, 3, 7 and 11: what a run spends beside decoding and networks, and what decoding for every metric would cost."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.perf.clips import write_clip, write_clips
from benchmarks.perf.measure import Bar, alternate

FLICKER = "vbench.temporal_flickering"


EVERY = (
    "temporal.subject_consistency",
    FLICKER,
    "temporal.flicker",
    "visual.sharpness",
    "motion.magnitude",
    "temporal.warp_error",
)
"""Metrics of all kinds: pixels, an image network, flow."""


def score_folder(clips: Path, out: Path, metrics: tuple[str, ...], **how: Any) -> Any:
    """`evalkit score` in this process."""
    from evalkit.engine.executor import InlineExecutor
    from evalkit.engine.run import score_found
    from evalkit.suites.layouts import scan_folder

    scan = scan_folder(clips, layout="plain")
    return score_found(scan, out, metrics=metrics, executor=InlineExecutor(), **how)


def scorer(metrics: tuple[str, ...]) -> Callable[[Path], None]:
    """Decodes a file and scores it by these metrics; nothing is stored."""
    from evalkit.features.compute import FeaturePlan, score_clip
    from evalkit.features.protocol import ClipRecord
    from evalkit.metrics.registry import load_metrics
    from evalkit.video import decode

    plan = FeaturePlan(load_metrics(metrics))

    def scored(path: Path) -> None:
        video = decode(path)
        record = ClipRecord(None, video.num_frames, video.height, video.width, video.fps)
        features = plan.clip_features(video, record)
        for metric in plan.clip_metrics:
            found = score_clip(metric, features)
            assert found.status == "ok", found.reason

    return scored


@contextmanager
def counting() -> Iterator[dict[str, int]]:
    """Counts files that PyAV opens for reading, clips that are decoded, and frames that reach an image network."""
    import av

    from evalkit.features import image
    from evalkit.video import files

    counts = {"opens": 0, "decodes": 0, "forward": 0}
    open_, read, prepare = av.open, files.read_container, image.prepare

    def counted_open(*arguments: Any, **named: Any) -> Any:
        mode = named.get("mode", arguments[1] if len(arguments) > 1 else "r")
        counts["opens"] += mode != "w"
        return open_(*arguments, **named)

    def counted_read(*arguments: Any, **named: Any) -> Any:
        counts["decodes"] += 1
        return read(*arguments, **named)

    def counted_prepare(frames: Any, network: Any) -> Any:
        counts["forward"] += len(frames)
        return prepare(frames, network)

    av.open, files.read_container, image.prepare = counted_open, counted_read, counted_prepare
    try:
        yield counts
    finally:
        av.open, files.read_container, image.prepare = open_, read, prepare


_NOTHING = {"opens": 0, "decodes": 0, "forward": 0}


def once(rounds: int, quick: bool) -> list[Bar]:
    """One open, one pass of each network, and what a second metric on cached features costs."""
    from evalkit.engine.executor import InlineExecutor
    from evalkit.engine.run import rescore

    count, frames = (4, 8) if quick else (12, 16)
    first = EVERY[:1]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clips = write_clips(root / "clips", count, frames, 128, 128)
        with counting() as counts:
            score_folder(clips, root / "all", EVERY)
        opens, decodes = counts["opens"] / count, counts["decodes"] / count
        forward = counts["forward"] / (count * frames)
        shares = []
        for index in range(1 if quick else rounds):
            start = time.process_time()
            run = score_folder(clips, root / f"one{index}", first)
            middle = time.process_time()
            with counting() as counts:
                rescore(run.folder, metrics=["set.frechet"], executor=InlineExecutor())
            shares.append((time.process_time() - middle) / (middle - start))
            assert counts == _NOTHING, counts
    return [
        Bar("2a", f"opens of a clip's file for {len(EVERY)} metrics", opens, 1, "at most", unit=""),
        Bar("2a'", "decodes of it", decodes, 1, "at most", unit=""),
        Bar("2b", "passes of the image network over each frame", forward, 1, "at most", unit=""),
        Bar("2c", "a second metric on cached features, share of the first's time", statistics.median(shares),
            0.05, "at most", unit="", detail="set.frechet after temporal.subject_consistency; whole commands"),
    ]  # fmt: skip


def naive(rounds: int, quick: bool) -> list[Bar]:
    """Every metric by itself, as scripts that are run one after another do, against one plan for all of them."""
    shape = (16, 256, 256)
    alone = [scorer((name,)) for name in EVERY]
    together = scorer(EVERY)
    with tempfile.TemporaryDirectory() as folder:
        path = write_clip(Path(folder) / "clip.mp4", *shape)
        clock = alternate(
            {
                "one by one": lambda: [one(path) for one in alone],
                "together": lambda: together(path),
            },
            rounds,
        )
    size = "x".join(map(str, shape))
    return [
        Bar("11", f"{len(EVERY)} metrics at {size}, each with its own decode and features / together",
            clock.ratio("one by one", "together"), 1, "at least", detail=f"{clock.ms()}; {', '.join(EVERY)}"),
    ]  # fmt: skip


def flicker(rounds: int, quick: bool) -> list[Bar]:
    """Flicker alone against decoding alone."""
    import av
    import numpy as np

    from evalkit.metrics.functional.frames import frame_differences
    from evalkit.video import decode, probe

    def bare(path: Path) -> np.ndarray:
        with av.open(str(path)) as source:
            source.streams.video[0].thread_type = "NONE"
            return np.stack([frame.to_ndarray(format="rgb24", threads=1) for frame in source.decode(video=0)])

    def opened(path: Path) -> None:
        with av.open(str(path)):
            pass

    found = []
    for shape, least, repeats in (((64, 720, 1280), 5, 1), ((16, 256, 256), 25, 4)):
        with tempfile.TemporaryDirectory() as folder:
            path = write_clip(Path(folder) / "clip.mp4", *shape)
            frames = decode(path).frames
            candidates: dict[str, Callable[[], object]] = {
                "flicker": lambda path=path: frame_differences(decode(path).frames),
                "bare decode": lambda path=path: bare(path),
                "bare open": lambda path=path: opened(path),
                "open with checks": lambda path=path: probe(path),
                "differences": lambda frames=frames: frame_differences(frames),
            }
            clock = alternate(candidates, max(least, rounds), repeats=dict.fromkeys(candidates, repeats))
        size = "x".join(map(str, shape))
        checks, opens, formula, whole = (
            1000 * clock.median(name)
            for name in ("open with checks", "bare open", "differences", "bare decode")
        )
        found.append(
            Bar(f"3a {size}", f"flicker with its decode / bare decode at {size}", clock.ratio("flicker", "bare decode"),
                1.15, "at most", detail=clock.ms(), reason=f"Of a bare decode's {whole:.3g} ms the formula adds "
                f"{formula:.2g} and the checks before decoding (kind of file, completeness, limits) "
                f"{max(0.0, checks - opens):.2g}; the rest is what every frame is checked for: damage, size, "
                "transparency, rotation, time.")
        )  # fmt: skip
    return found


def warm(rounds: int, quick: bool) -> list[Bar]:
    """A rerun with everything there: per-clip cost from two sizes, so that start-up does not count."""
    sizes = (20, 120) if quick else (100, 600)
    metrics = (FLICKER, "visual.sharpness", "set.frechet")
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = write_clips(root / "clips", 10, 4, 64, 64)
        originals = sorted(source.glob("*.mp4"))
        for size in sizes:
            many = root / f"many{size}"
            many.mkdir()
            for index in range(size):
                (many / f"clip {index:05d}.mp4").symlink_to(originals[index % len(originals)])
            score_folder(many, root / f"run{size}", metrics)
            found = []
            for _ in range(rounds):
                with counting() as counts:
                    start = time.process_time()
                    score_folder(many, root / f"run{size}", metrics)
                    found.append(time.process_time() - start)
                assert counts == _NOTHING, counts
            seconds[size] = statistics.median(found)
    small, large = sizes
    per_clip = (seconds[large] - seconds[small]) / (large - small) * 1000
    return [
        Bar("7a", "warm rerun with a set metric, per clip", per_clip, 2.0, "at most", unit="ms",
            detail=f"{seconds[small]:.2f} s for {small} clips, {seconds[large]:.2f} s for {large}; "
            "no file opened by the decoder, no network pass"),
        _help(rounds),
    ]  # fmt: skip


def _help(rounds: int) -> Bar:
    """CPU time of `evalkit --help`, interpreter included."""
    import resource

    def run() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "evalkit", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    run()
    return Bar(
        "7b",
        "`evalkit --help`",
        statistics.median(run() for _ in range(max(3, rounds))),
        0.3,
        "at most",
        unit="s",
    )
