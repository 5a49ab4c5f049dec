"""From the arms' clips to one number with an interval a study; prompts are the independent units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.control.definition import Study
from evalkit.errors import EvalkitError
from evalkit.features.compute import FeaturePlan
from evalkit.features.protocol import ClipRecord
from evalkit.features.registry import load_extractor
from evalkit.metrics.functional.kernels import mean_pairwise_distance
from evalkit.metrics.registry import load_metric
from evalkit.runs.feature_store import FeatureFolder
from evalkit.runs.store import Run
from evalkit.stats.intervals import Interval, clustered_rate_interval, t_interval
from evalkit.video import decode

__all__ = ["Outcome", "Sight", "measure"]

# A mean over fewer prompts has an interval so wide that nothing could be shown.
_FEWEST = 3


@dataclass(frozen=True)
class Outcome:
    """What a study found.

    Args:
        study, value: which number.
        measure, expected: as defined.
        status: `ok`, `not_applicable` or `failed`; without `ok` there is no estimate but a reason.
        verdict: `as expected`, `contrary`, `not shown` (the interval spans no effect) or `measured` (nothing expected).
        estimate, low, high: with a 95% interval over prompts.
        prompts, clips, lost: prompts that count, clips made, clips that failed.
        arms: mean of the value in every arm, where there is one.
    """

    study: str
    value: str
    measure: str
    expected: str
    status: str
    verdict: str = ""
    reason: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    prompts: int = 0
    clips: int = 0
    lost: int = 0
    arms: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; an unbounded end is None."""
        return {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in asdict(self).items()
        }


class Sight:
    """What an encoder sees in clips and reads in texts; features are kept in the arms' run folders.

    Args:
        encoder: `world`, `conse` or `clip`.
    """

    def __init__(self, encoder: str) -> None:
        self.pair: Any = load_metric(f"alignment.{encoder}").encoder  # type: ignore[union-attr]
        self.plan = FeaturePlan([load_metric(f"alignment.{encoder}")])
        for problem in self.plan.problems.values():
            raise EvalkitError(f"encoder {encoder!r}: {problem.reason}")

    @property
    def digest(self) -> str:
        """Of the weights that see, so that a retrained encoder of the same name is another one."""
        return load_extractor(self.pair.video).spec.weights_digest

    def vectors(self, run: Run) -> dict[tuple[str, int], Any]:
        """`ClipFeatures` of every clip by (prompt, sample)."""
        store = FeatureFolder(run.folder / "features", self.plan)
        found = {}
        for row in run.generations.query("status == 'ok'").itertuples():
            path = run.path_of(row.path)
            record = ClipRecord(
                None, int(row.num_frames), int(row.height), int(row.width), Fraction(str(row.fps))
            )
            found[row.prompt_id, int(row.sample_index)] = self.plan.clip_features(
                lambda path=path: decode(path),  # type: ignore[misc]
                record,
                clip_id=row.clip_id,
                store=store,
                wanted=[self.pair.video],
            )
        return found

    def embedding(self, clip: Any) -> torch.Tensor:
        """The clip's embedding `(D,)`."""
        return self.pair.clip_vector(clip)  # type: ignore[no-any-return]

    def similarity(self, clip: Any, text: str) -> float:
        """100 times the cosine of clip and text."""
        features = self.plan.text_features([text])
        for problem in (*features.problems.values(), *features.unsuited.values()):
            raise EvalkitError(problem.reason)
        matrix = self.pair.text_matrix(clip, features.by_request[self.pair.text].matrix("features"))
        return float(100 * torch.cosine_similarity(self.embedding(clip).double()[None], matrix.double())[0])


def measure(
    name: str, study: Study, runs: Mapping[str, Run], sight: Sight, limit: int | None
) -> list[Outcome]:
    """Every number of a study.

    Args:
        name: of the study.
        study: its definition.
        runs: the arms' finished runs, in the definition's order.
        sight: the encoder.
        limit: the number of prompts the runs were made with.
    """
    lost = sum(int((run.generations["status"] != "ok").sum()) for run in runs.values())
    clips = sum(len(run.generations) for run in runs.values()) - lost

    def outcome(value: str, found: Interval | str, prompts: int, arms: Mapping[str, float]) -> Outcome:
        common = {"clips": clips, "lost": lost, "prompts": prompts, "arms": dict(arms)}
        if isinstance(found, str):
            return Outcome(name, value, study.measure, study.expected, "failed", reason=found, **common)  # type: ignore[arg-type]
        verdict = _verdict(study, found)
        low, high = found.low, found.high
        if study.measure == "trend":  # Student's t does not know that a correlation ends at 1
            low, high = max(low, -1.0), min(high, 1.0)
        ends = {"estimate": found.estimate, "low": low, "high": high}
        return Outcome(name, value, study.measure, study.expected, "ok", verdict, "", **ends, **common)  # type: ignore[arg-type]

    ignored = {param for run in runs.values() for param in run.manifest.model.ignored_params}
    if study.parameter in ignored:
        reason = f"the model does not use the parameter {study.parameter!r}"
        return [Outcome(name, "", study.measure, study.expected, "not_applicable", reason=reason)]
    if study.measure == "identical":
        flags, prompts = _identical(list(runs.values()))
        found = clustered_rate_interval(flags, prompts) if flags else _too_few(0)
        return [outcome("identical clips", found, len(set(prompts)), {})]
    if study.measure in ("spread", "ratio"):
        embeddings = [_embeddings(sight, run) for run in runs.values()]
        values = _spread(embeddings[0]) if study.measure == "spread" else _ratio(embeddings)
        return [outcome("embedding distance", _mean(values), len(values), {})]
    outcomes = []
    for value in study.values:
        table = [_values(value, study, run, sight, limit) for run in runs.values()]
        shared = sorted(set.intersection(*(set(arm) for arm in table)))
        rows = np.array([[arm[prompt] for arm in table] for prompt in shared]).reshape(
            len(shared), len(table)
        )
        each = rows[:, -1] - rows[:, 0] if study.measure == "change" else _trends(rows)
        means = dict(zip(runs, rows.mean(0).tolist(), strict=True)) if len(rows) else {}
        outcomes.append(outcome(value, _mean(each), len(shared), means))
    return outcomes


