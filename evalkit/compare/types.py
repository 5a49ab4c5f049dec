"""What a comparison says. Frozen dataclasses; every table and page is rendered from these alone.

Effects are *oriented*: positive is an improvement, whichever way the metric counts. Means are in the
metric's own direction and unit, as in the runs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import pandas as pd

__all__ = [
    "ClipOutcome",
    "Comparison",
    "Difference",
    "Effect",
    "FailureChange",
    "RunSummary",
    "SetChange",
    "Word",
]


class Word(StrEnum):
    """Verdict of one row, for a reader who knows no statistics; `words.explain` makes it a sentence."""

    BETTER = "better"
    WORSE = "worse"
    NO_WORSE = "no worse"  # within the margin, shown with 95% confidence
    SLIGHTLY_WORSE = "worse, within the margin"
    NO_CLEAR_CHANGE = "no clear change"
    TOO_FEW = "too few prompts to tell"  # a margin is set, and the interval is too wide for it
    NOT_COMPARABLE = "cannot be compared"


class ClipOutcome(StrEnum):
    """What became of one clip from the baseline to the candidate."""

    REGRESSED = "regressed"
    FIXED = "fixed"
    UNCHANGED = "unchanged"
    NEWLY_FAILED = "newly failed"  # a value in the baseline, none in the candidate
    RECOVERED = "recovered"
    UNKNOWN = "unknown"  # no value in either run, or no partner


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One of the compared runs.

    Attributes:
        label: short unique name used in tables and figures.
        folder: where the run lies, as given.
        run_id, model, revision, created: from its manifest.
        clips_planned, clips_ok, clips_failed, clips_missing: completeness.
    """

    label: str
    folder: str
    run_id: str
    model: str
    revision: str
    created: str
    clips_planned: int
    clips_ok: int
    clips_failed: int
    clips_missing: int


@dataclass(frozen=True, slots=True)
class Effect:
    """Change of one clip metric from the baseline to one candidate, over all prompts or over a slice.

    Attributes:
        metric_id, title, unit, direction, evidence: from the metric's record.
        baseline, candidate: run labels.
        slice_kind: "all", "category" or "tag".
        slice_name: "" for all.
        baseline_mean, candidate_mean: mean over prompts of the paired clips; None without a pair.
        effect: mean over prompts of the paired difference, positive is better; None without a pair.
        low, high: two-sided 95% t interval of the effect; None where unbounded (fewer than two prompts).
        robust_low, robust_high: studentized bootstrap, the second opinion.
        standard_error: of the effect.
        deviation: standard deviation of the prompt differences.
        p_value: sign-flip test, two-sided.
        p_adjusted: Holm over all metrics and candidates; Benjamini-Hochberg for slices.
        exploratory: True for slices, which never gate.
        prompts: prompts with at least one pair.
        samples: mean number of pairs per prompt.
        planned, paired: planned pairs, and those with two values.
        missing: outcome to count for pairs without two values, see `stats.pairing.Outcome`.
        worst_case_effect: the effect if every failed or missing clip got the worst score; None if none failed.
        smallest_detectable: MDE80, the smallest true change that would have been noticed 4 times in 5.
        margin: largest acceptable drop, if one is set.
        more_prompts: prompts to add so that an unchanged model passes with 80% probability; None without margin.
        word: verdict.
        sentence: verdict in a sentence.
        reason: why the row is not comparable, else "".
    """

    metric_id: str
    title: str
    unit: str
    direction: str
    evidence: str
    baseline: str
    candidate: str
    slice_kind: str
    slice_name: str
    baseline_mean: float | None
    candidate_mean: float | None
    effect: float | None
    low: float | None
    high: float | None
    robust_low: float | None
    robust_high: float | None
    standard_error: float | None
    deviation: float | None
    p_value: float | None
    p_adjusted: float | None
    exploratory: bool
    prompts: int
    samples: float
    planned: int
    paired: int
    missing: dict[str, int]
    worst_case_effect: float | None
    smallest_detectable: float | None
    margin: float | None
    more_prompts: int | None
    word: Word
    sentence: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SetChange:
    """Change of a set metric (FVD, KVD), which has no clip values.

    Attributes:
        metric_id, title, unit, direction: from the metric's record.
        baseline, candidate: run labels.
        baseline_value, candidate_value: distance to the reference.
        effect: oriented change, positive is better.
        low, high: 95% interval from resampling prompts; conservative.
        p_value: label-swap test, prompt by prompt.
        p_adjusted: Holm over all set metrics and candidates.
        noise_floor: distance of two halves of the reference, where known.
        prompts, n_generated, n_reference: what it rests on.
        baseline_p, candidate_p: permutation p-values that the run's clips and the reference come from one distribution,
            where the metric has such a test; None elsewhere.
        protocol: everything that defines the number.
        word, sentence, reason: as in `Effect`; `reason` also says why there is no interval.
    """

    metric_id: str
    title: str
    unit: str
    direction: str
    baseline: str
    candidate: str
    baseline_value: float | None
    candidate_value: float | None
    effect: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_adjusted: float | None
    noise_floor: float | None
    prompts: int
    n_generated: int
    n_reference: int
    protocol: str
    word: Word
    sentence: str
    reason: str = ""
    baseline_p: float | None = None
    candidate_p: float | None = None


