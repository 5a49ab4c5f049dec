"""What a run is going to make: every clip, with its seed, before anything is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError, RunError
from evalkit.models.protocol import GenerationRequest, ModelInfo
from evalkit.runs.files import write_json
from evalkit.runs.keys import digest
from evalkit.suites.prompt import FrozenMapping, Prompt, Suite, thaw

__all__ = [
    "PLAN",
    "Plan",
    "PlannedClip",
    "batches",
    "clip_seed",
    "open_plan",
    "plan_generation",
    "write_plan",
]

PLAN = "plan.json"
_SHAPE = ("num_frames", "height", "width", "fps")


@dataclass(frozen=True, slots=True)
class PlannedClip:
    """One clip of a run: to be generated, or found in a folder.

    Args:
        prompt_id, category, group, sample_index: where it belongs; unique together.
        seed: None for a clip that already exists.
        request: None for a clip that already exists.
        path: the original file of a clip that already exists; None when it has to be generated or is missing.
        problem: why there is no usable clip, known before anything runs (a prompt without a clip).
    """

    prompt_id: str
    category: str
    group: str
    sample_index: int
    seed: int | None = None
    request: GenerationRequest | None = None
    path: str | None = None
    problem: str | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies the clip within its run."""
        return self.prompt_id, self.group, self.sample_index


@dataclass(frozen=True, slots=True)
class Plan:
    """The clips of a run in the order in which tables list them.

    Args:
        kind: `run`, `generate` or `score`.
        suite: the prompts.
        model: who makes or made the clips.
        settings: what was asked for, JSON values only; shown in reports and compared between runs.
        clips: every planned clip.
        kept_id: the run's id where the plan was read back from a finished run, whose requests are not kept.
    """

    kind: str
    suite: Suite
    model: ModelInfo
    settings: Mapping[str, Any]
    clips: tuple[PlannedClip, ...]
    kept_id: str | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """Everything that makes this plan this plan, as JSON values."""
        return {
            "suite": self.suite.digest,
            "model": {
                "id": self.model.id,
                "revision": self.model.revision,
                "weights": thaw(self.model.weights),
                "config": thaw(self.model.config),
            },
            "settings": thaw(self.settings),
            "clips": [
                [
                    clip.prompt_id,
                    clip.group,
                    clip.sample_index,
                    clip.seed,
                    clip.path,
                    [str(getattr(clip.request, name)) for name in _SHAPE] if clip.request else None,
                ]
                for clip in self.clips
            ],
        }

    @property
    def run_id(self) -> str:
        """Content key of the plan: the same command gives the same id."""
        return self.kept_id or digest(self.summary)


def clip_seed(base: int, prompt_id: str, sample_index: int) -> int:
    """Seed of one clip: independent between prompts, equal for two models run with the same base seed.

    Prompts must not share noise, or their scores would not be independent of each other.

    >>> clip_seed(0, "red-ball", 0) == clip_seed(0, "red-ball", 0) != clip_seed(0, "red-ball", 1)
    True
    """
    name = f"{base}/{sample_index}/{prompt_id}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "big") >> 1


def plan_generation(
    suite: Suite,
    model: ModelInfo,
    *,
    samples: int = 1,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    kind: str = "run",
) -> Plan:
    """Plan `samples` clips of every prompt.

    The shape and the parameters of a clip come from `overrides` (the command line), else from the prompt's
    `params`, else from the model's defaults. A prompt with `params.seed` has that seed for its first sample.

    Raises:
        EvalkitError: samples or shape are not positive, or the model has no default and none was given.
    """
    if samples < 1:
        raise EvalkitError(f"--samples must be at least 1, got {samples}")
    overrides = dict(overrides or {})
    clips = [
        PlannedClip(prompt.id, prompt.category, "", request.sample_index, request.seed, request)
        for prompt in suite.prompts
        for request in _requests(prompt, model, overrides, samples, seed)
    ]
    settings = {"samples": samples, "seed": seed, "overrides": overrides}
    return Plan(kind, suite, model, FrozenMapping(settings), tuple(clips))


def _requests(
    prompt: Prompt, model: ModelInfo, overrides: Mapping[str, Any], samples: int, seed: int
) -> Iterator[GenerationRequest]:
    params = {**model.defaults, **thaw(prompt.params), **overrides}
    pinned = params.pop("seed", None)  # a regression case names the very seed that failed
    shape = _shape(prompt, params)
    rest = FrozenMapping((name, value) for name, value in params.items() if name not in _SHAPE)
    for index in range(samples):
        yield GenerationRequest(
            prompt=prompt.text,
            negative_prompt=prompt.negative,
            seed=clip_seed(seed, prompt.id, index) if pinned is None or index else int(pinned),
            params=rest,
            expect=prompt.expect,
            prompt_id=prompt.id,
            sample_index=index,
            **shape,
        )


def _shape(prompt: Prompt, params: Mapping[str, Any]) -> dict[str, Any]:
    missing = [name for name in _SHAPE if name not in params]
    if missing:
        raise EvalkitError(
            f"prompt {prompt.id!r}: the model has no default for {', '.join(missing)}; "
            f"give {' '.join('--' + name.replace('_', '-') for name in missing)}"
        )
    shape: dict[str, Any] = {}
    for name in _SHAPE:
        try:
            value = Fraction(str(params[name])) if name == "fps" else int(params[name])
        except (ValueError, ZeroDivisionError) as error:
            raise EvalkitError(f"prompt {prompt.id!r}: {name} is not a number: {params[name]!r}") from error
        if value <= 0:
            raise EvalkitError(f"prompt {prompt.id!r}: {name} must be positive, got {value}")
        shape[name] = value
    return shape


def write_plan(folder: Path, plan: Plan) -> None:
    """Write `plan.json`, or check that the folder was planned the same way.

    Raises:
        RunError: the folder holds another run; the message says in what they differ.
    """
    path = folder / PLAN
    if not path.exists():
        if (folder / "manifest.json").exists():
            raise RunError(f"{folder} holds a run without {PLAN}; choose another --out")
        write_json(path, {"run_id": plan.run_id, **plan.summary})
        return
    before = open_plan(folder)
    if before["run_id"] == plan.run_id:
        return
    after = plan.summary
    names = [name for name in after if before.get(name) != after[name]]
    details = [
        f"{name}: {_short(before.get(name))} there, {_short(after[name])} now"
        for name in names
        if name != "clips"
    ] or ["the list of clips"]
    raise RunError(
        f"{folder} holds another run, made with other inputs ({'; '.join(details)}); "
        "choose another --out, or delete the folder if it is not needed any more"
    )


def open_plan(folder: Path) -> dict[str, Any]:
    """Read `plan.json`.

    Raises:
        RunError: missing or damaged.
    """
    path = folder / PLAN
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} is missing or damaged ({error}); delete the folder and run the command again"
        ) from error
    return content


def _short(value: Any, limit: int = 120) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def batches(clips: Sequence[PlannedClip], size: int) -> list[tuple[PlannedClip, ...]]:
    """Cut the plan into batches that never depend on what is already finished."""
    return [tuple(clips[start : start + size]) for start in range(0, len(clips), max(1, size))]
