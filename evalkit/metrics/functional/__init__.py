"""The mathematics of the metrics: pure functions on tensors, without files, networks or state.

Functions that are called like their module (`coherence`, `flicker`) are found there alone: as an attribute of this
package the name is the module.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.metrics.functional.coherence import warp_error
    from evalkit.metrics.functional.consistency import clip_consistency, feature_consistency
    from evalkit.metrics.functional.frames import frame_differences
    from evalkit.metrics.functional.frechet import frechet_distance
    from evalkit.metrics.functional.kernels import mmd, precision_recall_density_coverage
    from evalkit.metrics.functional.picture import sharpness

_HOMES = {
    "clip_consistency": "consistency",
    "feature_consistency": "consistency",
    "frame_differences": "frames",
    "frechet_distance": "frechet",
    "mmd": "kernels",
    "precision_recall_density_coverage": "kernels",
    "sharpness": "picture",
    "warp_error": "coherence",
}

__all__ = [
    "clip_consistency",
    "feature_consistency",
    "frame_differences",
    "frechet_distance",
    "mmd",
    "precision_recall_density_coverage",
    "sharpness",
    "warp_error",
]


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