@dataclass(frozen=True, slots=True)
class FailureChange:
    """Failed generations of a candidate against the baseline, clip by clip (exact McNemar test).

    Attributes:
        baseline, candidate: run labels.
        pairs: planned clips that both runs have a row for.
        baseline_failed, candidate_failed: clips without a result in either run.
        newly_failed, recovered: clips where only one of the two failed.
        p_value: two-sided.
        p_more: one-sided, against "the candidate fails no more often".
    """

    baseline: str
    candidate: str
    pairs: int
    baseline_failed: int
    candidate_failed: int
    newly_failed: int
    recovered: int
    p_value: float
    p_more: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that is not equal in all runs; `values` is label to text, "" where the run lacks it."""

    area: str  # model | settings | environment | evalkit
    key: str
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that was found when runs were compared. The first run is the baseline.

    Attributes:
        runs: the baseline first.
        suite: "name version (digest)".
        alpha: two-sided error of intervals and verdicts.
        seed: seed of the resampling; the same runs and seed give the same comparison.
        effects: clip metrics over all prompts, by candidate, then metric.
        slices: the same by category and tag, exploratory.
        sets: set metrics.
        failures: one per candidate.
        differences: settings that differ.
        clips: one row per metric, candidate and planned clip: `metric_id`, `candidate`, `prompt_id`, `group`,
            `sample_index`, `category`, `seed_a`, `seed_b`, `clip_id_a`, `clip_id_b`, `value_a`, `value_b`,
            `change` (oriented), `threshold`, `outcome` (`ClipOutcome`), `reason`.
        prompts: one row per metric, candidate and prompt: `metric_id`, `candidate`, `prompt_id`, `category`,
            `baseline_mean`, `candidate_mean`, `effect` (oriented), `samples`.
        notes: sentences for people: what was left out and why.
    """

    runs: tuple[RunSummary, ...]
    suite: str
    alpha: float
    seed: int
    effects: tuple[Effect, ...]
    slices: tuple[Effect, ...]
    sets: tuple[SetChange, ...]
    failures: tuple[FailureChange, ...]
    differences: tuple[Difference, ...]
    clips: pd.DataFrame
    prompts: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def baseline(self) -> RunSummary:
        """The run that the others are compared with."""
        return self.runs[0]

    @property
    def candidates(self) -> tuple[RunSummary, ...]:
        """The runs after the first."""
        return self.runs[1:]

    def to_tables(self) -> dict[str, pd.DataFrame]:
        """Every part as a flat table, ready for CSV or Parquet.

        Returns:
            `runs`, `metrics`, `slices`, `sets`, `failures`, `differences`, `clips`, `prompts`.
        """
        labels = [run.label for run in self.runs]
        differences = [{"area": d.area, "key": d.key, **d.values} for d in self.differences]
        return {
            "runs": _frame(self.runs, RunSummary),
            "metrics": _frame(self.effects, Effect),
            "slices": _frame(self.slices, Effect),
            "sets": _frame(self.sets, SetChange),
            "failures": _frame(self.failures, FailureChange),
            "differences": pd.DataFrame(differences, columns=["area", "key", *labels]),
            "clips": self.clips,
            "prompts": self.prompts,
        }

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON-ready data, without the clip and prompt tables."""
        return {
            "schema": "evalkit.comparison/v1",
            "suite": self.suite,
            "alpha": self.alpha,
            "seed": self.seed,
            "runs": [asdict(run) for run in self.runs],
            "metrics": [asdict(effect) for effect in self.effects],
            "slices": [asdict(effect) for effect in self.slices],
            "sets": [asdict(change) for change in self.sets],
            "failures": [asdict(change) for change in self.failures],
            "differences": [asdict(difference) for difference in self.differences],
            "clip_outcomes": self.clip_counts().to_dict("records"),
            "notes": list(self.notes),
        }

    def clip_counts(self) -> pd.DataFrame:
        """Clips by outcome: `candidate`, `metric_id`, and one column per `ClipOutcome`."""
        outcomes = [outcome.value for outcome in ClipOutcome]
        counts = self.clips.groupby(["candidate", "metric_id", "outcome"]).size().unstack(fill_value=0)
        counts = counts.reindex(columns=outcomes, fill_value=0).reset_index()
        counts.columns.name = None
        return counts


def _frame(rows: tuple[Any, ...], kind: type[Any]) -> pd.DataFrame:
    records = [asdict(row) for row in rows]
    for record in records:
        missing = record.pop("missing", None)
        if missing is not None:
            record["missing"] = "; ".join(f"{count} {name}" for name, count in missing.items())
    names = list(kind.__dataclass_fields__)
    frame = pd.DataFrame(records, columns=names)
    return frame.assign(word=frame["word"].astype(str)) if "word" in frame else frame
