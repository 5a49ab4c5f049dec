"""Regression cases: a failure that was seen once, as a prompt, seeds, a detector and a limit.

One YAML file a case, written by `evalkit failures promote` and kept in `regressions/`:

    schema: evalkit.case/v1
    id: flickering-wall
    report: 01ARYZ6S410000000000000000
    state: open
    category: temporal.flicker
    summary: The wall behind the speaker pulses.
    prompt:
      text: a person speaks in front of a white wall
      params: {num_frames: 16, height: 64, width: 64, fps: 8}
    seeds: [7, 8, 9]
    must_pass: 2
    detector:
      metric: temporal.flicker
      window: [4, 11]
      statistic: mean
      max: 0.02

`open`: not mended yet, so it is expected to fail, and a pass is announced. `fixed`: at least `must_pass` of the seeds
must stay within the limit; `evalkit gate` sees to it (check kind `cases`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from evalkit.suites.prompt import FrozenMapping, Prompt, Suite

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CASE_SCHEMA",
    "Case",
    "CaseResult",
    "Detector",
    "SeedResult",
    "check_case",
    "check_cases",
    "prompt_id",
    "to_suite",
    "window_value",
]

CASE_SCHEMA = "evalkit.case/v1"
State = Literal["open", "fixed"]
Outcome = Literal["passed", "failed", "expected_failure", "unexpected_pass", "missing"]


@dataclass(frozen=True, slots=True)
class Detector:
    """What tells whether a clip still fails.

    Args:
        metric: id of a clip metric.
        window: first and last frame, both included, that are judged; None judges the clip's value.
        statistic: how the metric's series becomes one number inside the window.
        min, max: the clip passes at or above `min`, and at or below `max`; one of them is given.
    """

    metric: str
    window: tuple[int, int] | None = None
    statistic: Literal["mean", "max", "min"] = "mean"
    min: float | None = None
    max: float | None = None

    def passes(self, value: float) -> bool:
        """Whether a value is within the limit."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    @property
    def limit(self) -> str:
        """The limit in words: `at most 0.02`."""
        return f"at least {self.min:g}" if self.min is not None else f"at most {self.max:g}"


@dataclass(frozen=True, slots=True)
class Case:
    """One regression case.

    Args:
        id: names the file and the prompts of the suite.
        report: id of the failure report that it was promoted from, or "".
        state: `open` (expected to fail) or `fixed` (must pass).
        category: leaf of the failure taxonomy.
        text, negative, params, expect: the prompt as it failed.
        seeds: the seeds to make clips with.
        must_pass: how many seeds must stay within the limit while `fixed`.
        detector: what judges a clip.
        summary: one line for people.
        model: model and version that failed, for people.
        source: the file.
    """

    id: str
    state: State
    category: str
    text: str
    seeds: tuple[int, ...]
    must_pass: int
    detector: Detector
    negative: str = ""
    params: Mapping[str, Any] = field(default_factory=FrozenMapping)
    expect: Mapping[str, Any] = field(default_factory=FrozenMapping)
    report: str = ""
    summary: str = ""
    model: str = ""
    source: str = ""


class SeedResult(NamedTuple):
    """One seed of a case: `passed` is None where there is no evidence, and `reason` says why."""

    seed: int
    value: float | None
    passed: bool | None
    reason: str = ""


class CaseResult(NamedTuple):
    """A case judged on the tables of a run.

    `passed`: fixed and stays fixed. `failed`: fixed and fails again. `expected_failure`: open and fails.
    `unexpected_pass`: open and passes, so somebody may declare it fixed. `missing`: the evidence does not decide.
    """

    case: Case
    outcome: Outcome
    seeds: tuple[SeedResult, ...]

    @property
    def message(self) -> str:
        """One sentence for logs and reports."""
        case, held = self.case, sum(entry.passed is True for entry in self.seeds)
        counted = (
            f"{held} of {len(self.seeds)} seeds keep {case.detector.metric} {case.detector.limit}"
            f" ({case.must_pass} needed)"
        )
        said = {
            "passed": f"case {case.id} stays fixed: {counted}",
            "failed": f"case {case.id} fails again: {counted}",
            "expected_failure": f"case {case.id} is open and fails as expected: {counted}",
            "unexpected_pass": f"case {case.id} is open but passes: {counted}; set `state: fixed` in {case.source}",
            "missing": f"case {case.id} cannot be judged: {self._why()}",
        }
        return said[self.outcome]

    def _why(self) -> str:
        reasons = dict.fromkeys(
            f"seed {entry.seed}: {entry.reason}" for entry in self.seeds if entry.passed is None
        )
        return "; ".join(reasons)


