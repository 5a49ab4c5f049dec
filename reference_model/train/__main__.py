"""Command line of training."""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

import torch

from reference_model.train.loop import Config, train

STAGES = {
    "text": "reference_model.train.text:TextStage",
    "tracks": "reference_model.train.tracks:TracksStage",
    "base": "reference_model.train.base:BaseStage",
    "refiner": "reference_model.train.refiner:RefinerStage",
    "frames": "reference_model.train.frames:FramesStage",
    "encoders": "reference_model.train.encoders:EncodersStage",
}


def main() -> None:
    """Trains one stage, or resumes it."""
    parser = argparse.ArgumentParser(prog="python -m reference_model.train", description=__doc__)
    parser.add_argument("stage", choices=[*STAGES])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints, log and sheets")
    parser.add_argument(
        "--until", type=int, help="stop at this step of the config's steps; run again to go on"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting (paths)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
    config = Config.load(arguments.config)
    if config.stage != arguments.stage:
        parser.error(f"{arguments.config} is for stage {config.stage!r}, not {arguments.stage!r}")
    for pair in arguments.set:
        key, _, value = pair.partition("=")
        config.settings[key] = value
    module, _, name = STAGES[config.stage].partition(":")
    stage = getattr(importlib.import_module(module), name)(config, torch.device(arguments.device))
    train(config, stage, arguments.out, arguments.until, say=lambda line: print(line, flush=True))


main()