def _verdict(study: Study, found: Interval) -> str:
    if study.measure == "identical":
        return "as expected" if found.estimate == 1 else "contrary"
    centre = 1.0 if study.measure == "ratio" else 0.0
    if study.expected == "none":
        return "measured"
    low, high = found.low - centre, found.high - centre
    if study.expected == "down":
        low, high = -high, -low
    return "as expected" if low > 0 else "contrary" if high < 0 else "not shown"


def _too_few(count: int) -> str:
    return f"only {count} prompts gave clips that could be judged; at least {_FEWEST} are needed"


def _mean(values: Sequence[float] | np.ndarray[Any, Any]) -> Interval | str:
    return t_interval(values) if len(values) >= _FEWEST else _too_few(len(values))


def _identical(runs: Sequence[Run]) -> tuple[list[bool], list[str]]:
    sides = [
        {(row.prompt_id, row.sample_index): row.clip_id for row in _good(run).itertuples()} for run in runs
    ]
    shared = sorted(set.intersection(*(set(side) for side in sides)))
    return [len({side[key] for side in sides}) == 1 for key in shared], [key[0] for key in shared]


def _good(run: Run) -> Any:
    return run.generations.query("status == 'ok'")


def _embeddings(sight: Sight, run: Run) -> dict[str, dict[int, torch.Tensor]]:
    """Clip embeddings by prompt and sample."""
    found: dict[str, dict[int, torch.Tensor]] = {}
    for (prompt, sample), clip in sight.vectors(run).items():
        found.setdefault(prompt, {})[sample] = sight.embedding(clip)
    return found


def _spread(samples: Mapping[str, Mapping[int, torch.Tensor]]) -> list[float]:
    """Mean distance between the samples of every prompt that has several."""
    return [
        mean_pairwise_distance(torch.stack(list(each.values()))) for each in samples.values() if len(each) > 1
    ]


def _ratio(arms: Sequence[Mapping[str, Mapping[int, torch.Tensor]]]) -> list[float]:
    """Prompt by prompt, how far arms lie apart at one seed over how far seeds lie apart in one arm."""
    values = []
    for prompt in sorted(set.intersection(*(set(arm) for arm in arms))):
        sides = [arm[prompt] for arm in arms]
        seeds = sorted(set.intersection(*(set(side) for side in sides)))
        if len(seeds) < 2:
            continue
        across = [mean_pairwise_distance(torch.stack([side[seed] for side in sides])) for seed in seeds]
        within = [mean_pairwise_distance(torch.stack([side[seed] for seed in seeds])) for side in sides]
        if np.mean(within) > 0:
            values.append(float(np.mean(across) / np.mean(within)))
    return values


def _trends(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Spearman of the arms' order and the value for every prompt; 0 where the value does not move at all."""
    order = np.arange(rows.shape[1])
    return np.array([0.0 if np.ptp(row) == 0 else float(spearmanr(order, row).statistic) for row in rows])


def _values(value: str, study: Study, run: Run, sight: Sight, limit: int | None) -> dict[str, float]:
    """Mean over samples of a value for every prompt."""
    found: dict[str, list[float]] = {}
    for prompt, number in _numbers(value, study, run, sight, limit):
        found.setdefault(prompt, []).append(number)
    return {prompt: float(np.mean(numbers)) for prompt, numbers in found.items()}


def _numbers(
    value: str, study: Study, run: Run, sight: Sight, limit: int | None
) -> Iterable[tuple[str, float]]:
    if value not in ("alignment", "contrast"):
        rows = run.scores.query("metric_id == @value and status == 'ok'")
        yield from zip(rows["prompt_id"], rows["value"].astype(float), strict=True)
        return
    fields = study.fields(limit)
    for (prompt, _), clip in sight.vectors(run).items():
        if sight.pair.video in clip.problems:
            continue
        own = fields[prompt]
        number = sight.similarity(clip, own.get("towards", own["text"]))
        yield prompt, number - (sight.similarity(clip, own["away"]) if value == "contrast" else 0.0)
