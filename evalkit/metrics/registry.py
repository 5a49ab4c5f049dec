"""Metrics by name.

A metric is asked for as `temporal.flicker`, or with parameters as
`alignment.clip:network=ViT-L-14,pretrained=openai`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from evalkit._registry import Registry
from evalkit.errors import EvalkitError
from evalkit.metrics.peers import PEERS

if TYPE_CHECKING:
    from evalkit.metrics.spec import ClipMetric, MetricSpec, SetMetric

__all__ = ["METRICS", "is_set_metric", "load_metric", "load_metrics", "metric_ids", "metric_specs"]

METRICS = Registry(
    "metric",
    "evalkit.metrics",
    {
        "vbench.temporal_flickering": "evalkit.metrics.vbench:TemporalFlickering",
        "vbench.subject_consistency": "evalkit.metrics.vbench:SubjectConsistency",
        "vbench.background_consistency": "evalkit.metrics.vbench:BackgroundConsistency",
        "vbench.dynamic_degree": "evalkit.metrics.vbench:DynamicDegree",
        "vbench.aesthetic_quality": "evalkit.metrics.ratings:AestheticQuality",
        "vbench.imaging_quality": "evalkit.metrics.ratings:ImagingQuality",
        "vbench.motion_smoothness": "evalkit.metrics.vbench_prompt:MotionSmoothness",
        "vbench.overall_consistency": "evalkit.metrics.vbench_prompt:OverallConsistency",
        "vbench.temporal_style": "evalkit.metrics.vbench_prompt:TemporalStyle",
        "vbench.appearance_style": "evalkit.metrics.vbench_prompt:AppearanceStyle",
        "evalcrafter.warping_error": "evalkit.metrics.evalcrafter:WarpingError",
        "evalcrafter.clip_temp": "evalkit.metrics.evalcrafter:ClipTemp",
        "evalcrafter.clip_score": "evalkit.metrics.evalcrafter:ClipScoreOfPrompt",
        "temporal.flicker": "evalkit.metrics.flicker:Flicker",
        "temporal.coherence": "evalkit.metrics.consistency:Coherence",
        "temporal.warp_error": "evalkit.metrics.consistency:WarpError",
        "temporal.subject_consistency": "evalkit.metrics.consistency:SubjectConsistency",
        "temporal.background_consistency": "evalkit.metrics.consistency:BackgroundConsistency",
        "temporal.clip_consistency": "evalkit.metrics.consistency:ClipConsistency",
        "temporal.freeze": "evalkit.metrics.rhythm:Freeze",
        "temporal.duplicates": "evalkit.metrics.rhythm:Duplicates",
        "temporal.cuts": "evalkit.metrics.rhythm:Cuts",
        "temporal.loop": "evalkit.metrics.rhythm:Loop",
        "temporal.jitter": "evalkit.metrics.rhythm:Jitter",
        "temporal.wobble": "evalkit.metrics.rhythm:Wobble",
        "temporal.motion_smoothness": "evalkit.metrics.rhythm:MotionSmoothness",
        "temporal.discontinuity": "evalkit.metrics.continuity:Discontinuity",
        "temporal.vanishing": "evalkit.metrics.continuity:Vanishing",
        "temporal.colour_drift": "evalkit.metrics.rhythm:ColourDrift",
        "temporal.long_drift": "evalkit.metrics.rhythm:LongDrift",
        "temporal.sharpness_drift": "evalkit.metrics.drift:SharpnessDrift",
        "temporal.appearance_drift": "evalkit.metrics.drift:AppearanceDrift",
        "temporal.seams": "evalkit.metrics.drift:Seams",
        "temporal.jerk": "evalkit.metrics.tracks:Jerk",
        "motion.dynamic_degree": "evalkit.metrics.motion:DynamicDegree",
        "motion.magnitude": "evalkit.metrics.motion:Magnitude",
        "alignment.clip": "evalkit.metrics.alignment:Clip",
        "alignment.conse": "evalkit.metrics.alignment:Conse",
        "alignment.world": "evalkit.metrics.alignment:World",
        "alignment.video_text": "evalkit.metrics.alignment:VideoText",
        "alignment.retrieval": "evalkit.metrics.alignment:Retrieval",
        "alignment.retrieval_top1": "evalkit.metrics.alignment:RetrievalTop1",
        "alignment.retrieval_top5": "evalkit.metrics.alignment:RetrievalTop5",
        "alignment.retrieval_margin": "evalkit.metrics.alignment:RetrievalMargin",
        "alignment.attributes": "evalkit.metrics.attributes:Attributes",
        "alignment.object": "evalkit.metrics.attributes:Object",
        "alignment.colour": "evalkit.metrics.attributes:Colour",
        "alignment.count": "evalkit.metrics.attributes:Count",
        "alignment.size": "evalkit.metrics.attributes:Size",
        "alignment.motion": "evalkit.metrics.attributes:Motion",
        "alignment.relation": "evalkit.metrics.attributes:Relation",
        "alignment.style": "evalkit.metrics.attributes:Style",
        "alignment.temporal_order": "evalkit.metrics.attributes:TemporalOrder",
        "alignment.camera": "evalkit.metrics.attributes:Camera",
        "visual.sharpness": "evalkit.metrics.visual:Sharpness",
        "visual.blockiness": "evalkit.metrics.visual:Blockiness",
        "visual.banding": "evalkit.metrics.visual:Banding",
        "visual.effective_resolution": "evalkit.metrics.visual:EffectiveResolution",
        "visual.noise": "evalkit.metrics.visual:Noise",
        "visual.exposure": "evalkit.metrics.visual:Exposure",
        "visual.quality": "evalkit.metrics.ratings:Quality",
        "visual.aesthetic": "evalkit.metrics.ratings:Aesthetic",
        "set.fvd": "evalkit.metrics.fvd:FVD",
        "set.fvd_infinity": "evalkit.metrics.fvd:FVDInfinity",
        "set.fvmd": "evalkit.metrics.tracks:FVMD",
        "set.kvd": "evalkit.metrics.sets:KVD",
        "set.jedi": "evalkit.metrics.sets:JEDi",
        "set.frechet": "evalkit.metrics.sets:Frechet",
        "set.precision": "evalkit.metrics.sets:Precision",
        "set.recall": "evalkit.metrics.sets:Recall",
        "set.density": "evalkit.metrics.sets:Density",
        "set.coverage": "evalkit.metrics.sets:Coverage",
        "set.diversity": "evalkit.metrics.diversity:Diversity",
        "provenance.c2pa": "evalkit.metrics.provenance:C2PA",
        "provenance.metadata_leak": "evalkit.metrics.provenance:MetadataLeak",
        "provenance.watermark": "evalkit.metrics.watermark:Watermark",
        "provenance.watermark_robustness": "evalkit.metrics.watermark:WatermarkRobustness",
        "safety.nsfw": "evalkit.metrics.safety:Nsfw",
        "cost.seconds_per_clip": "evalkit.metrics.cost:SecondsPerClip",
        "cost.seconds_per_frame": "evalkit.metrics.cost:SecondsPerFrame",
        "cost.peak_memory": "evalkit.metrics.cost:PeakMemory",
        **{name: f"evalkit.metrics.imported:{name}" for name in PEERS},
    },
)


def metric_specs() -> dict[str, MetricSpec]:
    """Card of every metric that can be imported, by id. Loads no network and no torch."""
    return {name: metric.spec for name, metric in METRICS.working()}


def metric_ids(*, default_only: bool = False) -> tuple[str, ...]:
    """Ids of all metrics, or of those that run unless others are asked for."""
    return tuple(name for name, spec in metric_specs().items() if spec.default or not default_only)


def load_metric(spec_string: str, **params: str | int | float | bool | None) -> ClipMetric | SetMetric:
    """Make the metric that `spec_string` asks for.

    Args:
        spec_string: `ID` or `ID:key=value,key=value`; a value is read as JSON where it is JSON, else as text.
        params: further constructor parameters; they win over those in the string.

    Raises:
        UnknownName: no metric of this id.
        EvalkitError: the parameters cannot be read, or the metric does not take one of them.

    Example:
        >>> load_metric("visual.sharpness").spec.direction
        'higher'
    """
    name, _, text = spec_string.strip().partition(":")
    factory = METRICS.load(name)
    merged = {**_parse_params(spec_string, text), **params}
    try:
        return cast("ClipMetric | SetMetric", factory(**merged))
    except (TypeError, ValueError) as error:
        raise EvalkitError(
            f"metric {name!r} cannot be made from {merged}: {error}; `evalkit metrics show {name}` lists its parameters"
        ) from error


def load_metrics(spec_strings: Iterable[str]) -> list[ClipMetric | SetMetric]:
    """Make several metrics.

    Args:
        spec_strings: as for `load_metric`; `all` and `default` stand for the whole list and for the default one,
            in which a metric that is also named with parameters takes those.

    Raises:
        EvalkitError: one id is asked for with different parameters; one run keeps one value per metric id.
    """
    chosen: dict[str, str] = {}
    explicit: set[str] = set()
    for spec_string in spec_strings:
        if spec_string in ("all", "default"):
            for name in metric_ids(default_only=spec_string == "default"):
                chosen.setdefault(name, name)
            continue
        name = spec_string.strip().partition(":")[0]
        if name in explicit and chosen[name] != spec_string:
            raise EvalkitError(
                f"metric {name!r} is asked for as {chosen[name]!r} and as {spec_string!r}; score the other "
                "variant in a run of its own"
            )
        explicit.add(name)
        chosen[name] = spec_string
    return [load_metric(spec_string) for spec_string in chosen.values()]


def is_set_metric(metric: ClipMetric | SetMetric) -> bool:
    """Whether a metric compares two sets of clips rather than scoring one clip."""
    return hasattr(metric, "vector")


def _parse_params(spec_string: str, text: str) -> dict[str, str | int | float | bool | None]:
    params: dict[str, str | int | float | bool | None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.isidentifier():
            raise EvalkitError(
                f"metric {spec_string!r}: {part!r} is no parameter; write ID:key=value,key=value"
            )
        try:
            params[key] = json.loads(value)
        except json.JSONDecodeError:
            params[key] = value
    return params
