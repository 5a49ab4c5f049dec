"""`compare_runs`: two or more runs of one suite in, a `Comparison` out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from evalkit.compare.check import obstacles, refuse
from evalkit.compare.clips import clip_table, paired_changes, prompt_table
from evalkit.compare.differences import differences
from evalkit.compare.effects import correct_effects, correct_sets, effects_of, slices_of
from evalkit.compare.sets import compare_set_metric
from evalkit.compare.types import Comparison, Effect, FailureChange, RunSummary, SetChange, Word
from evalkit.errors import EvalkitError, UnknownName
from evalkit.runs.manifest import MetricRecord
from evalkit.runs.store import Run
from evalkit.stats.significance import mcnemar_test

__all__ = ["compare_runs", "failure_change", "set_change", "summarise"]


def compare_runs(
    runs: Sequence[Run],
    *,
    labels: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    resamples: int = 9999,
) -> Comparison:
    """Compare every further run with the first one.

    Args:
        runs: two or more; the first is the baseline.
        labels: names for tables and figures; default: the folders' names.
        metrics: metrics to compare; default: all that every run has.
        margins: metric id to the largest acceptable drop, in the metric's unit.
        alpha: two-sided error of intervals, and of the verdicts after correction.
        seed: of the resampling.
        resamples: sign patterns and bootstrap samples per metric.

    Raises:
        EvidenceError: the runs differ in suite, metric version, encoder or protocol; says in which.
        EvalkitError: fewer than two runs, an unknown metric, or a bad number.
    """
    if len(runs) < 2:
        raise EvalkitError("a comparison needs at least two runs; give RUN_A RUN_B")
    if not 0 < alpha < 0.5:
        raise EvalkitError(f"alpha must be between 0 and 0.5, got {alpha}")
    margins = dict(margins or {})
    for metric_id, margin in margins.items():
        if not (np.isfinite(margin) and margin >= 0):
            raise EvalkitError(f"the margin of {metric_id} must be a number of at least 0, got {margin}")
    names = _labels(runs, labels)
    refuse([found for run in runs[1:] for found in obstacles(runs[0], run, metrics)])
    records, notes = _common_metrics(runs, metrics)
    unknown = sorted(margins.keys() - {record.id for record in records})
    if unknown:
        raise EvalkitError(
            f"a margin names {', '.join(unknown)}, which is not compared; remove it or score it"
        )
    clip_metrics = [record for record in records if record.kind == "clip"]
    set_metrics = [record for record in records if record.kind == "set"]
    baseline = runs[0]
    tags = {prompt.id: prompt.tags for prompt in baseline.suite.prompts}
    effects: list[Effect] = []
    slices: list[Effect] = []
    sets: list[SetChange] = []
    clips, prompts, failures = [], [], []
    for run, name in zip(runs[1:], names[1:], strict=True):
        pair = (names[0], name)
        pairs = paired_changes(baseline, run, clip_metrics)

        def rows(part: pd.DataFrame, kind: tuple[str, str], pair: tuple[str, str] = pair) -> list[Effect]:
            return effects_of(
                part, clip_metrics, pair, margins, alpha=alpha, seed=seed, resamples=resamples, part=kind
            )

        effects += rows(pairs, ("all", ""))
        slices += [effect for kind, part in slices_of(pairs, tags) for effect in rows(part, kind)]
        sets += [set_change(baseline, run, pair, record, seed, alpha) for record in set_metrics]
        clips.append(clip_table(pairs, margins, name))
        prompts.append(prompt_table(pairs, name))
        failures.append(failure_change(baseline, run, names[0], name))
        notes += [note for change in sets if change.candidate == name and (note := _unequal_sides(change))]
        if _seeds_differ(pairs):
            notes.append(
                f"{names[0]} and {name} used different seeds; their clips are paired by sample number"
            )
    return Comparison(
        runs=tuple(summarise(run, name) for run, name in zip(runs, names, strict=True)),
        suite=f"{baseline.manifest.suite.name} {baseline.manifest.suite.version} ({baseline.manifest.suite.digest:.12})",
        alpha=alpha,
        seed=seed,
        effects=correct_effects(effects, alpha, exploratory=False),
        slices=correct_effects(slices, alpha, exploratory=True),
        sets=correct_sets(sets, margins, alpha),
        failures=tuple(failures),
        differences=differences(runs, names),
        clips=pd.concat(clips, ignore_index=True),
        prompts=pd.concat(prompts, ignore_index=True),
        notes=tuple(notes),
    )


def _unequal_sides(change: SetChange) -> str:
    """A word of warning where a set metric compares many clips with few, or ""."""
    if not change.n_reference or change.n_generated == change.n_reference or not change.protocol:
        return ""
    return (
        f"{change.title} of {change.candidate} compares {change.n_generated} generated clips with "
        f"{change.n_reference} of the reference: such distances are made for the same number on both sides, and the "
        "smaller side's bias is in the value; it is the same in both runs, so that their difference stands"
    )


def _labels(runs: Sequence[Run], labels: Sequence[str] | None) -> list[str]:
    if labels is None:
        names = [run.folder.resolve().name or "run" for run in runs]
        counts = Counter(names)
        return [f"{name} ({i + 1})" if counts[name] > 1 else name for i, name in enumerate(names)]
    if len(labels) != len(runs) or len(set(labels)) != len(labels):
        raise EvalkitError(f"need one unique label for each of the {len(runs)} runs, got {', '.join(labels)}")
    return list(labels)


def _common_metrics(
    runs: Sequence[Run], wanted: Sequence[str] | None
) -> tuple[list[MetricRecord], list[str]]:
    """Metrics that every run has, in the baseline's order, and a note for each that was left out."""
    held = [{record.id for record in run.manifest.metrics} for run in runs]
    for metric_id in wanted or ():
        if metric_id not in set.union(*held):
            raise UnknownName("metric", metric_id, set.union(*held))
    shared = set.intersection(*held)
    lacking = sorted((set(wanted) if wanted is not None else set.union(*held)) - shared)
    notes = [
        f"{metric_id} is left out: not scored in {', '.join(run.folder.name for run, ids in zip(runs, held, strict=True) if metric_id not in ids)}"
        for metric_id in lacking
    ]
    records = [
        record
        for record in runs[0].manifest.metrics
        if record.id in shared and (wanted is None or record.id in wanted)
    ]
    if not records:
        raise EvalkitError("the runs have no metric in common; score them with the same --metrics")
    return records, notes


