"""Figures of the judging encoders: accuracy, calibration and confusions of every factor, retrieval, caption swaps.

    python -m reference_model.evaluate.encoders [--clips 512]

prints Markdown. Clips are rendered from a seed that training never uses, and include the held-out pairs.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor

from reference_model.encoders import FACTORS, WorldEncoder, load_encoder
from reference_model.evaluate.figures import Share
from reference_model.text import Tokenizer
from reference_model.train.data import SWAPS, swapped
from reference_model.train.encoders import clips_of, factor_targets
from reference_model.train.frames import drafts
from reference_model.train.loop import Draw
from reference_model.world import Scene, SceneOptions, describe, sample_scene
from reference_model.world.attributes import TEXTURED

SEED = 2024
BINS = 10
AMONG = 64
CPU = torch.device("cpu")


class FactorFigures(NamedTuple):
    """How well one factor's head does."""

    accuracy: Share
    confidence: float
    """Mean of the probability that the head gives its own answer."""
    calibration_error: float
    confusions: tuple[tuple[object, object, int], ...]
    """The commonest mistakes: (truth, answer, times)."""


def calibration_error(confidence: Tensor, hits: Tensor, bins: int = BINS) -> float:
    """Expected calibration error (Naeini et al., 2015): mean gap of confidence and accuracy over equal-width bins."""
    place = (confidence * bins).long().clamp(max=bins - 1)
    gaps = [
        (place == index).float().mean()
        * (confidence[place == index].mean() - hits[place == index].float().mean()).abs()
        for index in range(bins)
        if bool((place == index).any())
    ]
    return float(torch.stack(gaps).sum())


def factor_figures(probabilities: Tensor, target: Tensor, values: tuple[object, ...]) -> FactorFigures:
    """Figures of one factor from probabilities (N, classes) and targets (N,), -1 where a clip has no such factor."""
    known = target >= 0
    confidence, answer = probabilities[known].max(-1)
    truth = target[known]
    hits = answer == truth
    wrong = Counter(
        (values[t], values[a]) for t, a in zip(truth.tolist(), answer.tolist(), strict=True) if t != a
    )
    return FactorFigures(
        Share(int(hits.sum()), len(hits)),
        float(confidence.mean()),
        calibration_error(confidence, hits),
        tuple((t, a, times) for (t, a), times in wrong.most_common(3)),
    )


def retrieval(scores: Tensor, among: int = AMONG) -> Share:
    """How often a clip's own caption scores highest among `among`; scores (N, N), N a multiple of `among`."""
    hits = 0
    for start in range(0, len(scores), among):
        block = scores[start : start + among, start : start + among]
        hits += int((block.argmax(1) == torch.arange(len(block))).sum())
    return Share(hits, len(scores))


def swaps(
    model: WorldEncoder, tokenizer: Tokenizer, scenes: list[Scene], embedded: Tensor, draw: Draw
) -> dict[str, Share]:
    """How often the right caption beats one in which a single attribute is another."""
    result = {}
    for name in SWAPS:
        wins = []
        for row, scene in enumerate(scenes):
            pair = swapped(scene, name, draw.scenes)
            if pair is not None:
                right, wrong = model.embed_tokens(tokenizer(list(pair))) @ embedded[row]
                wins.append(bool(right > wrong))
        result[name] = Share(sum(wins), len(wins))
    return result


@torch.no_grad()
def report(count: int) -> str:
    """Markdown of every figure, on `count` clips (rounded up to a multiple of AMONG)."""
    model, tokenizer = load_encoder()
    draw = Draw.of(SEED, 0, "encoders-card")
    count = -(-count // AMONG) * AMONG
    scenes = [sample_scene(draw.scenes, SceneOptions(held_out="include")) for _ in range(count)]
    features = torch.cat(
        [model.features(clips_of(scenes[start : start + AMONG], CPU)) for start in range(0, count, AMONG)]
    )
    targets = factor_targets(scenes)
    lines = [
        f"{count} rendered clips.",
        "",
        "| factor | chance | accuracy | mean confidence | calibration error | commonest confusions |",
        "|---|---|---|---|---|---|",
    ]
    for column, (name, values) in enumerate(FACTORS.items()):
        row = factor_figures(model.heads[name](features).softmax(-1), targets[:, column], values)
        mistakes = ", ".join(f"{truth} as {answer} {times}" for truth, answer, times in row.confusions)
        lines.append(
            f"| {name} | {1 / len(values):.2f} | {row.accuracy} | {row.confidence:.2f} | {row.calibration_error:.3f} | {mistakes or '-'} |"
        )
    texts = tokenizer([describe(scene, draw.scenes, full=True).text for scene in scenes])
    embedded = model.embed_features(features)
    joined = retrieval(embedded @ model.embed_tokens(texts).T)
    contrast = retrieval(model.contrast_clips(features) @ model.contrast_texts(model.text(texts)).T)
    lines += [
        "",
        f"Retrieval at 1 among {AMONG} captions (chance {1 / AMONG:.2f}): joined embedding {joined}, contrast alone {contrast}.",
        "",
        "| swapped attribute | the right caption wins (chance .50) |",
        "|---|---|",
        *(
            f"| {name} | {share} |"
            for name, share in swaps(model, tokenizer, scenes[:256], embedded, draw).items()
        ),
    ]
    some = scenes[: 2 * AMONG]
    worse = drafts(clips_of(some, CPU)).split(AMONG // 4)
    soft = torch.cat([model.faults(model.features(part))[:, 0] for part in worse])
    sharp = model.faults(features[: len(some)])[:, 0]
    patterned = torch.tensor([scene.background in TEXTURED for scene in some])
    lines += [
        "",
        "| softness that the features tell (0 to 1) | clips | sharp | enlarged from half the size |",
    ]
    lines += ["|---|---|---|---|"] + [
        f"| {name} | {int(rows.sum())} | {sharp[rows].mean():.2f} (sd {sharp[rows].std():.2f}) | {soft[rows].mean():.2f} (sd {soft[rows].std():.2f}) |"
        for name, rows in (("patterned ground", patterned), ("plain ground", ~patterned))
    ]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m reference_model.evaluate.encoders")
    parser.add_argument("--clips", type=int, default=512)
    print(report(parser.parse_args().clips))


if __name__ == "__main__":
    main()
