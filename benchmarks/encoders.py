"""What the embedded networks can and cannot see, measured on real clips: `python -m benchmarks.encoders`.

Writes the figures to `benchmarks/encoders.json` and the cards to `docs/reference/embedded-encoders.md`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from pathlib import Path
from typing import Any

import torch

from benchmarks.validity.people import read_ratings
from benchmarks.validity.scoring import auc
from evalkit.features.cuts import TransNet
from evalkit.features.image import Image
from evalkit.features.requests import image_request
from evalkit.features.text import Conse, Text
from evalkit.video import Video, decode
from evalkit.weights import KNOWN_WEIGHTS, file_digest, locate

__all__ = ["CARDS", "PAGE", "RESULTS", "main", "measure", "page"]

RESULTS, PAGE = Path("benchmarks/encoders.json"), Path("docs/reference/embedded-encoders.md")
_FRAMES, _SIDE = 6, 224
# One word exchanged: what a sentence encoder must tell apart and mostly does not.
_EXCHANGED = (
    ("a cat to the left of a dog", "a cat to the right of a dog"),
    ("the ball rises and then falls", "the ball falls and then rises"),
    ("two red cars on a road", "three red cars on a road"),
    ("a red car beside a blue house", "a blue car beside a red house"),
    ("a man walks into the room", "a man walks out of the room"),
)

CARDS: dict[str, tuple[str, str, str]] = {
    "efficientnet-lite0": (
        "EfficientNet-Lite0: the frame encoder",
        (
            "An ImageNet classifier of 4.7 million weights; its pooled 1280 features, and its logits for ConSE. Input "
            "(x - 127) / 128. Behind subject, background and clip consistency, long drift and `set.frechet`."
        ),
        (
            "Sees objects, textures and scenes of photographs. Does not see motion, order, counts, or who is who: another "
            "person in the same place looks alike to it. Drawn and abstract pictures are outside of what it was trained on."
        ),
    ),
    "minilm": (
        "all-MiniLM-L6-v2: the text encoder",
        (
            "A sentence encoder of 22 million weights; mean of the word pieces, 384 features of unit length. Behind "
            "`alignment.conse`."
        ),
        (
            "Sees what a sentence is about. Hardly sees which side, which order, how many, or which of two things has which "
            "colour: see the figure for exchanged words."
        ),
    ),
    "transnetv2": (
        "TransNet V2: the shot boundary detector",
        (
            "A network of 7.6 million weights over 48 x 27 pixels and 100 frames. An option of `temporal.cuts`; the default "
            "detector needs no network."
        ),
        (
            "Sees hard cuts between edited shots. A jump within one scene may escape it; the answer for the last frame is "
            "dropped, because nothing follows it."
        ),
    ),
    "conse": (
        "ConSE: pictures in words",
        (
            "No network of its own: EfficientNet's 50 most probable classes weigh MiniLM's embeddings of their names, "
            "centred on all thousand. Behind `alignment.conse` and `alignment.retrieval`'s default."
        ),
        (
            "Sees objects and scenes that ImageNet names. Does not see counts, relations, style, motion, or what ImageNet "
            "has no word for; people are hardly among its classes."
        ),
    ),
}


def _thinned(video: Video) -> Video:
    """Six frames over the whole clip, short side 224 at most: what the encoders see of it."""
    place = torch.linspace(0, video.num_frames - 1, _FRAMES).round().long()
    frames = video.frames[place]
    scale = _SIDE / min(frames.shape[-2:])
    if scale < 1:
        size = [round(side * scale) for side in frames.shape[-2:]]
        frames = torch.nn.functional.interpolate(frames, size, mode="bilinear", antialias=True)
    return Video(frames.contiguous(), video.fps)


def _found(similarity: torch.Tensor) -> dict[str, float]:
    """Share of rows whose own column is the largest, and AUC of own against other columns."""
    own = similarity.diagonal()
    others = similarity[~torch.eye(len(similarity), dtype=torch.bool)]
    return {
        "first": float((similarity.argmax(1) == torch.arange(len(similarity))).double().mean()),
        "auc": float(auc(others.tolist(), own.tolist())),
        "among": len(similarity),
    }


def measure(data: Path, count: int) -> dict[str, Any]:
    """Figures of every card.

    Args:
        data: folder that holds `rated/`.
        count: clips, of distinct prompts.
    """
    rows, seen = [], set()
    for row in read_ratings(data / "rated", "file"):
        if row["prompt"] not in seen:
            seen.add(row["prompt"])
            rows.append(row)
    rows = rows[:count]
    videos = [decode(data / "rated" / row["file"]) for row in rows]
    small = [_thinned(video) for video in videos]
    image, text, conse = Image(), Text(), Conse()
    seen_features = [image.extract(video, {}) for video in small]
    unit = torch.nn.functional.normalize(
        torch.stack([item["features"] for item in seen_features]).double(), dim=-1
    )
    prompts = torch.stack([text.extract(row["prompt"], {})["features"] for row in rows]).double()
    placed = [
        conse.extract(clip, {image_request(): item}) for clip, item in zip(small, seen_features, strict=True)
    ]
    centre = placed[0]["centre"].double()
    clips = torch.nn.functional.normalize(torch.stack([item["features"] for item in placed]).double(), dim=-1)
    words = torch.nn.functional.normalize(prompts - centre, dim=-1)
    exchanged = [
        float(text.extract(one, {})["features"] @ text.extract(other, {})["features"])
        for one, other in _EXCHANGED
    ]
    apart = (prompts @ prompts.T)[~torch.eye(len(prompts), dtype=torch.bool)]
    return {
        "clips": len(rows),
        "efficientnet-lite0": _found(unit[:, 0] @ unit[:, -1].T),
        "minilm": {
            "exchanged": sum(exchanged) / len(exchanged),
            "pairs": len(exchanged),
            "others": float(apart.mean()),
            "others_95": float(apart.quantile(0.95)),
        },
        "transnetv2": _cuts(videos),
        "conse": _found(clips @ words.T),
        "digests": {name: file_digest(locate(name)) for name in CARDS if name in KNOWN_WEIGHTS},
    }


def _cuts(videos: list[Video]) -> dict[str, float]:
    """Ten joints of neighbouring clips, 20 frames each side, and the transitions inside that are called cuts too."""
    network, exact, false, joints = TransNet(), 0, 0, 0
    for first, second in itertools.pairwise(videos[:11]):
        sides = [
            torch.nn.functional.interpolate(video.frames[:20], (54, 96), mode="bilinear", antialias=True)
            for video in (first, second)
        ]
        found = network.extract(Video(torch.cat(sides).contiguous(), first.fps), {})["probability"] > 0.5
        joint = len(sides[0]) - 1
        exact += bool(found[joint])
        false += int(found.sum()) - bool(found[joint])
        joints += 1
    return {"joints": joints, "exact": exact, "elsewhere": false}


def page(figures: dict[str, Any]) -> str:
    """The cards as Markdown."""
    e, m, t, c = (figures[name] for name in ("efficientnet-lite0", "minilm", "transnetv2", "conse"))
    measured = {
        "efficientnet-lite0": (
            f"The last of six frames finds the first frame of its own clip among those of {e['among']} clips in "
            f"{e['first']:.0%} of the cases (chance {1 / e['among']:.0%}); AUC of own against other clips {e['auc']:.3f}."
        ),
        "minilm": (
            f"Mean cosine of {m['pairs']} sentences with one word or two words exchanged (left/right, rises/falls, "
            f"two/three, whose colour, into/out of): {m['exchanged']:.2f}. Different prompts have {m['others']:.2f} in the "
            f"mean and {m['others_95']:.2f} at the 95th percentile: exchanged words look like the same prompt."
        ),
        "transnetv2": (
            f"{t['exact']} of {t['joints']} joints of two clips found at their very frame; {t['elsewhere']} further "
            "transitions called cuts (clips at hand are edited, so that some are)."
        ),
        "conse": (
            f"Own prompt first among {c['among']} for {c['first']:.0%} of the clips (chance {1 / c['among']:.0%}); AUC of own "
            f"against other prompts {c['auc']:.3f}."
        ),
    }
    lines = [
        "# The embedded networks",
        "",
        (
            "What runs where no other weights were given. Reports name them as what they are; none of them is CLIP, DINO or "
            "I3D, and their scores are never compared with those of another encoder."
        ),
        "",
        (
            f"Figures: `python -m benchmarks.encoders` on {figures['clips']} clips of distinct prompts (the rated clips in "
            "`$EVALKIT_DATA`); how the metrics built on them behave: "
            "[the validity study](../../benchmarks/validity/results/index.md)."
        ),
        "",
    ]
    for name, (title, what, limits) in CARDS.items():
        lines += [f"## {title}", "", what, ""]
        if name in KNOWN_WEIGHTS:
            known = KNOWN_WEIGHTS[name]
            lines += [
                f"- File: `{known.filename}` of the package `{known.package}`, `{figures['digests'][name]}`",
                f"- Licence: {known.licence}",
            ]
        lines += [f"- Measured: {measured[name]}", f"- Sees and does not see: {limits}", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write figures and page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EVALKIT_DATA", "../shared/data")))
    parser.add_argument("--clips", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = measure(options.data, options.clips)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(page(figures), encoding="utf-8")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
