"""What the metrics say of a clip that no run knows: scored from the file that was sent, as a report about it is filed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from evalkit.failures.errors import InvalidReport
from evalkit.failures.record import Detector
from evalkit.failures.taxonomy import load_taxonomy
from evalkit.suites.cases import window_value
from evalkit.suites.prompt import Prompt

if TYPE_CHECKING:
    from evalkit.failures.record import FailureReport
    from evalkit.failures.store import FailureStore
    from evalkit.metrics.spec import ClipMetric

__all__ = ["add_detectors", "detect"]


def detect(store: FailureStore, report: FailureReport) -> list[Detector]:
    """Run the metrics that are evidence for the report's category, and read them inside the marked span.

    The file is a stranger's: it is decoded by a child process with limits, as when it was taken. Its preview is never
    scored. There is no run to compare with, so that no reading has a percentile.

    Returns:
        one reading a metric, those without a value with the reason; none where only people can tell.

    Raises:
        InvalidReport: the report has no uploaded clip.
        VideoError: the clip cannot be decoded any more.
    """
    from evalkit.features.compute import FeaturePlan, score_clip
    from evalkit.features.protocol import ClipRecord
    from evalkit.metrics.registry import load_metrics
    from evalkit.video import decode_untrusted

    clip = report.evidence.clip
    if clip is None or clip.original is None:
        raise InvalidReport(
            f"report {report.id} has no uploaded clip; readings of a run's clip come from the run's tables"
        )
    names = load_taxonomy().leaf(report.category).metrics
    if not names:
        return []
    metrics = [cast("ClipMetric", metric) for metric in load_metrics(names)]
    path = store.media.path(clip.original)
    video = decode_untrusted(path).video
    prompt = None
    if report.prompt.strip():
        prompt = Prompt("reported", report.prompt, "", expect=report.reproduction.expect)
    record = ClipRecord(
        prompt, video.num_frames, video.height, video.width, video.fps,
        seed=report.reproduction.seed, path=str(path),
    )  # fmt: skip
    plan = FeaturePlan(metrics)
    texts = plan.text_features([prompt.text]) if prompt is not None else None
    features = plan.clip_features(video, record, texts, clip_id=video.clip_id)
    span = next(iter(report.observation.segments), None)
    found = []
    for metric in metrics:
        scored = score_clip(metric, features)
        inside = None
        if span is not None and scored.series is not None and metric.spec.series != "none":
            inside = window_value(scored.series, metric.spec.series, (span.first, span.last))
        found.append(
            Detector(
                metric_id=metric.spec.id,
                metric_version=metric.spec.version,
                status=scored.status,
                value=scored.value,
                reason=scored.reason[:500],
                direction=metric.spec.direction,
                window=span if inside is not None else None,
                window_value=inside,
            )
        )
    return found


def add_detectors(store: FailureStore, report_id: str, *, actor: str) -> FailureReport:
    """Put the readings of `detect` into a report in place of earlier ones of the same metrics."""
    found = [entry.model_dump(mode="json") for entry in detect(store, store.get(report_id))]
    new = {entry["metric_id"] for entry in found}

    def changed(report: FailureReport) -> dict[str, object]:
        kept = [entry.model_dump(mode="json") for entry in report.detectors if entry.metric_id not in new]
        return {"detectors": [*found, *kept]}

    return store.change(report_id, actor=actor, action="measured", changed=changed)
