"""Bars 2, 3 and 7 and the limit: what a run spends beside decoding and networks."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.perf.clips import write_clip, write_clips
from benchmarks.perf.measure import Bar, alternate

FLICKER = "vbench.temporal_flickering"


def _score(clips: Path, out: Path, metrics: tuple[str, ...], **how: Any) -> Any:
    from evalkit.engine.executor import InlineExecutor
    from evalkit.engine.run import score_found
    from evalkit.suites.layouts import scan_folder

    scan = scan_folder(clips, layout="plain")
    return score_found(scan, out, metrics=metrics, executor=InlineExecutor(), **how)


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
    first = ("temporal.subject_consistency",)
    every = (
        *first,
        FLICKER,
        "temporal.flicker",
        "visual.sharpness",
        "motion.magnitude",
        "temporal.warp_error",
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clips = write_clips(root / "clips", count, frames, 128, 128)
        with counting() as counts:
            _score(clips, root / "all", every)
        opens, decodes = counts["opens"] / count, counts["decodes"] / count
        forward = counts["forward"] / (count * frames)
        shares = []
        for index in range(1 if quick else rounds):
            start = time.process_time()
            run = _score(clips, root / f"one{index}", first)
            middle = time.process_time()
            with counting() as counts:
                rescore(run.folder, metrics=["set.frechet"], executor=InlineExecutor())
            shares.append((time.process_time() - middle) / (middle - start))
            assert counts == _NOTHING, counts
    return [
        Bar("2a", f"opens of a clip's file for {len(every)} metrics", opens, 1, "at most", unit=""),
        Bar("2a'", "decodes of it", decodes, 1, "at most", unit=""),
        Bar("2b", "passes of the image network over each frame", forward, 1, "at most", unit=""),
        Bar("2c", "a second metric on cached features, share of the first's time", statistics.median(shares),
            0.05, "at most", unit="", detail="set.frechet after temporal.subject_consistency; whole commands"),
    ]  # fmt: skip


def flicker(rounds: int, quick: bool) -> list[Bar]:
    """Flicker alone against decoding alone."""
    import av
    import numpy as np

    from evalkit.metrics.functional.frames import frame_differences
    from evalkit.video import decode

    def bare(path: Path) -> np.ndarray:
        with av.open(str(path)) as source:
            source.streams.video[0].thread_type = "NONE"
            return np.stack([frame.to_ndarray(format="rgb24", threads=1) for frame in source.decode(video=0)])

    found = []
    for shape, repeats in (((64, 720, 1280), 1), ((16, 256, 256), 10)):
        with tempfile.TemporaryDirectory() as folder:
            path = write_clip(Path(folder) / "clip.mp4", *shape)
            clock = alternate(
                {
                    "flicker": lambda path=path: frame_differences(decode(path).frames),
                    "bare decode": lambda path=path: bare(path),
                },
                max(3, rounds),
                repeats={"flicker": repeats, "bare decode": repeats},
            )
        size = "x".join(map(str, shape))
        found.append(
            Bar(f"3a {size}", f"flicker with its decode / bare decode at {size}", clock.ratio("flicker", "bare decode"),
                1.15, "at most", detail=clock.ms(), reason=f"{clock.ms()}: on a clip this small, opening the file, "
                "checking its header against the limits and the frame's metadata weigh as much as some frames.")
        )  # fmt: skip
    return found


def _distinct(source: Path, wanted: int, chosen: Path) -> list[Path]:
    """`wanted` different clips in `chosen`: those below `source`, and where they do not suffice their second halves."""
    from evalkit.suites.layouts import CLIP_SUFFIXES
    from evalkit.video import Video, decode, encode_lossless, file_digest

    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in CLIP_SUFFIXES)
    originals = list({file_digest(path): path for path in found}.values())
    chosen.mkdir()
    paths = []
    for index, path in enumerate((originals * 2)[:wanted]):
        if index < len(originals):
            target = chosen / f"clip {index:04d}{path.suffix}"
            target.symlink_to(path.resolve())
        else:
            target = chosen / f"clip {index:04d}.mp4"
            whole = decode(path)
            encode_lossless(Video(whole.frames[whole.num_frames // 2 :], whole.fps), target)
        paths.append(target)
    return paths


def limit(rounds: int, quick: bool, clips: Path | None) -> list[Bar]:
    """The default metrics on real clips, against decoding and computing every feature and formula alone."""
    from evalkit.features.compute import FeaturePlan, score_clip
    from evalkit.features.protocol import ClipRecord
    from evalkit.metrics.registry import load_metrics
    from evalkit.video import decode

    wanted = 6 if quick else 200
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = clips or write_clips(root / "clips", wanted, 16, 256, 256)
        chosen = root / "chosen"
        paths = _distinct(source, wanted, chosen)
        plan = FeaturePlan(load_metrics(["default"]))
        _score(chosen, root / "warm", (FLICKER,))
        spent = {"run": 0.0, "limit": 0.0}
        start = time.process_time()
        run = _score(chosen, root / "run", ("default",))
        spent["run"] = time.process_time() - start
        start = time.process_time()
        for path in paths:
            video = decode(path)
            record = ClipRecord(None, video.num_frames, video.height, video.width, video.fps)
            features = plan.clip_features(video, record)
            for metric in plan.clip_metrics:
                score_clip(metric, features)
        spent["limit"] = time.process_time() - start
        start = time.process_time()
        _score(chosen, root / "run", ("default",))
        again = time.process_time() - start
        assert run.manifest.counts is not None
        scored = run.manifest.counts.scores
    kind = "real clips" if clips else "clips made here"
    per_clip = {name: 1000 * seconds / len(paths) for name, seconds in spent.items()}
    return [
        Bar("8a", f"default metrics on {len(paths)} {kind}, the run / decode, networks and formulas alone",
            spent["run"] / spent["limit"], 1.15, "at most",
            detail=f"run {per_clip['run']:.0f} ms a clip, limit {per_clip['limit']:.0f}; scores {scored}",
            reason=f"Over {len(paths)} clips. The run also loads its networks once (a fixed cost, which more clips spread), "
            "makes a preview of every clip, stores its features and writes the tables."),
        Bar("8b", "the same run again, first / rerun", spent["run"] / again, 20, "at least",
            detail=f"rerun {again:.1f} s in all"),
    ]  # fmt: skip


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
            _score(many, root / f"run{size}", metrics)
            found = []
            for _ in range(rounds):
                with counting() as counts:
                    start = time.process_time()
                    _score(many, root / f"run{size}", metrics)
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
