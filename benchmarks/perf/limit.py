"""Bar 8: the default metrics on real clips, against decoding and computing every feature and formula alone.

In groups of clips, each of which takes the two sides in turn, since a machine that others use too is not the same for
half an hour. Every group begins a run of its own and loads the networks again, which counts against evalkit.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.perf.clips import write_clips
from benchmarks.perf.measure import Bar, Kept
from benchmarks.perf.scoring import FLICKER, score_folder

GROUP = 10
WANTED = 200


def distinct(source: Path, wanted: int, chosen: Path) -> list[Path]:
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


def bars(rounds: int, quick: bool, clips: Path | None, count: int | None, kept: Kept) -> list[Bar]:
    """How much a run spends beyond the limit, and what running it again costs.

    Args:
        rounds: not used: every clip is measured once a side.
        quick: 6 clips.
        clips: folder of real clips; None makes some.
        count: how many clips, 200 by default.
        kept: groups that are measured already.
    """
    wanted = count or (6 if quick else WANTED)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = clips or write_clips(root / "clips", wanted, 16, 256, 256)
        paths = distinct(source, wanted, root / "chosen")
        score_folder(root / "chosen", root / "warm", (FLICKER,))
        starts = range(0, len(paths), GROUP)
        points = [
            kept.measure(
                f"clips {start} to {start + len(paths[start : start + GROUP]) - 1}",
                lambda start=start: _group(
                    paths[start : start + GROUP], root / f"group{start}", run_first=start // GROUP % 2 == 0
                ),
            )
            for start in starts
        ]
    kind = "real clips" if clips else "clips made here"
    spent = {side: sum(point[side] for point in points) for side in ("run", "limit", "again")}
    scores: Counter[str] = Counter()
    for point in points:
        scores.update(point["scores"])
    ratios = [point["run"] / point["limit"] for point in points]
    number = sum(point["clips"] for point in points)
    fewer = f"{number} clips, where the bar asks for {WANTED}; " if number < WANTED else ""
    run, limit = (1000 * spent[side] / number for side in ("run", "limit"))
    return [
        Bar("8a", f"default metrics on {number} {kind}, the run / decode, networks and formulas alone",
            spent["run"] / spent["limit"], 1.15, "at most",
            detail=f"{fewer}run {run:.0f} ms a clip, limit {limit:.0f}, over {len(points)} groups from {min(ratios):.2f}x to "
            f"{max(ratios):.2f}x; scores {dict(sorted(scores.items()))}",
            reason="The run also loads its networks (once a group), makes a preview of every clip, stores its features "
            "and writes the tables."),
        Bar("8b", "the same runs again, first / rerun", spent["run"] / spent["again"], 20, "at least",
            detail=f"reruns {spent['again']:.1f} s in all"),
    ]  # fmt: skip


def _group(paths: list[Path], root: Path, *, run_first: bool) -> dict[str, object]:
    """Processor seconds of the run, of the limit and of the rerun."""
    clips = root / "clips"
    clips.mkdir(parents=True)
    for path in paths:
        (clips / path.name).symlink_to(path.resolve())
    spent = {}
    sides = [("run", lambda: _run(clips, root / "run")), ("limit", lambda: _limit(paths))]
    for side, work in sides if run_first else reversed(sides):
        spent[side] = work()
    start = time.process_time()
    run = score_folder(clips, root / "run", ("default",))
    spent["again"] = time.process_time() - start
    assert run.manifest.counts is not None
    return {"clips": len(paths), **spent, "scores": dict(run.manifest.counts.scores)}


def _run(clips: Path, out: Path) -> float:
    start = time.process_time()
    score_folder(clips, out, ("default",))
    return time.process_time() - start


def _limit(paths: list[Path]) -> float:
    """One decode, one pass of every network, every formula; the networks are there before the clock starts.

    A metric that says of a clip that it does not apply has no features made for it, as in a run.
    """
    from evalkit.features.compute import FeaturePlan, not_for, score_clip
    from evalkit.features.protocol import ClipRecord
    from evalkit.metrics.registry import load_metrics
    from evalkit.video import decode

    plan = FeaturePlan(load_metrics(["default"]))
    start = time.process_time()
    for path in paths:
        video = decode(path)
        record = ClipRecord(None, video.num_frames, video.height, video.width, video.fps)
        telling = [metric for metric in plan.clip_metrics if not_for(metric, record) is None]
        wanted = {request for metric in (*telling, *plan.set_metrics) for request in metric.requires()}
        features = plan.clip_features(video, record, wanted=wanted)
        for metric in plan.clip_metrics:
            score_clip(metric, features)
    return time.process_time() - start
