"""Where the base's faults come from: the painter's error on exact layouts, and what sampled tracks do without paint.

    python -m reference_model.evaluate.painter [--weights v2] [--clips 32]

prints three tables. The first gives the painter the exact tracks, so that what differs from truth is its own doing, and
has medians over clips, since prompts that leave something open make a few clips differ altogether. The second has the
probe measure jitter of truth, at full size and at the base's, enlarged, of sampled tracks drawn by the renderer of truth,
and of the same tracks painted; the third has it count the objects of groups in the same clips.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
import torch
from diffusers import EDMEulerScheduler
from torch import Tensor

from reference_model.evaluate.controls import BATCH, enlarged, frames_of
from reference_model.evaluate.figures import Share
from reference_model.evaluate.prompts import Asked, balanced
from reference_model.layout import draw_layout
from reference_model.pipeline import ReferenceVideoPipeline
from reference_model.pipeline.release import load_pipeline
from reference_model.probe import Observation, observe
from reference_model.world import frame_times, render, scene_appearance, scene_tracks
from reference_model.world.attributes import STYLES

FRAMES, SIZE = 16, 32


class Schedule(NamedTuple):
    """Steps of the painter between two noise levels, and the level above which guidance acts."""

    steps: int
    low: float
    guidance: float
    guided_above: float


SCHEDULES = (
    Schedule(5, 0.1, 2.0, 5.0),
    Schedule(5, 0.1, 1.0, 5.0),
    Schedule(4, 1.0, 1.0, 5.0),
    Schedule(5, 2.0, 2.0, 15.0),
    Schedule(3, 2.0, 2.0, 15.0),
    Schedule(3, 2.0, 1.0, 15.0),
)


@torch.no_grad()
def errors(pipeline: ReferenceVideoPipeline, asked: list[Asked], schedule: Schedule) -> Tensor:
    """Mean squared error of each clip (N,), frames in [-1, 1]."""
    kept = pipeline.base_scheduler, pipeline.config.guided_above
    pipeline.base_scheduler = EDMEulerScheduler(sigma_min=schedule.low, sigma_max=20.0, sigma_data=0.5)
    pipeline.register_to_config(guided_above=schedule.guided_above)
    found = []
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        scenes = [one.scene for one in part]
        objects, camera = scene_tracks(scenes, [frame_times(FRAMES)] * len(part))
        truth = render(objects, camera, scene_appearance(scenes), SIZE, SIZE) * 2 - 1
        against = None if schedule.guidance == 1 else pipeline.text_encoder([""] * len(part))
        made = pipeline._paint(
            draw_layout(objects, camera, torch.tensor([scene.phase for scene in scenes]), SIZE, SIZE),
            pipeline.text_encoder([one.prompt for one in part]),
            against,
            schedule.guidance,
            schedule.steps,
            [torch.Generator().manual_seed(start + place) for place in range(len(part))],
        )
        found.append(((made - truth) ** 2).flatten(1).mean(1))
    pipeline.base_scheduler = kept[0]
    pipeline.register_to_config(guided_above=kept[1])
    return torch.cat(found)


@torch.no_grad()
def drawn_and_painted(pipeline: ReferenceVideoPipeline, asked: list[Asked]) -> dict[str, list[Observation]]:
    """What the probe sees in truth, in sampled tracks drawn by the renderer of truth, and in the same tracks painted."""
    rows: dict[str, list[Observation]] = {
        "truth": [], "truth at the base's size, enlarged": [], "sampled tracks, drawn": [], "sampled tracks, painted": [],
    }  # fmt: skip
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        scenes = [one.scene for one in part]
        look = scene_appearance(scenes)
        made = pipeline([one.prompt for one in part], seed=1000 + start, refine=False)
        exact = scene_tracks(scenes, [frame_times(FRAMES)] * len(part))
        truth, small, drawn = (
            render(*tracks, look, size, size).mul(255).round().byte()
            for tracks, size in ((exact, 2 * SIZE), (exact, SIZE), ((made.tracks, made.camera), 2 * SIZE))
        )
        for name, clips in zip(
            rows, (truth, enlarged(list(small)), drawn, enlarged(made.base_frames)), strict=True
        ):
            rows[name] += [observe(frames_of(clip)) for clip in clips]
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m reference_model.evaluate.painter")
    parser.add_argument("--weights", default="v2")
    parser.add_argument("--clips", type=int, default=32, help="clips of each table")
    chosen = parser.parse_args()
    pipeline = load_pipeline(chosen.weights)
    pool = balanced(20 * chosen.clips, 31)
    share = max(1, chosen.clips // len(STYLES))
    asked = [one for style in STYLES for one in [a for a in pool if a.scene.style == style][:share]]
    print("| steps | to level | guidance | above level | " + " | ".join(STYLES) + " |")
    print("|" + "---|" * (4 + len(STYLES)))
    for schedule in SCHEDULES:
        found = errors(pipeline, asked, schedule).view(len(STYLES), share)
        cells = [f"{float(row.median()):.4f}" for row in found]
        print("| " + " | ".join([*map(str, schedule), *cells]) + " |")
    # Where no motion is stated the model may choose to bounce, and corners are no jitter.
    smooth = [
        one for one in pool if one.kind == "single" and one.expect.get("motion") not in (None, "bounce")
    ][: chosen.clips]
    print("\n| | mean jitter px | median |\n|---|---|---|")
    for name, seen in drawn_and_painted(pipeline, smooth).items():
        jitter = [one.jitter for one in seen if one.objects]
        print(f"| {name} | {np.mean(jitter):.3f} | {np.median(jitter):.3f} |")
    groups = [one for one in pool if one.kind == "group"][: chosen.clips]
    print("\n| | right number of objects in groups |\n|---|---|")
    for name, seen in drawn_and_painted(pipeline, groups).items():
        hits = sum(one.count == ask.expect["count"] for one, ask in zip(seen, groups, strict=True))
        print(f"| {name} | {Share(hits, len(groups))} |")


if __name__ == "__main__":
    main()
