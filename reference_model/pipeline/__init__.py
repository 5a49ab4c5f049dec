"""The reference model as a pipeline of diffusers. Importing this imports diffusers; training does not need it."""

from evalkit._torchvision import ensure

ensure()

from reference_model.pipeline.pipeline import ReferenceVideoOutput, ReferenceVideoPipeline  # noqa: E402

__all__ = ["ReferenceVideoOutput", "ReferenceVideoPipeline"]
