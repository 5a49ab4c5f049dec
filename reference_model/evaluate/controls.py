"""Does the model obey its knobs: guidance, negative prompt, word weights, refiner strength and prompt, windows, seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference_model.evaluate.figures import Share, bootstrap, change, tally
from reference_model.evaluate.prompts import balanced
from reference_model.layout import draw_layout
from reference_model.pipeline import ReferenceVideoOutput, ReferenceVideoPipeline
from reference_model.probe import agrees, observe
from reference_model.strength import enlarge
from reference_model.train.loop import Draw
from reference_model.train.refiner import degrade, psnr
from reference_model.world import describe, frame_times, render, scene_appearance, scene_tracks

Clip = NDArray[np.uint8]
BATCH = 8


def frames_of(clip: Tensor) -> Clip:
    """(T, 3, H, W) uint8 tensor to (T, H, W, 3) array."""
    return clip.permute(0, 2, 3, 1).contiguous().numpy()


def enlarged(small: Sequence[Tensor]) -> list[Tensor]:
    """Small uint8 clips at twice their size, bicubic."""
    stack = torch.stack(list(small)).float() / 127.5 - 1
    big = enlarge(stack, small[0].shape[-2] * 2, small[0].shape[-1] * 2)
    return list(((big + 1) * 127.5).round().to(torch.uint8))


def make(
    pipeline: ReferenceVideoPipeline, prompts: list[str], seed: int = 1000, **settings: object
) -> ReferenceVideoOutput:
    """All prompts in batches, prompt i with seed + i."""
    joined: ReferenceVideoOutput | None = None
    for start in range(0, len(prompts), BATCH):
        part = pipeline(prompts[start : start + BATCH], seed=seed + start, **settings)
        if joined is None:
            joined = part
        else:
            joined.frames += part.frames
            joined.base_frames += part.base_frames
    assert joined is not None
    return joined


def guidance(
    pipeline: ReferenceVideoPipeline, align: Callable[[str, Tensor], float], count: int
) -> list[dict[str, object]]:
    """Alignment (dual encoder) and the probe's mean over attributes, for scales of guidance.

    Gains are over scale 1 on the same prompts and seeds, with bootstrap intervals over prompts.
    """
    asked = balanced(count, 21)
    rng = np.random.default_rng(21)
    picks = rng.integers(count, size=(1000, count))
    plain: NDArray[np.float64] | None = None
    rows: list[dict[str, object]] = []
    for scale in (1.0, 1.5, 2.0, 3.0):
        clips = make(pipeline, [one.prompt for one in asked], guidance_scale=scale).frames
        judged = [
            agrees(observe(frames_of(clip)), one.expect) for one, clip in zip(asked, clips, strict=True)
        ]
        hits = [hit for row in judged for hit in row.values()]
        scores = np.array(
            [
                (align(one.prompt, clip), np.mean(list(row.values())))
                for one, clip, row in zip(asked, clips, judged, strict=True)
            ]
        )
        plain = scores if plain is None else plain
        gains = scores - plain
        row: dict[str, object] = {
            "guidance_scale": scale,
            "attributes": str(Share(sum(hits), len(hits))),
            "alignment": round(float(scores[:, 0].mean()), 4),
        }
        for name, gain in zip(("alignment_gain", "attributes_gain"), gains.T, strict=True):
            low, high = bootstrap(gain[picks].mean(1))
            row[name] = f"{gain.mean():.3f} [{low:.3f}, {high:.3f}]"
        rows.append(row)
    return rows


def negative(pipeline: ReferenceVideoPipeline, count: int) -> dict[str, str]:
    """Share of clips with each plain background when the prompt leaves it open, without and with a negative prompt."""
    prompts = [
        f"a {colour} {shape} moves left"
        for colour in ("red", "green", "blue", "orange")
        for shape in ("square", "ball")
    ]
    prompts = (prompts * (count // len(prompts) + 1))[:count]
    free = [
        observe(frames_of(clip)).background for clip in make(pipeline, prompts, guidance_scale=3.0).frames
    ]
    common = max(set(free), key=free.count)
    steered = make(pipeline, prompts, guidance_scale=3.0, negative_prompt=f"{common} background").frames
    seen = [observe(frames_of(clip)).background for clip in steered]
    return {
        "background": common,
        "without": str(Share(free.count(common), count)),
        "with_negative": str(Share(seen.count(common), count)),
    }


def weights(pipeline: ReferenceVideoPipeline, count: int) -> list[dict[str, float]]:
    """Mean radius for weights on "large", mean brightness for weights on "at night"."""
    rows = []
    for weight in (0.0, 0.5, 1.0, 1.5):
        large = make(
            pipeline, [f"a (large:{weight}) green ball stays in place on a white background"] * count
        ).frames
        dark = make(
            pipeline, [f"a red square stays in place on a white background, (at night:{weight})"] * count
        ).frames
        seen = [observe(frames_of(clip)) for clip in large]
        radii = [float(np.nanmean(one.objects[0].radius)) for one in seen if one.objects]
        bright = [float(frames_of(clip).mean()) for clip in dark]
        rows.append(
            {
                "weight": weight,
                "radius": round(float(np.mean(radii)), 3),
                "brightness": round(float(np.mean(bright)), 1),
            }
        )
    return rows


def strength(pipeline: ReferenceVideoPipeline, count: int) -> list[dict[str, float]]:
    """Mean absolute change that the refiner makes to the enlarged base clip, for strengths."""
    asked = balanced(count, 22)
    prompts = [one.prompt for one in asked]
    plain = make(pipeline, prompts, refine=False).frames
    rows = []
    for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        refined = make(pipeline, prompts, refiner_strength=value).frames
        moved = [float((a.float() - b.float()).abs().mean()) for a, b in zip(refined, plain, strict=True)]
        rows.append({"refiner_strength": value, "change": round(float(np.mean(moved)), 3)})
    return rows


def against_bicubic(pipeline: ReferenceVideoPipeline, count: int) -> list[dict[str, object]]:
    """PSNR of degraded truth, enlarged by the refiner and bicubically, and the mean gain with a bootstrap interval.

    Once the refiner is told where objects are, as in sampling, and once it has to read that off the degraded clip.
    """
    draw = Draw.of(0, 0, "against-bicubic")
    asked = balanced(count, 24)
    scenes = [one.scene for one in asked]
    objects, camera = scene_tracks(scenes, [frame_times(16)] * count)
    look = scene_appearance(scenes)
    truth = render(objects, camera, look, 64, 64) * 2 - 1
    small = render(objects, camera, look, 32, 32) * 2 - 1
    bicubic = enlarge(degrade(small, torch.ones(count, dtype=torch.bool), draw), 64, 64)
    text = pipeline.text_encoder([one.prompt for one in asked])
    layout = draw_layout(objects, camera, torch.tensor([scene.phase for scene in scenes]), 32, 32)
    plain = np.array([psnr(a, b) for a, b in zip(bicubic, truth, strict=True)])
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for value, told in product((0.0, 0.1, 0.3, 0.5), (layout, None)):
        seeds = [torch.Generator().manual_seed(place) for place in range(count)]
        refined = pipeline._refine(bicubic, text, None, value, 1.0, 1, seeds, told)
        gains = np.array([psnr(a, b) for a, b in zip(refined, truth, strict=True)]) - plain
        low, high = bootstrap([gains[rng.integers(count, size=count)].mean() for _ in range(1000)])
        rows.append(
            {
                "refiner_strength": value,
                "told_the_layout": told is not None,
                "bicubic_db": round(float(plain.mean()), 2),
                "refined_db": round(float((plain + gains).mean()), 2),
                "gain_db": f"{gains.mean():.2f} [{low:.2f}, {high:.2f}]",
            }
        )
    return rows


def restyle(pipeline: ReferenceVideoPipeline, count: int) -> list[dict[str, str]]:
    """Does a style in the refiner's prompt change the style, and is the object still there.

    The base is told the whole scene, and the refiner the same with another style: what a prompt leaves open the base may
    have made otherwise than the scene has it, and what the refiner is told of it would contradict the clip.
    """
    asked = [one for one in balanced(count * 8, 23, kinds=("single",)) if one.scene.style == "flat"][:count]
    rows = []
    for style in ("sepia", "night", "outlined"):
        prompts, told = (
            [
                describe(replace(one.scene, style=name), random.Random(place), full=True).text
                for place, one in enumerate(asked)
            ]
            for name in ("flat", style)
        )
        clips = make(pipeline, prompts, refiner_strength=1.0, refiner_prompt=None).frames
        styled = []
        for start in range(0, len(prompts), BATCH):
            part = slice(start, start + BATCH)
            styled += pipeline(
                prompts[part], seed=1000 + start, refiner_strength=1.0, refiner_prompt=told[part]
            ).frames
        seen = [observe(frames_of(clip)) for clip in styled]
        kept = [
            {"kept": bool(one.objects) and one.objects[0].shape == ask.expect["object"]}
            for one, ask in zip(seen, asked, strict=True)
        ]
        before = [observe(frames_of(clip)).style == style for clip in clips]
        rows.append(
            {
                "style": style,
                "before": str(Share(sum(before), len(before))),
                "after": str(Share(sum(one.style == style for one in seen), len(seen))),
                "object_kept": str(tally(kept)["kept"]),
            }
        )
    return rows


def long_clip(pipeline: ReferenceVideoPipeline) -> dict[str, float]:
    """An 80-frame clip in windows: largest change at a window's border against the median change inside windows."""
    from reference_model.pipeline.windows import windows

    prompts = [
        "a large red star moves right on a dotted background",
        "a blue square bounces on a gray background",
    ]
    clips = [frames_of(clip) for clip in pipeline(prompts, seed=7, num_frames=80).frames]
    borders = sorted({edge for first, end in windows(80) for edge in (first, end)} - {0, 80})
    ratios = []
    for clip in clips:
        steps = [change(clip[at - 1 : at + 1]) for at in range(1, 80)]
        inside = np.median([step for at, step in enumerate(steps, 1) if at not in borders])
        ratios.append(max(steps[at - 1] for at in borders) / inside)
    return {
        "frames": 80,
        "windows": len(windows(80)),
        "largest_border_over_median": round(float(max(ratios)), 3),
    }


def repeatable(pipeline: ReferenceVideoPipeline) -> dict[str, bool]:
    """Same seed, same clip; other seed, another."""
    prompt = "a green star spins on a white background"
    first, again, other = (pipeline(prompt, seed=seed).frames[0] for seed in (5, 5, 6))
    return {"same_seed_equal": bool((first == again).all()), "other_seed_equal": bool((first == other).all())}