def _seeds_differ(pairs: pd.DataFrame) -> bool:
    both = pairs["seed_a"].notna() & pairs["seed_b"].notna()
    return bool((pairs.loc[both, "seed_a"] != pairs.loc[both, "seed_b"]).any())


def summarise(run: Run, label: str) -> RunSummary:
    """What a reader must know of one run."""
    manifest, statuses = run.manifest, run.generations["status"].value_counts()
    return RunSummary(
        label=label,
        folder=str(run.folder),
        run_id=manifest.run_id,
        model=manifest.model.id,
        revision=manifest.model.revision,
        created=manifest.created,
        clips_planned=len(run.generations),
        clips_ok=int(statuses.get("ok", 0)),
        clips_failed=int(statuses.get("failed", 0)),
        clips_missing=int(statuses.get("missing", 0)),
    )


def failure_change(a: Run, b: Run, baseline: str, candidate: str) -> FailureChange:
    """Failed generations of two runs, clip by clip."""
    key = ["prompt_id", "group", "sample_index"]
    both = a.generations[[*key, "status"]].merge(
        b.generations[[*key, "status"]], on=key, suffixes=("_a", "_b")
    )
    failed_a, failed_b = both["status_a"] != "ok", both["status_b"] != "ok"
    test = mcnemar_test(failed_a, failed_b)
    return FailureChange(
        baseline=baseline,
        candidate=candidate,
        pairs=len(both),
        baseline_failed=int(failed_a.sum()),
        candidate_failed=int(failed_b.sum()),
        newly_failed=test.only_b,
        recovered=test.only_a,
        p_value=test.p_value,
        p_more=test.p_more_in_b,
    )


def set_change(
    a: Run, b: Run, labels: tuple[str, str], record: MetricRecord, seed: int, alpha: float
) -> SetChange:
    """One set metric of two runs, not yet corrected for the number of rows."""
    evidence = compare_set_metric(a, b, record, seed, alpha)
    sign = 1.0 if record.direction == "higher" else -1.0
    effect = low = high = p_value = None
    if evidence.difference is not None:
        difference = evidence.difference.difference
        effect, p_value = sign * difference.estimate, evidence.difference.p_value
        low, high = sorted((sign * difference.low, sign * difference.high))
    elif evidence.baseline_value is not None and evidence.candidate_value is not None:
        effect = sign * (evidence.candidate_value - evidence.baseline_value)
    return SetChange(
        metric_id=record.id,
        title=record.title,
        unit=record.unit,
        direction=record.direction,
        baseline=labels[0],
        candidate=labels[1],
        baseline_value=evidence.baseline_value,
        candidate_value=evidence.candidate_value,
        effect=effect,
        low=low,
        high=high,
        p_value=p_value,
        p_adjusted=None,
        noise_floor=evidence.noise_floor,
        prompts=evidence.prompts,
        n_generated=evidence.n_generated,
        n_reference=evidence.n_reference,
        protocol=evidence.protocol,
        word=Word.NOT_COMPARABLE,
        sentence="",
        reason=evidence.reason,
        baseline_p=evidence.baseline_p,
        candidate_p=evidence.candidate_p,
    )
