"""Known defects at known strengths: does the metric made for them respond, detect and point?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.validity.scoring import Scorer, auc, temporal_iou
from evalkit.errors import NotApplicable
from evalkit.metrics.registry import load_metric
from evalkit.testing.defects import BENIGN, DEFECTS, STRENGTHS
from evalkit.video import Video

__all__ = ["OWN_METRIC", "Response", "benign_noise", "responses"]

# The metric that is made for each defect. Defects without one (time that runs backwards) are not listed.
OWN_METRIC: Mapping[str, str] = {
    "flicker_gain": "temporal.flicker",
    "flicker_colour": "temporal.flicker",
    "flicker_texture": "temporal.flicker",
    "jitter": "temporal.jitter",
    "morph": "temporal.warp_error",
    "teleport": "temporal.coherence",
    "dropped_frames": "temporal.jitter",
    "duplicated_frames": "temporal.duplicates",
    "frozen_frames": "temporal.freeze",
    "loop": "temporal.loop",
    "cut": "temporal.cuts",
    "colour_drift": "temporal.colour_drift",
    "identity_drift": "temporal.long_drift",
    "subject_swap": "temporal.subject_consistency",
    "vanish": "temporal.coherence",
    "blur_burst": "visual.sharpness",
    "blocks": "visual.blockiness",
    "banding": "visual.banding",
    "noise": "visual.noise",
}


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
    """

    defect: str
    metric: str
    medians: tuple[float, ...]
    monotone: float
    auc: float
    paired: float
    detected: float
    iou: float | None
    clips: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return self.__dict__ | {"medians": list(self.medians)}


def _badness(metric: str) -> int:
    return 1 if load_metric(metric).spec.direction == "lower" else -1


def _peak(series: Sequence[float] | None, value: float, sign: int) -> float:
    """Worst moment beyond the clip's own median."""
    if series is None:
        return sign * value
    values = sign * np.asarray(series)
    return float(values.max() - np.median(values))


def responses(
    clips: Mapping[str, Video], scorer: Scorer, *, only: Sequence[str] | None = None
) -> Iterator[Response]:
    """Degrade every clip with every defect at every strength and score it with the defect's own metric."""
    names = list(clips)
    for defect_id, metric in OWN_METRIC.items():
        if only is not None and defect_id not in only:
            continue
        defect, sign = DEFECTS[defect_id], _badness(metric)
        middle = len(STRENGTHS) // 2 + 1
        rows, clean_peaks, peaks, overlaps, harmless = [], [], [], [], []
        for index, name in enumerate(names):
            video, donor = clips[name], clips[names[(index + 1) % len(names)]]
            base = scorer(video, [metric])[metric]
            if base.value is None:
                continue
            try:
                levels = [defect(video, strength, seed=index, donor=donor) for strength in STRENGTHS]
            except NotApplicable:
                continue
            scored = [scorer(level.video, [metric])[metric] for level in levels]
            if any(item.value is None for item in scored):
                continue
            again = scorer(BENIGN["reencode_crf18"](video), [metric])[metric].value
            harmless.append(0.0 if again is None else sign * (again - base.value))
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
            continue
        table = np.array(rows)
        medians = np.median(table, axis=0)
        yield Response(
            defect_id,
            metric,
            tuple(float(item) for item in medians),
            float(sign * spearmanr([0, *STRENGTHS], medians).statistic) if np.ptp(medians) > 0 else 0.0,
            auc(clean_peaks, peaks),
            float((sign * (table[:, middle] - table[:, 0]) > 0).mean()),
            auc(harmless, list(sign * (table[:, middle] - table[:, 0]))),
            float(np.median(overlaps)) if overlaps else None,
            len(rows),
        )


def benign_noise(
    clips: Mapping[str, Video], scorer: Scorer, metrics: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Median absolute change of every metric under every benign change, in units of its spread between clips.

    The spread is 1.4826 times the median absolute deviation over the clean clips.
    """
    clean = {name: scorer(video, metrics) for name, video in clips.items()}
    result: dict[str, dict[str, float]] = {}
    for change_id, change in BENIGN.items():
        changed = {name: scorer(change(video), metrics) for name, video in clips.items()}
        row = {}
        for metric in metrics:
            pairs = [
                (clean[name][metric].value, changed[name][metric].value)
                for name in clips
                if clean[name][metric].value is not None and changed[name][metric].value is not None
            ]
            if len(pairs) < 3:
                continue
            table = np.array(pairs, dtype=np.float64)
            spread = 1.4826 * np.median(np.abs(table[:, 0] - np.median(table[:, 0])))
            move = float(np.median(np.abs(table[:, 1] - table[:, 0])))
            row[metric] = move / spread if spread > 0 else (0.0 if move == 0 else float("inf"))
        result[change_id] = row
    return result
