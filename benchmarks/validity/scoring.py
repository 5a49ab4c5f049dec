"""Scoring of clips in memory, without a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from evalkit.features.compute import FeaturePlan, ScoredClip, score_clip
from evalkit.features.protocol import ClipRecord
from evalkit.features.registry import load_extractor
from evalkit.metrics.registry import load_metric
from evalkit.video import Video

__all__ = ["Scorer", "auc", "reduced", "temporal_iou"]


@dataclass
class Scorer:
    """Scores clips with chosen metrics; plans are made once per choice."""

    _plans: dict[tuple[str, ...], FeaturePlan] = field(default_factory=dict)

    def __call__(self, video: Video, metrics: Sequence[str]) -> dict[str, ScoredClip]:
        key = tuple(metrics)
        if key not in self._plans:
            self._plans[key] = FeaturePlan([load_metric(name) for name in key])
        plan = self._plans[key]
        height, width = video.frames.shape[-2:]
        record = ClipRecord(None, video.num_frames, height, width, video.fps)
        clip = plan.clip_features(video, record)
        return {metric.spec.id: score_clip(metric, clip) for metric in plan.clip_metrics}

    @property
    def encoders(self) -> dict[str, str]:
        """Every network that spoke, with its digest."""
        return {
            request.extractor: load_extractor(request).spec.title
            for plan in self._plans.values()
            for request in plan.order
            if load_extractor(request).spec.weights_digest
        }


def reduced(video: Video, short_side: int, frames: int) -> Video:
    """The first `frames` frames, area-reduced to a short side: the study is about responses, not about detail."""
    pixels = video.frames[:frames]
    height, width = pixels.shape[-2:]
    scale = short_side / min(height, width)
    if scale < 1:
        size = (round(height * scale / 2) * 2, round(width * scale / 2) * 2)
        pixels = (
            torch.nn.functional.interpolate(pixels.float(), size=size, mode="area")
            .round()
            .clamp(0, 255)
            .to(torch.uint8)
        )
    return Video(pixels.contiguous(), video.fps)


def auc(clean: Sequence[float], degraded: Sequence[float]) -> float:
    """Chance that a degraded clip has the larger value than a clean one; ties count half."""
    a, b = np.asarray(clean)[:, None], np.asarray(degraded)[None]
    return float(((b > a) + 0.5 * (b == a)).mean())


def _otsu(values: NDArray[np.float64]) -> float:
    """The threshold that separates two classes best."""
    ordered = np.sort(values)
    best, threshold = -1.0, float(ordered[-1])
    for cut in range(1, len(ordered)):
        low, high = ordered[:cut], ordered[cut:]
        between = len(low) * len(high) * (high.mean() - low.mean()) ** 2
        if between > best:
            best, threshold = between, float((low[-1] + high[0]) / 2)
    return threshold


def temporal_iou(series: Sequence[float], window: tuple[int, int], *, of_transitions: bool) -> float:
    """Overlap of the frames where the series is bad (larger) and the frames of the defect.

    Bad is what lies above Otsu's threshold, from its first to its last place; a bad transition points at both of
    its frames.
    """
    values = np.asarray(series, dtype=np.float64)
    places = np.flatnonzero(values > _otsu(values))
    if len(places) == 0:
        return 0.0
    seen = set(range(int(places[0]), int(places[-1]) + (2 if of_transitions else 1)))
    true = set(range(window[0], window[1] + 1))
    return len(seen & true) / len(seen | true)
