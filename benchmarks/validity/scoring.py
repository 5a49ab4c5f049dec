"""Scoring of clips in memory, without a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from evalkit.features.compute import FeaturePlan, ScoredClip, score_clip
from evalkit.features.protocol import ClipRecord
from evalkit.features.registry import load_extractor
from evalkit.metrics.registry import load_metric
from evalkit.suites import Prompt
from evalkit.video import Video

__all__ = ["Scorer", "auc", "marked", "reduced", "temporal_iou"]


@dataclass
class Scorer:
    """Scores clips with chosen metrics; plans are made once per choice."""

    _plans: dict[tuple[str, ...], FeaturePlan] = field(default_factory=dict)

    def __call__(
        self, video: Video, metrics: Sequence[str], prompt: Prompt | None = None
    ) -> dict[str, ScoredClip]:
        key = tuple(metrics)
        if key not in self._plans:
            self._plans[key] = FeaturePlan([load_metric(name) for name in key])
        plan = self._plans[key]
        height, width = video.frames.shape[-2:]
        record = ClipRecord(prompt, video.num_frames, height, width, video.fps)
        texts = None if prompt is None else plan.text_features([prompt.text])
        clip = plan.clip_features(video, record, texts)
        return {metric.spec.id: score_clip(metric, clip) for metric in plan.clip_metrics}

    def vectors(self, videos: Iterable[Video], metrics: Sequence[str]) -> dict[str, torch.Tensor]:
        """Rows of the feature matrix of every set metric, `(n, D)`, clip by clip in order."""
        key = tuple(metrics)
        loaded = [load_metric(name) for name in key]
        if key not in self._plans:
            self._plans[key] = FeaturePlan(loaded)
        plan, rows = self._plans[key], {name: list[torch.Tensor]() for name in key}
        for video in videos:
            record = ClipRecord(None, video.num_frames, *video.frames.shape[-2:], video.fps)
            clip = plan.clip_features(video, record, None)
            for name, metric in zip(key, loaded, strict=True):
                rows[name].append(metric.vector(clip))  # type: ignore[union-attr]
        return {name: torch.cat(parts).double() for name, parts in rows.items()}

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


def marked(series: Sequence[float], *, of_transitions: bool) -> tuple[int, int] | None:
    """First and last frame of the stretch in which a series is worst (largest); None for a constant series.

    The stretch that a two-level step explains best: of all intervals the one with the largest
    `L (n - L) / n (mean inside - mean outside)^2`, which is the likelihood ratio of a changed mean under normal noise
    (circular binary segmentation, Olshen et al., Biostatistics 2004). It has no threshold to choose. A transition
    points at both of its frames.
    """
    values = np.asarray(series, dtype=np.float64)
    count, total = len(values), np.concatenate([[0.0], np.cumsum(values)])
    best, place = 0.0, None
    for first in range(count):
        for end in range(first + 1, count + 1):
            length = end - first
            if length == count:
                continue
            inside = (total[end] - total[first]) / length
            outside = (total[-1] - total[end] + total[first]) / (count - length)
            ratio = length * (count - length) / count * (inside - outside) ** 2
            if inside > outside and ratio > best * (1 + 1e-9):
                best, place = ratio, (first, end - 1 + int(of_transitions))
    return place


def temporal_iou(series: Sequence[float], window: tuple[int, int], *, of_transitions: bool) -> float:
    """Overlap of the frames where the series is bad (larger) and the frames of the defect."""
    place = marked(series, of_transitions=of_transitions)
    if place is None:
        return 0.0
    seen = set(range(place[0], place[1] + 1))
    true = set(range(window[0], window[1] + 1))
    return len(seen & true) / len(seen | true)
