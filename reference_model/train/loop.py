"""One training loop for every stage: seeded by step, resumable to the bit, logged, with an average of the weights.

Every step draws its own generators from (seed, step), so a run that was cut off and resumed gives the same weights as
one that was not, and `--until N` of a longer run is the first N steps of it. Nothing here knows what a stage learns.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from reference_model.diffusion import denormals_flushed


@dataclass(frozen=True)
class Config:
    """What a YAML file in `configs/` holds. `decay` is the last fraction of the steps, over which the rate falls to 0."""

    stage: str
    steps: int
    batch: int
    learning_rate: float = 1e-3
    warmup: int = 200
    decay: float = 0.3
    weight_decay: float = 0.01
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    log_every: int = 50
    probe_every: int = 1000
    save_every: int = 500
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Config:
        """From YAML; an unknown key is an error that names it."""
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        unknown = sorted(set(data) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(
                f"{path}: unknown key {unknown[0]!r}; known keys: {', '.join(cls.__dataclass_fields__)}"
            )
        return cls(**data)


class Stage(Protocol):
    """What a stage gives to the loop."""

    def build(self) -> nn.Module:
        """The module to train, already on its device."""

    def loss(self, module: nn.Module, draw: Draw) -> Tensor:
        """Mean loss of one batch, drawn from `draw` alone."""

    def probe(self, module: nn.Module, folder: Path, step: int) -> dict[str, float]:
        """Figures for the log (and sheets into the folder), from the averaged weights."""


@dataclass(frozen=True)
class Draw:
    """The randomness of one step: Python's for scenes and captions, torch's for noise; always on the CPU."""

    scenes: random.Random
    noise: torch.Generator

    @classmethod
    def of(cls, seed: int, step: int, purpose: str = "train") -> Draw:
        """Generators that depend on seed, step and purpose only."""
        key = int.from_bytes(
            hashlib.blake2b(f"{purpose}/{seed}/{step}".encode(), digest_size=7).digest(), "big"
        )
        return cls(random.Random(key), torch.Generator().manual_seed(key))


def learning_rate(config: Config, step: int) -> float:
    """Linear warm-up, constant, then linear to zero over the last `decay` of the steps."""
    start = config.steps * (1 - config.decay)
    fall = 1.0 if step < start else max(0.0, (config.steps - step) / max(config.steps - start, 1))
    return config.learning_rate * min(1.0, (step + 1) / config.warmup) * fall


# Moments of weights whose gradient is zero decay into denormal numbers, which made steps on a CPU six times slower.
@denormals_flushed()
def train(
    config: Config, stage: Stage, folder: Path, until: int | None = None, say: Callable[[str], None] = print
) -> Path:
    """Trains (or resumes) in `folder`; returns the file of the averaged weights.

    Writes `checkpoint.pt` (everything needed to resume), `model.safetensors` (average of the weights), `log.jsonl`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    module = stage.build()
    average = {name: value.detach().clone() for name, value in module.state_dict().items()}
    optimiser = torch.optim.AdamW(
        [p for p in module.parameters() if p.requires_grad],
        lr=config.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=config.weight_decay,
    )
    step, seconds = 0, 0.0
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(saved["module"])
        average = saved["average"]
        optimiser.load_state_dict(saved["optimiser"])
        step, seconds = saved["step"], saved["seconds"]
        say(f"resumed at step {step}")
    last = config.steps if until is None else min(until, config.steps)
    started, window = time.monotonic() - seconds, []
    while step < last:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        module.train()
        loss = stage.loss(module, Draw.of(config.seed, step))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(module.parameters(), config.clip)
        if not bool(torch.isfinite(norm)):
            raise FloatingPointError(
                f"{folder}: gradient not finite at step {step}; lower learning_rate and resume"
            )
        optimiser.step()
        step += 1
        keep = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in module.state_dict().items():
                if value.dtype.is_floating_point:
                    average[name].lerp_(value, 1 - keep)
                else:
                    average[name].copy_(value)
        window.append(float(loss.detach()))
        if step % config.log_every == 0 or step == last:
            row = {
                "step": step,
                "loss": sum(window) / len(window),
                "seconds": round(time.monotonic() - started, 1),
            }
            window = []
            _log(folder, row, say)
        if step % config.probe_every == 0 or step == last:
            _log(folder, {"step": step, "probe": _probe(stage, module, average, folder, step)}, say)
        if step % config.save_every == 0 or step == last:
            _save(folder, module, average, optimiser, step, time.monotonic() - started)
    return folder / "model.safetensors"


def _probe(
    stage: Stage, module: nn.Module, average: dict[str, Tensor], folder: Path, step: int
) -> dict[str, float]:
    raw = {name: value.detach().clone() for name, value in module.state_dict().items()}
    module.load_state_dict(average)
    module.eval()
    with torch.no_grad():
        figures = stage.probe(module, folder, step)
    module.load_state_dict(raw)
    return {name: round(float(value), 4) for name, value in figures.items()}


def _log(folder: Path, row: dict[str, Any], say: Callable[[str], None]) -> None:
    line = json.dumps(row)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    say(line)


def _save(
    folder: Path,
    module: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    step: int,
    seconds: float,
) -> None:
    state = {
        "module": module.state_dict(),
        "average": average,
        "optimiser": optimiser.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    partial = folder / "checkpoint.partial"
    torch.save(state, partial)
    partial.replace(folder / "checkpoint.pt")
    save_file({name: value.contiguous().cpu() for name, value in average.items()}, folder / "model.partial")
    (folder / "model.partial").replace(folder / "model.safetensors")
