"""What makes clips: the protocol, models by name, and adapters for folders, runs, pipelines, programs and services."""

from evalkit.models.protocol import GenerationFailure, GenerationRequest, ModelInfo, VideoModel
from evalkit.models.registry import MODELS, load_model, model_names

__all__ = [
    "MODELS",
    "GenerationFailure",
    "GenerationRequest",
    "ModelInfo",
    "VideoModel",
    "load_model",
    "model_names",
]