def prompt_id(case: Case, seed: int) -> str:
    """Id of the prompt that stands for one seed of a case in a suite."""
    return f"{case.id}.seed-{seed}"


def to_suite(cases: Sequence[Case], name: str = "regressions") -> Suite:
    """A suite with one prompt for every case and seed; `params.seed` pins the seed of its first sample."""
    prompts = [
        Prompt(
            id=prompt_id(case, seed),
            text=case.text,
            category=case.category,
            tags=(case.category,),
            negative=case.negative,
            params={**case.params, "seed": seed},
            expect=case.expect,
            notes=case.summary,
        )
        for case in cases
        for seed in case.seeds
    ]
    return Suite(
        name, "1", "LicenseRef-as-reported", "Failures that were reported once.", tuple(prompts), name
    )


def check_cases(scores: pd.DataFrame, series: pd.DataFrame, cases: Iterable[Case]) -> list[CaseResult]:
    """Judge every case on the `scores` and `series` tables of a run over `to_suite(cases)`."""
    return [check_case(scores, series, case) for case in cases]


def check_case(scores: pd.DataFrame, series: pd.DataFrame, case: Case) -> CaseResult:
    """Judge one case.

    A seed whose generation failed has not passed. A seed without a score (metric skipped, clip not in the run) is no
    evidence either way; where such seeds could turn the outcome, it is `missing`.
    """
    seeds = tuple(_check_seed(scores, series, case, seed) for seed in case.seeds)
    held = sum(entry.passed is True for entry in seeds)
    unknown = sum(entry.passed is None for entry in seeds)
    if held >= case.must_pass:
        outcome: Outcome = "passed" if case.state == "fixed" else "unexpected_pass"
    elif held + unknown < case.must_pass:
        outcome = "failed" if case.state == "fixed" else "expected_failure"
    else:
        outcome = "missing"
    return CaseResult(case, outcome, seeds)


def _check_seed(scores: pd.DataFrame, series: pd.DataFrame, case: Case, seed: int) -> SeedResult:
    name, metric = prompt_id(case, seed), case.detector.metric
    rows = scores[(scores["prompt_id"] == name) & (scores["sample_index"] == 0)]
    if rows.empty:
        return SeedResult(seed, None, None, f"the run has no prompt {name}; run it with --suite regressions/")
    ran = rows["seed"].iloc[0]
    if ran != seed:
        return SeedResult(seed, None, None, f"prompt {name} was made with seed {ran}")
    rows = rows[rows["metric_id"] == metric]
    if rows.empty:
        return SeedResult(seed, None, None, f"the run was not scored with {metric}; add it to --metrics")
    row = rows.iloc[0]
    if row["status"] == "generation_failed":
        return SeedResult(seed, None, False, f"generation failed: {row['reason']}")
    if row["status"] != "ok":
        return SeedResult(seed, None, None, f"{metric} is {row['status']}: {row['reason']}")
    value = float(row["value"])
    if case.detector.window is not None:
        found = series[
            (series["clip_id"] == row["clip_id"])
            & (series["metric_id"] == metric)
            & (series["prompt_id"] == name)
            & (series["sample_index"] == 0)
        ]
        if found.empty:
            return SeedResult(seed, None, None, f"{metric} has no course over time; drop the window")
        inside = window_value(
            found["values"].iloc[0], found["kind"].iloc[0], case.detector.window, case.detector.statistic
        )
        if inside is None:
            return SeedResult(seed, None, None, f"the clip ends before frame {case.detector.window[0]}")
        value = inside
    return SeedResult(seed, value, case.detector.passes(value))


def window_value(
    values: Iterable[float], kind: str, window: tuple[int, int], statistic: str = "mean"
) -> float | None:
    """A metric's series inside a window of frames, as one number.

    Args:
        values: one value a frame, or one a transition (value t lies between frames t and t + 1).
        kind: `frame` or `transition`.
        window: first and last frame, both included.
        statistic: `mean`, `max` or `min`.

    Returns:
        None where the window lies beyond the clip. A window of one frame takes the transitions into and out of it.

    >>> window_value([0.0, 4.0, 0.0], "transition", (1, 2))
    4.0
    """
    first, last = window
    if kind == "transition":
        first, last = (first - 1, last) if first == last else (first, last - 1)
    inside = [float(value) for value in values][max(first, 0) : last + 1]
    inside = [value for value in inside if math.isfinite(value)]
    if not inside:
        return None
    return {"mean": sum(inside) / len(inside), "max": max(inside), "min": min(inside)}[statistic]
