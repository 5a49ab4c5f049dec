"""What a gate judges: the candidate, the baseline, and the rows of one check."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from evalkit.compare.check import metric_obstacle, set_obstacle, suite_obstacle
from evalkit.compare.clips import paired_changes
from evalkit.gate.policy import Defaults, Slice
from evalkit.gate.verdict import Example
from evalkit.runs.manifest import MetricRecord
from evalkit.runs.store import Run
from evalkit.stats.looks import look_levels, prompt_order
from evalkit.stats.pairing import Outcome, impute_worst

__all__ = ["Evidence", "Look", "Missing", "Rows"]


class Missing(Exception):
    """A check cannot be judged; the message becomes the reason of INVALID."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look of a planned sequence: `number` of `total`, on `prompts` of the suite, at error `alpha`."""

    number: int
    total: int
    prompts: frozenset[str]
    alpha: float


@dataclass(frozen=True, slots=True)
class Rows:
    """The clips of one check, each with a value.

    Attributes:
        table: `prompt_id`, `value` (candidate), and for pairs `value_a`, `value_b`, `change` (oriented).
        missing: clips without a value that were given the worst score.
        examples: worst clips, and missing ones.
    """

    table: pd.DataFrame
    missing: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Evidence:
    """Candidate and baseline of a gate.

    Attributes:
        candidate: the run to judge.
        baseline: what it is held against; None if no check needs one.
        cases_run: run over the regression cases; the candidate itself where none is given.
        defaults: of the policy.
        looks: of the policy.
    """

    candidate: Run
    baseline: Run | None
    cases_run: Run
    defaults: Defaults
    looks: tuple[float, ...] = ()
    locked_margins: dict[str, float] = field(default_factory=dict)

    @cached_property
    def look(self) -> Look | None:
        """The planned look that the candidate's prompts belong to; None without a plan or outside of it."""
        if not self.looks or self.baseline is None:
            return None
        theirs, ours = self.baseline.suite.by_id, self.candidate.suite.by_id
        order = prompt_order(theirs, self.baseline.manifest.suite.digest)
        for number, share in enumerate(self.looks, 1):
            chosen = order[: math.ceil(share * len(order))]
            same = set(chosen) == set(ours) and all(ours[p].digest == theirs[p].digest for p in chosen)
            if same:
                alpha = look_levels(self.looks, self.defaults.alpha)[number - 1]
                return Look(number, len(self.looks), frozenset(chosen), alpha)
        return None

    @property
    def alpha(self) -> float:
        """One-sided error of every bound, at this look."""
        return self.defaults.alpha if self.look is None else self.look.alpha

    @cached_property
    def suite_problem(self) -> str:
        """Why candidate and baseline ran other prompts, or ""."""
        if self.baseline is None or self.look is not None:
            return ""
        return suite_obstacle(self.baseline, self.candidate)

    def record(self, metric: str) -> MetricRecord:
        """The metric as the candidate ran it.

        Raises:
            Missing: it did not.
        """
        return _record(self.candidate, metric, "candidate")

    def _inside(self, part: Slice | None, run: Run) -> set[str]:
        prompts = run.suite.prompts
        if part is None:
            chosen = {prompt.id for prompt in prompts}
        elif part.kind == "category":
            chosen = {prompt.id for prompt in prompts if prompt.category == part.name}
        else:
            chosen = {prompt.id for prompt in prompts if part.name in prompt.tags}
        if part is not None and not chosen:
            raise Missing(f"no prompt of the suite has the {part.kind} {part.name!r}")
        return chosen if self.look is None else chosen & self.look.prompts

    def require_baseline(self, metric: str) -> Run:
        """The baseline, if this metric can be compared with it.

        Raises:
            Missing: says what is in the way.
        """
        baseline = self.baseline
        if baseline is None:
            raise Missing("there is no baseline")
        if self.suite_problem:
            raise Missing(self.suite_problem)
        first, second = _record(baseline, metric, "baseline"), self.record(metric)
        text = metric_obstacle(first, second)
        if not text and first.kind == "set":
            text = set_obstacle(baseline, self.candidate, metric)
        if text:
            raise Missing(text)
        return baseline

    def paired(self, metric: str, part: Slice | None) -> Rows:
        """Pairs of baseline and candidate.

        Raises:
            Missing: not comparable, or more clips without a value than the policy tolerates.
        """
        baseline, record = self.require_baseline(metric), self.record(metric)
        pairs = paired_changes(baseline, self.candidate, [record])
        pairs = pairs[pairs["prompt_id"].isin(self._inside(part, baseline))]
        usable = pairs[pairs["outcome"] != Outcome.NOT_APPLICABLE.value]
        lost = usable[usable["outcome"] != Outcome.PAIRED.value]
        self._tolerate(usable, lost, metric)
        if len(lost):
            higher = record.direction == "higher"
            usable = impute_worst(usable, higher, record.range[0] if higher else record.range[1])
            if usable.empty:
                raise Missing(f"no clip has a value of {metric} in either run")
            sign = 1.0 if higher else -1.0
            usable = usable.assign(change=sign * (usable["value_b"] - usable["value_a"]))
        worst = usable.nsmallest(5, "change")
        return Rows(usable, len(lost), _examples(worst))

    def single(self, metric: str, part: Slice | None) -> Rows:
        """Clips of the candidate alone; `value` is in the metric's own direction.

        Raises:
            Missing: as for `paired`.
        """
        record = self.record(metric)
        rows = self.candidate.scores[self.candidate.scores["metric_id"] == metric]
        rows = rows[rows["prompt_id"].isin(self._inside(part, self.candidate))]
        usable = rows[rows["status"] != "not_applicable"]
        lost = usable[usable["status"] != "ok"]
        self._tolerate(usable, lost.assign(reason_b=lost["reason"], reason_a=None), metric)
        higher = record.direction == "higher"
        if len(lost):
            bound = record.range[0] if higher else record.range[1]
            observed = usable["value"].dropna()
            if bound is None and observed.empty:
                raise Missing(f"no clip has a value of {metric}")
            worst_value = bound if bound is not None else (observed.min() if higher else observed.max())
            usable = usable.assign(value=usable["value"].fillna(worst_value))
        worst = usable.nsmallest(5, "value") if higher else usable.nlargest(5, "value")
        shown = worst.assign(
            value_a=float("nan"), value_b=worst["value"], seed_b=worst["seed"], clip_id_b=worst["clip_id"],
            reason_b=worst["reason"],
        )  # fmt: skip
        return Rows(usable, len(lost), _examples(shown))

    def _tolerate(self, usable: pd.DataFrame, lost: pd.DataFrame, metric: str) -> None:
        if usable.empty:
            raise Missing(f"{metric} does not apply to any of these clips")
        if len(lost) <= self.defaults.max_failed_clips or self.defaults.failed_clips == "worst_case":
            return
        first = lost.iloc[0]
        reasons = [first[name] for name in ("reason_b", "reason_a") if isinstance(first[name], str)]
        raise Missing(
            f"{len(lost)} of {len(usable)} clips have no value of {metric}, {self.defaults.max_failed_clips} are "
            f"tolerated; the first is prompt {first['prompt_id']!r}, sample {first['sample_index']}: "
            f"{reasons[0] if reasons else 'no such clip in one of the runs'}"
        )


def _record(run: Run, metric: str, which: str) -> MetricRecord:
    try:
        return run.manifest.metric(metric)
    except KeyError:
        raise Missing(
            f"the {which} {run.folder} was not scored with {metric}; `evalkit rescore {run.folder} --metrics {metric}`"
        ) from None


def _examples(rows: pd.DataFrame) -> tuple[Example, ...]:
    def number(value: object) -> float | None:
        return float(value) if isinstance(value, float) and math.isfinite(value) else None

    return tuple(
        Example(
            str(row["prompt_id"]),
            str(row["group"]),
            int(row["sample_index"]),
            None if pd.isna(row["seed_b"]) else int(row["seed_b"]),
            row["clip_id_b"] if isinstance(row["clip_id_b"], str) else None,
            number(row["value_a"]),
            number(row["value_b"]),
            row["reason_b"] if isinstance(row["reason_b"], str) else "",
        )
        for _, row in rows.iterrows()
    )
