"""Command line of the evaluation: tables to stdout and JSON, sheets to PNG."""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reference_model.encoders import embed_texts, load_encoder, prepare
from reference_model.evaluate import controls
from reference_model.evaluate.controls import enlarged, frames_of, make
from reference_model.evaluate.figures import (
    Share,
    bootstrap,
    change,
    flicker,
    frechet,
    principal,
    sharpness,
    tally,
)
from reference_model.evaluate.prompts import Asked, balanced
from reference_model.pipeline import ReferenceVideoPipeline
from reference_model.pipeline.release import load_pipeline
from reference_model.probe import Observation, agrees, observe
from reference_model.train.pixels import save_sheet
from reference_model.world import render_scenes


def main() -> None:
    """Measures a version and writes figures.json, tables.md and sheets."""
    parser = argparse.ArgumentParser(prog="python -m reference_model.evaluate", description=main.__doc__)
    parser.add_argument("--weights", default="v2", help="released version, or a folder of that layout")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument(
        "--held-out", type=int, default=60, help="prompts of colour and shape pairs never trained on"
    )
    parser.add_argument(
        "--controls",
        type=int,
        default=24,
        help="clips for each setting of a control (five times as many for guidance); 0 skips them",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        figures = evaluate(
            chosen.weights, chosen.prompts, chosen.held_out, chosen.controls, chosen.seed, chosen.out
        )
    (chosen.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    text = tables(figures)
    (chosen.out / "tables.md").write_text(text, encoding="utf-8")
    print(text)


def evaluate(
    weights: str, count: int, held_out: int, control: int, seed: int, out: Path
) -> dict[str, object]:
    """Every figure of the card."""
    pipeline = load_pipeline(weights)
    refine = pipeline.refiner is not None
    asked = balanced(count, seed)
    started = time.perf_counter()
    made = make(pipeline, [one.prompt for one in asked], refine=refine)
    seconds = (time.perf_counter() - started) / count
    clips = {
        "base": enlarged(made.base_frames),
        "truth": list(render_scenes([one.scene for one in asked], 16, 64, 64)),
    }
    if refine:
        clips["refined"] = made.frames
    seen = {name: [observe(frames_of(clip)) for clip in group] for name, group in clips.items()}
    final = "refined" if refine else "base"
    figures: dict[str, object] = {
        "weights": weights, "prompts": count, "seconds_per_clip": round(seconds, 2), "threads": torch.get_num_threads(),
        "attributes": {name: _shares(asked, observed) for name, observed in seen.items()},
        "shuffled": _shares(_shuffled(asked, seed), seen[final]),
        "majority": majority(asked),
        "quality": {name: quality(clips[name], seen[name], asked) for name in clips},
        "flicker_small": {
            "base": flicker_of(made.base_frames),
            **{name: flicker_of(reduced(clips[name])) for name in clips if name != "base"},
        },
        "fvd_world": fvd(clips, seed),
    }  # fmt: skip
    if held_out:
        rare = balanced(held_out, seed, "only", ("single", "camera", "events"))
        pictures = make(pipeline, [one.prompt for one in rare], refine=refine).frames
        figures["held_out"] = _shares(rare, [observe(frames_of(clip)) for clip in pictures])
    sheets(asked, clips[final], seen[final], out)
    if control:
        figures["controls"] = all_controls(pipeline, control, refine)
    return figures


def all_controls(pipeline: ReferenceVideoPipeline, count: int, refine: bool) -> dict[str, object]:
    """Responses to every knob."""
    model, tokenizer = load_encoder()

    def align(prompt: str, clip: Tensor) -> float:
        video = model.embed_features(model.features(prepare(clip)[None]))[0]
        return float(embed_texts(model, tokenizer, [prompt])[0] @ video)

    answers: dict[str, object] = {
        "guidance": controls.guidance(pipeline, align, 5 * count),
        "negative": controls.negative(pipeline, count),
        "weights": controls.weights(pipeline, count // 2),
        "long_clip": controls.long_clip(pipeline),
        "repeatable": controls.repeatable(pipeline),
    }
    if refine:
        answers |= {
            "strength": controls.strength(pipeline, count),
            "against_bicubic": controls.against_bicubic(pipeline, count),
            "restyle": controls.restyle(pipeline, count),
        }
    return answers


def _shares(asked: Sequence[Asked], seen: Sequence[Observation]) -> dict[str, list[float]]:
    rows = [agrees(one, ask.expect) for one, ask in zip(seen, asked, strict=True)]
    for row, one, ask in zip(rows, seen, asked, strict=True):
        # Something that passes behind something else may be out of sight for a moment.
        if ask.expect.get("relation") != "passes_behind":
            row["present in every frame"] = one.present == 1.0
    return {name: _numbers(share) for name, share in tally(rows).items()}


def _numbers(share: Share) -> list[float]:
    return [share.hits, share.count, round(share.value, 4), *(round(edge, 4) for edge in share.interval)]


def _shuffled(asked: Sequence[Asked], seed: int) -> list[Asked]:
    """The prompts in another order: what a model would score that makes good clips of the wrong prompts."""
    others = list(asked)
    random.Random(seed).shuffle(others)
    return others


def majority(asked: Sequence[Asked]) -> dict[str, float]:
    """Share of the commonest value of each attribute: what always answering it would score."""
    table: dict[str, list[str]] = {}
    for one in asked:
        for name, value in one.expect.items():
            table.setdefault(name, []).append(str(value))
    return {name: round(max(map(values.count, values)) / len(values), 4) for name, values in table.items()}


def quality(clips: Sequence[Tensor], seen: Sequence[Observation], asked: Sequence[Asked]) -> dict[str, float]:
    """Means over clips: sharpness, change and flicker of frames, jitter of paths that have no corners.

    Where no motion is stated a model may choose to bounce, so only prompts that state another motion count for jitter.
    """
    arrays = [frames_of(clip) for clip in clips]
    smooth = [
        one.jitter
        for one, ask in zip(seen, asked, strict=True)
        if ask.kind == "single" and ask.expect.get("motion") not in (None, "bounce") and one.objects
    ]
    return {
        "sharpness": round(float(np.mean([sharpness(clip) for clip in arrays])), 3),
        "change": round(float(np.mean([change(clip) for clip in arrays])), 3),
        "flicker": round(float(np.mean([flicker(clip) for clip in arrays])), 3),
        "jitter_px": round(float(np.mean(smooth)), 3) if smooth else 0.0,
    }


def flicker_of(clips: Sequence[Tensor]) -> float:
    """Mean flicker of clips."""
    return round(float(np.mean([flicker(frames_of(clip)) for clip in clips])), 3)


def reduced(clips: Sequence[Tensor]) -> list[Tensor]:
    """Clips averaged down to half their size: enlarging bicubically hides flicker, so sizes are made equal."""
    return [F.avg_pool2d(clip.float(), 2).round().to(torch.uint8) for clip in clips]


def fvd(clips: Mapping[str, Sequence[Tensor]], seed: int, repeats: int = 200) -> dict[str, list[float]]:
    """Frechet distance to fresh truth in 32 principal dimensions of the world classifier, with bootstrap intervals.

    The dimensions are those of all sets together: what a model adds or loses need not vary in truth. An interval lies
    above its value, because drawing with repeats makes sets look further apart; the difference of two hardly does.
    """
    model, _ = load_encoder()
    count = len(next(iter(clips.values())))
    fresh = render_scenes([one.scene for one in balanced(count, seed + 100)], 16, 64, 64)
    features = {
        name: torch.cat([model.features(prepare(clip)[None]) for clip in group]).double().numpy()
        for name, group in {**clips, "fresh": list(fresh)}.items()
    }
    centre, directions = principal(np.concatenate(list(features.values())))
    flat = {name: (value - centre) @ directions for name, value in features.items()}
    rng = np.random.default_rng(seed)
    picks = [rng.integers(count, size=count) for _ in range(repeats)]
    result = {}
    for name in clips:
        low, high = bootstrap([frechet(flat[name][pick], flat["fresh"]) for pick in picks])
        result[name] = [round(value, 3) for value in (frechet(flat[name], flat["fresh"]), low, high)]
    if "refined" in clips:
        gaps = [
            frechet(flat["base"][p], flat["fresh"]) - frechet(flat["refined"][p], flat["fresh"])
            for p in picks
        ]
        result["base minus refined"] = [
            round(float(np.mean(gaps)), 3),
            *(round(edge, 3) for edge in bootstrap(gaps)),
        ]
    return result


def sheets(asked: Sequence[Asked], clips: Sequence[Tensor], seen: Sequence[Observation], out: Path) -> None:
    """`samples.png`: the first clip of each kind and more; `failures.png`: clips that the probe disagrees with most."""
    first = list(range(min(14, len(asked))))
    wrong = [
        sum(not hit for hit in agrees(one, ask.expect).values()) for one, ask in zip(seen, asked, strict=True)
    ]
    worst = sorted(range(len(asked)), key=lambda place: -wrong[place])[:12]
    for name, places in (("samples", first), ("failures", worst)):
        save_sheet(
            [clips[place].float() / 127.5 - 1 for place in places], out / f"{name}.png", zoom=1, every=2
        )
        lines = [
            f"{row + 1}. {asked[place].prompt} ({wrong[place]} attributes wrong)"
            for row, place in enumerate(places)
        ]
        (out / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def tables(figures: Mapping[str, object]) -> str:
    """Markdown of the figures."""
    attributes: dict[str, dict[str, list[float]]] = figures["attributes"]  # type: ignore[assignment]
    shuffled: dict[str, list[float]] = figures["shuffled"]  # type: ignore[assignment]
    held: dict[str, list[float]] = figures.get("held_out", {})  # type: ignore[assignment]
    usual: dict[str, float] = figures["majority"]  # type: ignore[assignment]
    columns = [name for name in ("refined", "base", "truth") if name in attributes]
    lines = [
        f"Weights {figures['weights']}, {figures['prompts']} prompts, {figures['seconds_per_clip']} s a clip on {figures['threads']} thread(s).",
        "",
    ]
    lines.append(
        "| attribute | n | " + " | ".join(columns) + " | shuffled prompts | majority | held-out pairs |"
    )
    lines.append("|" + "---|" * (5 + len(columns)))
    for name in attributes["truth"]:
        cells = [
            f"{row[2]:.2f} [{row[3]:.2f}, {row[4]:.2f}]"
            for row in (attributes[column][name] for column in columns)
        ]
        other = f"{shuffled[name][2]:.2f}" if name in shuffled else "-"
        rare = f"{held[name][2]:.2f} [{held[name][3]:.2f}, {held[name][4]:.2f}]" if name in held else "-"
        lines.append(
            f"| {name} | {attributes['truth'][name][1]:.0f} | {' | '.join(cells)} | {other} | {usual.get(name, '-')} | {rare} |"
        )
    lines += ["", "| | sharpness | change | flicker | jitter px |", "|---|---|---|---|---|"]
    quality_rows: dict[str, dict[str, float]] = figures["quality"]  # type: ignore[assignment]
    for name, row in quality_rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in row.values()) + " |")
    small = ", ".join(f"{name} {value:.3f}" for name, value in figures["flicker_small"].items())  # type: ignore[attr-defined]
    lines += ["", f"Flicker at the base's own size, the others averaged down to it: {small}."]
    lines += ["", f"FVD on the world (value, 95% interval): {json.dumps(figures['fvd_world'])}", ""]
    if "controls" in figures:
        lines += ["Controls:", "", "```json", json.dumps(figures["controls"], indent=1), "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
