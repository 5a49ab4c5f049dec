"""Known defects at known strengths: does the metric made for them respond, detect and point?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.validity.scoring import Scorer, auc, temporal_iou
from evalkit.errors import NotApplicable
from evalkit.features.compute import ScoredClip
from evalkit.metrics.registry import load_metric
from evalkit.testing.defects import BENIGN, DEFECTS, STRENGTHS
from evalkit.video import Video

__all__ = ["ALSO", "OWN_METRIC", "Response", "benign_noise", "responses"]

# The metric that is made for each defect. Defects without one (time that runs backwards) are not listed.
OWN_METRIC: Mapping[str, str] = {
    "flicker_gain": "temporal.flicker",
    "flicker_colour": "temporal.flicker",
    "flicker_texture": "temporal.flicker",
    "jitter": "temporal.jitter",
    # Jelly follows a smooth warp, which flow follows as well: it shows in how motion changes, not in what is left over.
    "morph": "temporal.wobble",
    "teleport": "temporal.discontinuity",
    "dropped_frames": "temporal.discontinuity",
    "duplicated_frames": "temporal.duplicates",
    "frozen_frames": "temporal.freeze",
    "loop": "temporal.loop",
    "cut": "temporal.cuts",
    "colour_drift": "temporal.colour_drift",
    "sharpness_drift": "temporal.sharpness_drift",
    "chunk_seams": "temporal.seams",
    "identity_drift": "temporal.appearance_drift",
    "subject_swap": "temporal.discontinuity",
    "vanish": "temporal.vanishing",
    "blur_burst": "visual.sharpness",
    "blocks": "visual.blockiness",
    "banding": "visual.banding",
    "crushed": "visual.exposure",
    "noise": "visual.noise",
}

# Metrics that should see a defect as well, though it is not theirs.
ALSO: Sequence[tuple[str, str]] = (
    ("flicker_gain", "vbench.temporal_flickering"),
    ("flicker_texture", "temporal.warp_error"),
    ("jitter", "temporal.jerk"),
    ("jitter", "temporal.motion_smoothness"),
    ("morph", "temporal.jitter"),
    ("frozen_frames", "motion.magnitude"),
    ("cut", "temporal.clip_consistency"),
    ("cut", "temporal.background_consistency"),
    ("identity_drift", "temporal.long_drift"),
    ("subject_swap", "temporal.subject_consistency"),
    ("teleport", "temporal.coherence"),
    ("blur_burst", "visual.effective_resolution"),
)

_RESAMPLES = 1000
_Scores = Mapping[str, Mapping[str, ScoredClip]]


@dataclass(frozen=True)
class Response:
    """What one metric does under one defect, over all clips.

    Args:
        medians: of the metric at strength 0 and at each of `STRENGTHS`, in the metric's own units.
        monotone: Spearman of strength and medians, positive when the metric gets worse.
        auc: of clean clips against clips at the middle strength; for localised defects of the worst moment
            against the clip's own median, else of the value.
        paired: share of clips that are worse at the middle strength than without the defect.
        detected: AUC of the change that the middle strength makes against the change of a harmless re-encode.
        iou: median temporal overlap at the middle strength, None for defects of whole clips or without series.
        clips: clips that could be scored.
        intervals: 95% of `monotone`, `detected` and `iou`, clips resampled.
        source: `real` or `world`.
    """

    source: str
    defect: str
    metric: str
    medians: tuple[float, ...]
    monotone: float
    auc: float
    paired: float
    detected: float
    iou: float | None
    clips: int
    intervals: Mapping[str, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return self.__dict__ | {
            "medians": list(self.medians),
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
        }


def _badness(metric: str) -> int:
    return 1 if load_metric(metric).spec.direction == "lower" else -1


def _peak(series: Sequence[float] | None, value: float, sign: int) -> float:
    """Worst moment beyond the clip's own median."""
    if series is None:
        return sign * value
    values = sign * np.asarray(series)
    return float(values.max() - np.median(values))


def responses(
    clips: Mapping[str, Video], scorer: Scorer, *, only: Sequence[str] | None = None, source: str = "real"
) -> Iterator[Response]:
    """Degrade every clip with every defect at every strength and score it with the defect's own metric."""
    pairs = [
        (defect_id, metric)
        for defect_id, metric in (*OWN_METRIC.items(), *ALSO)
        if only is None or defect_id in only
    ]
    metrics = sorted({metric for _, metric in pairs})
    # What is the same for every defect is scored once, with shared features.
    clean = {name: scorer(video, metrics) for name, video in clips.items()}
    harmless = {name: scorer(BENIGN["reencode_crf18"](video), metrics) for name, video in clips.items()}
    for defect_id, metric in pairs:
        response = _respond(clips, clean, harmless, scorer, source, defect_id, metric)
        if response is not None:
            yield response


