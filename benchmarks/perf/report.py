"""How long a big run takes to render: report and gallery of 1,000 clips, with everything to make, and again.

    python benchmarks/perf/report.py [--clips 1000] [--size 128] [--frames 16] [--workers 2] [--json]

The clips are textured scenes that pan (`clips.py`), stored losslessly; `--size` is their height, width is 4:3.
"first" has neither previews nor posters: it decodes every clip, encodes an AV1 preview and a poster, measures
brightness, change, detail and flashes, and makes film strips and heat maps for the clips that the gallery's views
list. "again" finds all of that in RUN/previews. Wall seconds, and process CPU seconds beside them, since the machine
may be busy with other things.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from clips import scene

from evalkit.report.gallery import render_gallery
from evalkit.report.media import prepare_media
from evalkit.report.run_report import render_report
from evalkit.runs.store import open_run
from evalkit.testing.runs import make_run, make_suite
from evalkit.video import Video

SAMPLES = 4
CATEGORIES = ("colour", "motion", "count", "camera", "style", "relation", "long", "negative")
METRICS = {
    "temporal.flicker": "lower",
    "temporal.warp_error": "lower",
    "temporal.subject_consistency": "higher",
    "vbench.temporal_flickering": "higher",
    "visual.sharpness": "higher",
    "visual.blockiness": "lower",
    "alignment.world": "higher",
    "motion.magnitude": "higher",
}


def build(folder: Path, clips: int, frames: int, height: int, width: int) -> None:
    """A run with real clips, and scores and series drawn at random."""
    prompts = clips // SAMPLES
    generator = np.random.default_rng(0)
    courses = generator.gamma(2.0, 0.01, (prompts, SAMPLES, len(METRICS), frames - 1))
    position = {metric: index for index, metric in enumerate(METRICS)}

    def clip(prompt: int, sample: int) -> Video:
        pixels = scene(frames, height, width, seed=prompt * SAMPLES + sample)
        return Video(torch.from_numpy(pixels).permute(0, 3, 1, 2), Fraction(8))

    make_run(
        folder,
        values={metric: courses[:, :, position[metric]].mean(axis=-1) for metric in METRICS},
        suite=make_suite(prompts, categories=CATEGORIES),
        directions=METRICS,
        series=lambda metric, p, s: courses[p, s, position[metric]].tolist(),
        clip=clip,
    )
    shutil.rmtree(folder / "previews")


def timed(action: Callable[[], object]) -> dict[str, float]:
    """Wall and process CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--size", type=int, default=128, help="height of a clip in pixels")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        width = options.size * 4 // 3 // 2 * 2
        build(folder, options.clips, options.frames, options.size, width)

        def render() -> None:
            run = open_run(folder)
            render_gallery(run, workers=options.workers)
            render_report(run, workers=options.workers)

        rows = {"first": timed(render), "again": timed(render)}
        rows["media alone, again"] = timed(lambda: prepare_media(open_run(folder), workers=options.workers))
        size = sum(path.stat().st_size for path in (folder / "previews").iterdir()) / 2**20
        pages = (
            sum(p.stat().st_size for name in ("report", "gallery") for p in (folder / name).rglob("*.*"))
            / 2**20
        )
    facts = {
        "clips": options.clips,
        "frames": options.frames,
        "height": options.size,
        "width": width,
        "workers": options.workers,
        "cores": os.cpu_count(),
        "previews_mib": size,
        "pages_mib": pages,
    }
    if options.json:
        print(json.dumps({"settings": facts, "seconds": rows}, indent=2))
        return
    print(
        ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in facts.items()
        )
    )
    for name, row in rows.items():
        print(f"{name:>20}  wall {row['wall_s']:6.1f} s  cpu {row['cpu_s']:6.1f} s")


if __name__ == "__main__":
    main()
