"""Agreement with people: rank correlation of every metric with human ratings of real clips."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from benchmarks.validity.scoring import Scorer
from evalkit.metrics.registry import load_metric
from evalkit.suites import Prompt
from evalkit.video import Video, decode

__all__ = ["RATINGS", "TEMPORAL", "Agreement", "agreement", "read_ratings"]

# Metrics compared with ratings of temporal quality; VBench's formula is the baseline.
TEMPORAL = (
    "vbench.temporal_flickering",
    "temporal.flicker",
    "temporal.coherence",
    "temporal.warp_error",
    "temporal.jitter",
    "temporal.discontinuity",
    "temporal.vanishing",
    "temporal.appearance_drift",
)
PICTURE = (
    "visual.sharpness",
    "visual.blockiness",
    "visual.banding",
    "visual.effective_resolution",
    "visual.noise",
    "visual.exposure",
)
# Which metrics are compared with which column of the ratings, which frames they see, and how well raters agree with
# each other (Krippendorff's ordinal alpha, published with the ratings).
RATINGS: Mapping[str, tuple[Sequence[str], int, float]] = {
    "temporal_quality": (TEMPORAL, 1, 0.725),
    # Pictures are rated one by one and frames of a clip are alike: every fourth says the same at a quarter of the cost.
    "static_quality": (PICTURE, 4, 0.685),
    "alignment": (("alignment.conse",), 4, 0.692),
}

_RESAMPLES = 2000


@dataclass(frozen=True)
class Agreement:
    """Rank agreement of one metric with one rating, positive when the metric is right about what is better.

    Args:
        spearman, kendall: over all clips.
        interval: 95% of Spearman by resampling prompts.
        generated: Spearman without the camera clips.
        clips, prompts: how many.
        not_scored: clips the metric could not score.
    """

    metric: str
    rating: str
    spearman: float
    interval: tuple[float, float]
    kendall: float
    generated: float
    clips: int
    prompts: int
    not_scored: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return self.__dict__ | {"interval": list(self.interval)}


def read_ratings(folder: Path, rating: str) -> list[dict[str, str]]:
    """Rows of `ratings.csv` that carry `rating`."""
    with (folder / "ratings.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row[rating]]


def _interval(
    values: NDArray[Any], ratings: NDArray[Any], groups: Sequence[str], seed: int
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    names = sorted(set(groups))
    members = [np.flatnonzero(np.asarray(groups) == name) for name in names]
    drawn = []
    for _ in range(_RESAMPLES):
        index = np.concatenate([members[pick] for pick in rng.integers(0, len(names), len(names))])
        if np.ptp(values[index]) > 0 and np.ptp(ratings[index]) > 0:
            drawn.append(spearmanr(values[index], ratings[index]).statistic)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def agreement(
    folder: Path,
    scorer: Scorer,
    *,
    rating: str = "temporal_quality",
    metrics: Sequence[str] = TEMPORAL,
    every: int = 1,
    seed: int = 0,
) -> tuple[list[Agreement], list[dict[str, Any]]]:
    """Score every rated clip and correlate.

    Args:
        folder: holds `ratings.csv` and the clips it names.
        scorer: scores clips.
        rating: column of the ratings.
        metrics: metric ids.
        every: frames to step by.
        seed: of the resampling.

    Returns:
        Agreements, best first, and the table of values they come from.
    """
    rows = read_ratings(folder, rating)
    table: list[dict[str, Any]] = []
    for row in rows:
        video = decode(folder / row["file"])
        prompt = Prompt(id=row["prompt_idx"], text=row["prompt"], category="rated")
        scored = scorer(Video(video.frames[::every].contiguous(), video.fps), metrics, prompt)
        entry: dict[str, Any] = {"file": row["file"], "model": row["model"], "prompt": row["prompt"]}
        entry |= {rating: float(row[rating])} | {name: scored[name].value for name in metrics}
        table.append(entry)
    return _correlate(table, rating, metrics, seed), table


def _correlate(
    table: Sequence[Mapping[str, Any]], rating: str, metrics: Sequence[str], seed: int
) -> list[Agreement]:
    result = []
    for name in metrics:
        good = [row for row in table if row[name] is not None]
        sign = 1 if load_metric(name).spec.direction == "higher" else -1
        values = sign * np.array([row[name] for row in good])
        ratings = np.array([row[rating] for row in good])
        made = np.array([row["model"] != "gt" for row in good])
        prompts = [row["prompt"] for row in good]
        result.append(
            Agreement(
                name,
                rating,
                float(spearmanr(values, ratings).statistic),
                _interval(values, ratings, prompts, seed),
                float(kendalltau(values, ratings).statistic),
                float(spearmanr(values[made], ratings[made]).statistic),
                len(good),
                len(set(prompts)),
                len(table) - len(good),
            )
        )
    return sorted(result, key=lambda item: -item.spearman)
