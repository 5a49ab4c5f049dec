"""The conformance suite for metrics, for a plugin's own tests.

from evalkit.testing.metrics import check_metric

def test_my_metric():
    check_metric(MyMetric)
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import numpy as np
import torch

from evalkit.features.compute import FeaturePlan, ScoredClip, score_clip, vector_of
from evalkit.features.protocol import ClipRecord
from evalkit.metrics.spec import ClipMetric, MetricSpec, SetMetric
from evalkit.suites.prompt import Prompt
from evalkit.video import Video

__all__ = ["MetricReport", "check_metric", "sample_clips"]


@dataclass(frozen=True)
class MetricReport:
    """What was checked.

    Args:
        spec: card of the metric.
        checks: rules that hold.
        notes: rules that could not be checked, and why.
    """

    spec: MetricSpec
    checks: tuple[str, ...]
    notes: tuple[str, ...]


def sample_clips(num_frames: int = 18, size: int = 64) -> list[Video]:
    """Clips that metrics must survive: a gliding texture, another one, a still one, and noise."""
    clips = []
    for seed in (0, 1):
        generator = np.random.default_rng(seed)
        world = generator.integers(
            0, 256, (size // 4 + num_frames, size // 4 + num_frames, 3), dtype=np.uint8
        )
        world = world.repeat(4, 0).repeat(4, 1)
        frames = [world[t : t + size, 2 * t : 2 * t + size] for t in range(num_frames)]
        clips.append(Video(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous(), Fraction(8)))
    clips.append(Video(clips[0].frames[:1].repeat(num_frames, 1, 1, 1), Fraction(8)))
    noise = torch.randint(
        0, 256, (num_frames, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return [*clips, Video(noise, Fraction(8))]


def check_metric(
    make: Callable[[], ClipMetric | SetMetric],
    clips: Sequence[Video] | None = None,
    *,
    prompt: Prompt | None = None,
    may_be_skipped: bool = False,
) -> MetricReport:
    """Check that a metric honours the contract.

    Args:
        make: constructs the metric; called several times.
        clips: at least two clips that it can score; textures, a still clip and noise where left out.
        prompt: the clips' prompt, for metrics that read one.
        may_be_skipped: whether missing weights are fine; without it at least one clip must get a value.

    Raises:
        AssertionError: the first rule that does not hold, with what was seen.
    """
    metric = make()
    _check_identity(make, metric)
    checks, notes = ["card is complete", "parameters are JSON scalars and make the same metric again"], []
    plan = FeaturePlan([metric])
    states = _random_states()
    wanted = list(clips) if clips is not None else sample_clips()
    texts = plan.text_features([prompt.text, "something else"]) if prompt is not None else None
    if hasattr(metric, "vector"):
        checks += _check_set(cast(SetMetric, metric), plan, wanted)
    else:
        scored = []
        for clip in wanted:
            features = plan.clip_features(clip, _record(clip, prompt), texts)
            first, again = (score_clip(metric, features) for _ in range(2))
            assert first[:4] == again[:4], f"scored twice, the same clip gives {first[:3]} and {again[:3]}"
            _check_score(metric.spec, clip, first)
            scored.append(first)
        if not any(item.status == "ok" for item in scored):
            reasons = sorted({f"{item.status}: {item.reason}" for item in scored})
            assert may_be_skipped, f"no clip got a value ({'; '.join(reasons)})"
            notes.append(f"values were not checked: {reasons[0]}")
        checks += ["scores are repeatable, finite and in range", "series has one value a frame or transition"]
        checks.append(_check_short(metric, plan, wanted[0], prompt))
    assert states == _random_states(), (
        "the metric used a global random number generator (random, numpy or torch); make one from the seed"
    )
    checks.append("global generators are untouched")
    return MetricReport(metric.spec, tuple(checks), tuple(notes))


def _record(clip: Video, prompt: Prompt | None) -> ClipRecord:
    height, width = clip.frames.shape[-2:]
    return ClipRecord(
        prompt, clip.num_frames, height, width, clip.fps, seconds=1.5, peak_memory_bytes=2**20, seed=0
    )


def _check_identity(make: Callable[[], ClipMetric | SetMetric], metric: ClipMetric | SetMetric) -> None:
    spec = metric.spec
    assert "." in spec.id, f"id {spec.id!r} has no group; write group.name"
    for name in ("version", "title", "description", "formula"):
        assert getattr(spec, name), f"{spec.id}: spec.{name} is empty"
    assert spec.direction in ("higher", "lower"), f"{spec.id}: direction is {spec.direction!r}"
    assert spec.series in ("frame", "transition", "none"), f"{spec.id}: series is {spec.series!r}"
    low, high = spec.range
    assert low is None or high is None or low < high, f"{spec.id}: range {spec.range} is empty"
    for key, value in metric.params.items():
        assert value is None or isinstance(value, str | int | float | bool), (
            f"{spec.id}: parameter {key} is a {type(value).__name__}; keys need JSON scalars"
        )
    other = make()
    assert dict(other.params) == dict(metric.params), f"{spec.id}: two instances have other parameters"
    assert other.requires() == metric.requires(), f"{spec.id}: two instances require other features"


def _check_score(spec: MetricSpec, clip: Video, score: ScoredClip) -> None:
    assert score.status in ("ok", "skipped", "not_applicable"), f"{spec.id} failed: {score.reason}"
    if score.status != "ok":
        assert score.reason, f"{spec.id}: status {score.status} without a reason"
        assert score.value is None, f"{spec.id}: status {score.status} with a value"
        return
    assert score.value is not None
    low, high = spec.range
    slack = 1e-9 * max(1.0, abs(score.value))
    inside = (low is None or score.value >= low - slack) and (high is None or score.value <= high + slack)
    assert inside, f"{spec.id}: {score.value} lies outside its range {spec.range}"
    if score.series is not None:
        assert spec.series != "none", f"{spec.id}: has a series that its card does not announce"
        expected = clip.num_frames - (spec.series == "transition")
        assert len(score.series) == expected, (
            f"{spec.id}: series has {len(score.series)} values for {clip.num_frames} frames; a series of "
            f"{spec.series}s has {expected}"
        )


def _check_short(metric: ClipMetric, plan: FeaturePlan, clip: Video, prompt: Prompt | None) -> str:
    single = Video(clip.frames[:1], clip.fps)
    texts = plan.text_features([prompt.text, "something else"]) if prompt is not None else None
    score = score_clip(metric, plan.clip_features(single, _record(single, prompt), texts))
    _check_score(metric.spec, single, score)
    if metric.spec.min_frames > 1:
        assert score.status == "not_applicable" or score.status == "skipped", (
            f"{metric.spec.id}: needs {metric.spec.min_frames} frames but scores a clip of one"
        )
    return "a clip of one frame gets a value or a reason"


def _check_set(metric: SetMetric, plan: FeaturePlan, clips: Sequence[Video]) -> list[str]:
    for clip in clips:
        vector = vector_of(metric, plan.clip_features(clip, _record(clip, None)))
        assert vector.status in ("ok", "skipped", "not_applicable"), (
            f"{metric.spec.id} failed: {vector.reason}"
        )
    if hasattr(metric, "score_prompts"):
        return _check_prompts(metric)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 60, 4, generator=generator)
    first, again = (metric.score(rows[0], rows[1], seed=3) for _ in range(2))
    assert first == again, f"{metric.spec.id}: scored twice with one seed, it gives {first} and {again}"
    assert math.isfinite(first.value), f"{metric.spec.id}: {first.value} is not finite"
    order = torch.randperm(60, generator=generator)
    shuffled = metric.score(rows[0][order], rows[1], seed=3).value
    assert math.isclose(shuffled, first.value, rel_tol=1e-9, abs_tol=1e-9), (
        f"{metric.spec.id}: the order of clips changes {first.value} to {shuffled}"
    )
    far = metric.score(rows[0] + 4.0, rows[1], seed=3).value
    worse = far > first.value if metric.spec.direction == "lower" else far < first.value
    assert worse, f"{metric.spec.id}: far sets score {far}, near ones {first.value}"
    assert first.protocol, f"{metric.spec.id}: no protocol string"
    return [
        "rows or a reason for every clip",
        "repeatable",
        "order of clips does not count",
        "far is worse than near",
    ]


def _check_prompts(metric: Any) -> list[str]:
    """A set metric without a reference: the mean of a value a prompt."""
    rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) + 4
    prompts = [f"prompt {place % 12}" for place in range(60)]
    first = metric.score_prompts(rows, prompts)
    assert first == metric.score_prompts(rows, prompts), f"{metric.spec.id}: scored twice, it differs"
    assert math.isfinite(first.value), f"{metric.spec.id}: {first.value} is not finite"
    shuffled = metric.score_prompts(rows.flip(0), prompts[::-1]).value
    assert math.isclose(shuffled, first.value, rel_tol=1e-9, abs_tol=1e-9), (
        f"{metric.spec.id}: the order of clips changes {first.value} to {shuffled}"
    )
    _, values = metric.per_prompt(rows, prompts)
    assert math.isclose(sum(values) / len(values), first.value, rel_tol=1e-9, abs_tol=1e-9), (
        f"{metric.spec.id}: {first.value} is not the mean over prompts"
    )
    assert first.protocol, f"{metric.spec.id}: no protocol string"
    return [
        "rows or a reason for every clip",
        "repeatable",
        "order of clips does not count",
        "mean over prompts",
    ]


def _random_states() -> tuple[object, ...]:
    state = np.random.get_state(legacy=False)  # noqa: NPY002  (the global state is what must not move)
    return random.getstate(), str(state), torch.random.get_rng_state().numpy().tobytes()
