"""Content keys: the one place where the name of a result is made from everything that determines it.

A key is the blake2b digest of canonical JSON. No branch, path, file name or model tag is ever part of one,
so a key that is found again always means the same number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.canonical import content_digest as digest

if TYPE_CHECKING:
    from evalkit.features.protocol import ExtractorSpec, FeatureRequest
    from evalkit.models.protocol import GenerationRequest, ModelInfo

__all__ = ["digest", "feature_key", "generation_key", "run_key", "score_key"]


def generation_key(model: ModelInfo, request: GenerationRequest, prompt_digest: str, device: str) -> str:
    """Key of one generated clip."""
    return digest(
        {
            "model": {
                "id": model.id,
                "revision": model.revision,
                "weights": model.weights,
                "config": model.config,
                "batch_size": model.batch_size,
            },
            "prompt": prompt_digest,
            "text": request.prompt,
            "negative": request.negative_prompt,
            "seed": request.seed,
            "sample": request.sample_index,
            "shape": [request.num_frames, request.height, request.width, request.fps],
            "params": request.params,
            "device": device.partition(":")[0],
        }
    )


def feature_key(spec: ExtractorSpec, request: FeatureRequest, inputs: Sequence[str]) -> str:
    """Key of a feature, without the clip or text it is computed from.

    Args:
        spec: identity of the extractor.
        request: its parameters.
        inputs: keys of the features it is computed from.
    """
    return digest(
        {
            "extractor": spec.id,
            "version": spec.version,
            "weights": spec.weights_digest,
            "preprocessing": spec.preprocessing,
            "params": list(map(list, request.params)),
            "inputs": sorted(inputs),
            # Left out on the processor, where every key of before stays what it was.
            **({"device": spec.device} if spec.device != "cpu" else {}),
        }
    )


def score_key(
    subject: str,
    metric_id: str,
    metric_version: str,
    params: Mapping[str, Any],
    features: Sequence[str],
    context: Any,
) -> str:
    """Key of one score.

    Args:
        subject: the clip's id, or its generation key while it has none.
        metric_id, metric_version, params: the metric as constructed.
        features: keys of the features that it reads.
        context: whatever else it reads of the prompt and the record, as JSON values.
    """
    return digest([subject, metric_id, metric_version, params, sorted(features), context])


def run_key(suite_digest: str, model: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Key of a run's plan: two runs of one plan have the same key."""
    return digest([suite_digest, model, settings])
