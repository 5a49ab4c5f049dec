"""Base of evalkit's own clip metrics: parameters from the constructor, features by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from evalkit.features.requests import FLOW, FRAMES, LUMA, image_request
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures, ClipRecord, FeatureRequest

__all__ = ["FLOW", "FRAMES", "LUMA", "BaseMetric", "constructor_params", "image_request"]


def constructor_params(instance: object) -> dict[str, str | int | float | bool | None]:
    """Constructor parameters of an object that stores each under its own name."""
    names = inspect.signature(type(instance).__init__).parameters
    return {name: getattr(instance, name) for name in names if name not in ("self", "args", "kwargs")}


class BaseMetric:
    """A clip metric without parameters that reads the features in `needs`; subclasses override what differs."""

    spec: ClassVar[MetricSpec]
    needs: ClassVar[tuple[FeatureRequest, ...]] = ()

    @property
    def params(self) -> Mapping[str, str | int | float | bool | None]:
        """Constructor parameters; part of the score's key."""
        return constructor_params(self)

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Features that `score` reads."""
        return self.needs

    def not_for(self, record: ClipRecord) -> str | None:
        """Why there is nothing to say of such a clip, known before any feature is computed; None when there may be."""
        return None

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Score one clip."""
        raise NotImplementedError