def _respond(
    clips: Mapping[str, Video],
    clean: _Scores,
    again: _Scores,
    scorer: Scorer,
    source: str,
    defect_id: str,
    metric: str,
) -> Response | None:
    names, defect, sign = list(clips), DEFECTS[defect_id], _badness(metric)
    middle = len(STRENGTHS) // 2 + 1
    rows, clean_peaks, peaks, overlaps, harmless = [], [], [], [], []
    for index, name in enumerate(names):
        video, donor = clips[name], clips[names[(index + 1) % len(names)]]
        base = clean[name][metric]
        if base.value is None:
            continue
        try:
            levels = [defect(video, strength, seed=index, donor=donor) for strength in STRENGTHS]
        except NotApplicable:
            continue
        scored = [scorer(level.video, [metric])[metric] for level in levels]
        if any(item.value is None for item in scored):
            continue
        recoded = again[name][metric].value
        harmless.append(0.0 if recoded is None else sign * (recoded - base.value))
        rows.append([base.value, *(float(item.value) for item in scored if item.value is not None)])
        window = levels[middle - 1].window
        at_middle = scored[middle - 1]
        if window is None or at_middle.series is None:
            clean_peaks.append(sign * base.value)
            peaks.append(sign * rows[-1][middle])
            continue
        clean_peaks.append(_peak(base.series, base.value, sign))
        peaks.append(_peak(at_middle.series, rows[-1][middle], sign))
        overlaps.append(
            temporal_iou(
                [sign * item for item in at_middle.series],
                window,
                of_transitions=len(at_middle.series) == levels[middle - 1].video.num_frames - 1,
            )
        )
    if not rows:
        return None
    table, quiet = np.array(rows), np.array(harmless)
    marks = np.array(overlaps) if len(overlaps) == len(rows) else None

    def figures(index: NDArray[Any]) -> dict[str, float]:
        medians = np.median(table[index], axis=0)
        change = sign * (table[index, middle] - table[index, 0])
        result = {
            "monotone": float(sign * spearmanr([0, *STRENGTHS], medians).statistic)
            if np.ptp(medians) > 0
            else 0.0,
            "detected": auc(list(quiet[index]), list(change)),
        }
        return result if marks is None else result | {"iou": float(np.median(marks[index]))}

    everyone = np.arange(len(table))
    value = figures(everyone)
    rng = np.random.default_rng(0)
    drawn = [figures(rng.choice(everyone, len(everyone))) for _ in range(_RESAMPLES)]
    intervals = {
        name: tuple(float(end) for end in np.quantile([item[name] for item in drawn], [0.025, 0.975]))
        for name in value
    }
    return Response(
        source=source,
        defect=defect_id,
        metric=metric,
        medians=tuple(float(item) for item in np.median(table, axis=0)),
        monotone=value["monotone"],
        auc=auc(clean_peaks, peaks),
        paired=float((sign * (table[:, middle] - table[:, 0]) > 0).mean()),
        detected=value["detected"],
        iou=value.get("iou"),
        clips=len(rows),
        intervals=intervals,  # type: ignore[arg-type]
    )


def benign_noise(
    clips: Mapping[str, Video],
    twins: Mapping[str, tuple[Video, Video]],
    scorer: Scorer,
    metrics: Sequence[str],
    changes: Sequence[str] = tuple(BENIGN),
) -> dict[str, dict[str, float]]:
    """Median absolute change of every metric under every benign change, beside its noise when nothing changed.

    Args:
        clips: the clips.
        twins: for every clip two between which nothing is better or worse: the same prompt with two seeds, or the
            two halves of a shot.
        scorer: scores clips.
        metrics: metric ids.
        changes: ids of benign changes.

    Returns:
        For every metric `{"noise": .., CHANGE: ..}`: the median absolute difference between twins, and
        the median absolute changes, all in the metric's own unit. A metric that scores fewer than three clips is
        left out.
    """
    clean = {name: scorer(video, metrics) for name, video in clips.items()}
    result: dict[str, dict[str, float]] = {metric: {} for metric in metrics}

    def note(column: str, before: _Scores, after: _Scores) -> None:
        for metric in metrics:
            moves = [
                abs(b - a)
                for name in clips
                if (a := before[name][metric].value) is not None
                and (b := after[name][metric].value) is not None
            ]
            if len(moves) >= 3:
                result[metric][column] = float(np.median(moves))

    first, second = ({name: scorer(pair[side], metrics) for name, pair in twins.items()} for side in (0, 1))
    note("noise", first, second)
    for change_id in changes:
        change = BENIGN[change_id]
        note(change_id, clean, {name: scorer(change(video), metrics) for name, video in clips.items()})
    return {metric: row for metric, row in result.items() if "noise" in row}
