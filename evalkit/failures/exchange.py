"""Reports in the JSON of annotation tools and of the AI vulnerability database."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from evalkit.failures.taxonomy import load_taxonomy

if TYPE_CHECKING:
    from evalkit.failures.record import FailureReport

__all__ = ["to_avid", "to_fiftyone", "to_label_studio"]

_AVID_TAXONOMY = "0.2"


def _clip_path(report: FailureReport, prefix: str) -> str | None:
    clip = report.evidence.clip
    digest = (clip.original or clip.preview) if clip else None
    return f"{prefix}{digest}" if digest else None


def _fps(report: FailureReport) -> Fraction | None:
    clip = report.evidence.clip
    rate = (clip.fps if clip else None) or report.reproduction.fps
    return Fraction(rate) if rate else None


def to_label_studio(reports: Sequence[FailureReport], media_prefix: str = "") -> list[dict[str, Any]]:
    """Tasks with annotations for Label Studio (https://labelstud.io/guide/tasks).

    Spans are regions in seconds, from the start of the first frame to the end of the last. Boxes are in percent of the
    picture; frames of a `videorectangle` count from 1. Reports without a clip are left out: there is nothing to label.
    """
    tasks = []
    for report in reports:
        video, fps = _clip_path(report, media_prefix), _fps(report)
        if video is None:
            continue
        regions: list[dict[str, Any]] = []
        if fps is not None:
            regions += [
                {
                    "id": f"{report.id}-span-{number}",
                    "type": "labels",
                    "from_name": "failure",
                    "to_name": "video",
                    "value": {
                        "start": float(segment.first / fps),
                        "end": float((segment.last + 1) / fps),
                        "labels": [report.category],
                    },
                }
                for number, segment in enumerate(report.observation.segments)
            ]
        if report.observation.boxes:
            regions.append(
                {
                    "id": f"{report.id}-box",
                    "type": "videorectangle",
                    "from_name": "box",
                    "to_name": "video",
                    "value": {
                        "labels": [report.category],
                        "sequence": [
                            {
                                "frame": box.frame + 1,
                                "enabled": True,
                                "rotation": 0,
                                "x": box.x * 100,
                                "y": box.y * 100,
                                "width": box.w * 100,
                                "height": box.h * 100,
                                **({"time": float(box.frame / fps)} if fps is not None else {}),
                            }
                            for box in sorted(report.observation.boxes, key=lambda box: box.frame)
                        ],
                    },
                }
            )
        tasks.append(
            {
                "data": {
                    "video": video,
                    "report": report.id,
                    "prompt": report.prompt,
                    "model": f"{report.model.name} {report.model.version}",
                },
                "annotations": [{"result": regions, "was_cancelled": False}],
            }
        )
    return tasks


def to_fiftyone(reports: Sequence[FailureReport], media_prefix: str = "") -> dict[str, Any]:
    """Samples in the layout of FiftyOne's own dataset format (https://docs.voxel51.com).

    Frame numbers count from 1 there, and `support` holds the first and the last frame, both included. Boxes are
    [left, top, width, height] as shares of the picture, as in the record.
    """
    samples = []
    for report in reports:
        path = _clip_path(report, media_prefix)
        if path is None:
            continue
        frames: dict[str, Any] = {}
        for box in report.observation.boxes:
            detections = frames.setdefault(
                str(box.frame + 1), {"failures": {"_cls": "Detections", "detections": []}}
            )
            detections["failures"]["detections"].append(
                {
                    "_cls": "Detection",
                    "label": report.category,
                    "bounding_box": [box.x, box.y, box.w, box.h],
                    "tags": [],
                }
            )
        samples.append(
            {
                "filepath": path,
                "_media_type": "video",
                "tags": [report.status, report.severity, *report.tags],
                "report": report.id,
                "prompt": report.prompt,
                "model": f"{report.model.name} {report.model.version}",
                "failure": {"_cls": "Classification", "label": report.category, "tags": []},
                "spans": {
                    "_cls": "TemporalDetections",
                    "detections": [
                        {
                            "_cls": "TemporalDetection",
                            "label": report.category,
                            "support": [segment.first + 1, segment.last + 1],
                            "tags": [],
                        }
                        for segment in report.observation.segments
                    ],
                },
                "frames": frames,
            }
        )
    return {"samples": samples}


def to_avid(reports: Sequence[FailureReport]) -> list[dict[str, Any]]:
    """Reports in the data model of the AI Vulnerability Database (avidtools; taxonomy 0.2)."""
    taxonomy = load_taxonomy()
    documents = []
    for report in reports:
        leaf = taxonomy.leaf(report.category)
        safety = leaf.id.startswith("safety.")
        stability = leaf.id.startswith(("control.", "temporal."))
        failed, tried = report.failed_of_tried
        said = report.observation.observed or report.evidence.statement
        documents.append(
            {
                "data_type": "AVID",
                "data_version": _AVID_TAXONOMY,
                "metadata": {"report_id": report.id},
                "affects": {
                    "developer": [],
                    "deployer": [],
                    "artifacts": [{"type": "Model", "name": f"{report.model.name} {report.model.version}"}],
                },
                "problemtype": {
                    "classof": "Undefined",
                    "type": "Issue" if report.source.kind == "human" else "Detection",
                    "description": {"lang": "eng", "value": f"{leaf.id}: {leaf.definition}"},
                },
                "metrics": [
                    {
                        "name": reading.metric_id,
                        "detection_method": {"type": "Static Threshold", "name": reading.metric_version},
                        "results": {"value": reading.value, "percentile": reading.percentile},
                    }
                    for reading in report.detectors
                    if reading.status == "ok"
                ],
                "references": [],
                "description": {
                    "lang": "eng",
                    "value": f"Prompt: {report.prompt}\n{said}"
                    + (f"\nSeen with {failed} of {tried} seeds." if tried else ""),
                },
                "impact": {
                    "avid": {
                        "risk_domain": ["Ethics"] if safety else ["Performance"],
                        "sep_view": [
                            "P0400: Safety"
                            if safety
                            else "P0201: Resilience/ Stability"
                            if stability
                            else "P0204: Accuracy"
                        ],
                        "lifecycle_view": ["L05: Evaluation"],
                        "taxonomy_version": _AVID_TAXONOMY,
                    }
                },
                "credit": [{"lang": "eng", "value": report.source.name}],
                "reported_date": report.created.date().isoformat(),
            }
        )
    return documents
