"""`python -m benchmarks.validity --out FOLDER`: defects, harmless changes and agreement with people."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch

from benchmarks.validity.clips import study_clips
from benchmarks.validity.defects import OWN_METRIC, benign_noise, responses
from benchmarks.validity.figures import draw_agreement, draw_responses
from benchmarks.validity.page import render
from benchmarks.validity.people import TEMPORAL, agreement
from benchmarks.validity.scoring import Scorer

DATA = Path(os.environ.get("EVALKIT_DATA", Path(__file__).parents[3] / "shared" / "data"))


def main(arguments: list[str] | None = None) -> int:
    """Run the study; writes summary.json, index.md and figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validity", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for summary.json, index.md, figures/")
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder that holds rated/ (default: %(default)s)"
    )
    parser.add_argument(
        "--clips", type=int, default=3, help="clips of the defect study (default: %(default)s)"
    )
    parser.add_argument("--short-side", type=int, default=96)
    parser.add_argument("--frames", type=int, default=14)
    parser.add_argument("--only", nargs="*", help="defects to run (default: all)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    started, scorer = time.process_time(), Scorer()
    clips = study_clips(options.data, options.clips, options.short_side, options.frames)
    found = []
    for response in responses(clips, scorer, only=options.only):
        found.append(response)
        print(
            f"{response.defect:<20} {response.metric:<32} monotone {response.monotone:+.2f} "
            f"detected {response.detected:.2f} between {response.auc:.2f} iou {response.iou}",
            file=sys.stderr,
        )
    metrics = tuple(dict.fromkeys((*TEMPORAL, *OWN_METRIC.values())))
    benign = benign_noise(clips, scorer, metrics)
    agreements, table = [], []
    if (options.data / "rated" / "ratings.csv").is_file():
        agreements, table = agreement(options.data / "rated", scorer)
    about = {
        "clips": len(clips),
        "names": list(clips),
        "short_side": options.short_side,
        "frames": options.frames,
        "encoders": scorer.encoders,
        "cpu_seconds": time.process_time() - started,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    draw_responses(found, options.out / "figures")
    if agreements:
        draw_agreement(agreements, options.out / "figures" / "people.svg")
    summary = {
        "about": about,
        "defects": [item.to_dict() for item in found],
        "benign": benign,
        "people": [item.to_dict() for item in agreements],
        "rated_clips": table,
    }
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (options.out / "index.md").write_text(render(found, benign, agreements, about), encoding="utf-8")
    print(options.out / "index.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
