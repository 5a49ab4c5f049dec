"""Loading a released version, and assembling one from the weights of training runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import EDMEulerScheduler
from diffusers.utils import logging
from safetensors.torch import load_file, save_file

from reference_model.layout import GROUND_FEATURES, OBJECT_FEATURES
from reference_model.pipeline.modules import PainterModel, RefinerModel, TextModel, TracksModel
from reference_model.pipeline.pipeline import ReferenceVideoPipeline
from reference_model.release import VERSIONS, WEIGHTS, check, digests, manifest
from reference_model.strength import PAINTER_SIGMAS, REFINER_SIGMAS
from reference_model.text import Tokenizer

SHARED_NOISE, GUIDED_ABOVE, RELEASED_DRAFT_HIGH = 1.0, 15.0, 0.1
"""Settings of sampling that new versions are released with (see `ReferenceVideoPipeline`)."""


def load_pipeline(version: str = "v2", device: str = "cpu") -> ReferenceVideoPipeline:
    """A released version (or a folder of the same layout), after its files have been checked against its manifest.

    Raises:
        ValueError: no such version, or a file is not what the manifest says.
    """
    if version in VERSIONS:
        manifest(version)
        folder = WEIGHTS / version
    else:
        folder = Path(version)
        if not (folder / "manifest.json").exists():
            raise ValueError(
                f"{version!r} is neither a released version ({', '.join(VERSIONS)}) nor a folder with a manifest.json"
            )
    check(folder)
    logging.disable_progress_bar()
    # Modules draw initial weights before the files replace them; the caller's random state must not move.
    with torch.random.fork_rng(devices=[]):
        pipeline = ReferenceVideoPipeline.from_pretrained(
            folder, local_files_only=True, low_cpu_mem_usage=False
        )
    logging.enable_progress_bar()
    pipeline.set_progress_bar_config(disable=True)
    for model in pipeline.components.values():
        if isinstance(model, torch.nn.Module):
            for parameter in model.parameters():
                parameter.data = parameter.data.float()
    return pipeline.to(device)  # type: ignore[no-any-return]


def build(text: Path, tracks: Path, base: Path, refiner: Path | None) -> ReferenceVideoPipeline:
    """A pipeline from the weights files of training runs."""
    words = list(Tokenizer.of_world().words)
    state = load_file(text)
    encoder = {
        name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")
    }
    return ReferenceVideoPipeline(
        text_encoder=_fill(TextModel(words), encoder),
        tracks=_fill(TracksModel(), load_file(tracks)),
        base=_fill(PainterModel(), load_file(base)),
        refiner=None if refiner is None else _refiner(load_file(refiner)),
        tracks_scheduler=EDMEulerScheduler(sigma_min=0.02, sigma_max=20.0, sigma_data=1.0),
        base_scheduler=EDMEulerScheduler(
            sigma_min=PAINTER_SIGMAS[0], sigma_max=PAINTER_SIGMAS[1], sigma_data=0.5
        ),
        refiner_scheduler=EDMEulerScheduler(
            sigma_min=REFINER_SIGMAS[0], sigma_max=REFINER_SIGMAS[1], sigma_data=0.5
        ),
        shared_noise=SHARED_NOISE,
        guided_above=GUIDED_ABOVE,
        draft_high=RELEASED_DRAFT_HIGH,
    )


def _refiner(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """A refiner is told where objects are if it was trained so."""
    sizes = {"planes": ("slot.2.bias", OBJECT_FEATURES), "ground": ("floor.2.bias", GROUND_FEATURES)}
    told = {name: len(state[key]) // features for name, (key, features) in sizes.items() if key in state}
    return _fill(RefinerModel(**told), state)


def _fill(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    model.network.load_state_dict(state)
    return model.eval()


def save(pipeline: ReferenceVideoPipeline, folder: Path, note: dict[str, object]) -> None:
    """Writes a version's folder: parameters as float16 (loaded as float32), buffers as they are, and the manifest."""
    pipeline.save_pretrained(folder, safe_serialization=True)
    for name in ("text_encoder", "tracks", "base", "refiner"):
        model = getattr(pipeline, name)
        if model is None:
            continue
        parameters = {key for key, _ in model.named_parameters()}
        path = folder / name / "diffusion_pytorch_model.safetensors"
        state = {key: value.half() if key in parameters else value for key, value in load_file(path).items()}
        save_file(state, path, metadata={"format": "pt"})
    (folder / "README.md").unlink(missing_ok=True)
    content = {**note, "sha256": digests(folder)}
    (folder / "manifest.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def save_encoders(weights: Path, folder: Path, note: dict[str, object]) -> None:
    """Writes the judging encoders' folder: float16 parameters, vocabulary, manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in load_file(weights).items()
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    Tokenizer.of_world().save(folder / "tokenizer.json")
    content = {**note, "sha256": digests(folder)}
    (folder / "manifest.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Command line: assemble a version, or the encoders' folder, from training folders."""
    parser = argparse.ArgumentParser(
        prog="python -m reference_model.pipeline.release", description=main.__doc__
    )
    for name in ("text", "tracks", "base", "refiner", "encoders"):
        parser.add_argument(f"--{name}", type=Path, help="model.safetensors of the run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--note", default="", help="one line on what was trained for how long")
    chosen = parser.parse_args()
    note: dict[str, object] = {"version": chosen.out.name, "licence": "Apache-2.0", "trained": chosen.note}
    if chosen.encoders is not None:
        save_encoders(chosen.encoders, chosen.out, note)
    elif None in (chosen.text, chosen.tracks, chosen.base):
        parser.error("--text, --tracks and --base are needed (or --encoders alone)")
    else:
        save(build(chosen.text, chosen.tracks, chosen.base, chosen.refiner), chosen.out, note)


if __name__ == "__main__":
    main()
