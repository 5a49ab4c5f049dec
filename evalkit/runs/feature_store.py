"""Features on disk, keyed by content: a clip that was seen once is not decoded again for another metric."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.runs.keys import digest, feature_key

if TYPE_CHECKING:
    import torch

    from evalkit.features.compute import FeaturePlan
    from evalkit.features.protocol import ExtractorSpec, FeatureRequest

__all__ = ["FeatureFolder", "request_keys"]


def request_keys(plan: FeaturePlan) -> dict[FeatureRequest, str]:
    """Key of every feature of a plan; what cannot be computed has the key of its problem.

    With weights installed later the key changes, and what was skipped is scored.
    """
    keys: dict[FeatureRequest, str] = {}
    for request in plan.order:
        if request in plan.problems:
            problem = plan.problems[request]
            keys[request] = digest(
                ["problem", request.extractor, list(map(list, request.params)), problem.reason]
            )
        else:
            inputs = [keys[need] for need in plan.extractors[request].requires]
            keys[request] = feature_key(plan.specs[request], request, inputs)
    return keys


class FeatureFolder:
    """`FeatureStore` in `RUN/features/<feature key>/<clip id or digest of the text>.safetensors`.

    A file is written under a temporary name and renamed. It is not synced: a damaged file is found when it is
    read, and computed again.
    """

    def __init__(self, folder: Path, plan: FeaturePlan) -> None:
        self.folder = folder
        self._keys = request_keys(plan)

    def path(self, request: FeatureRequest, subject: str) -> Path:
        """Where a feature lies. Texts are named by their digest: a prompt is never a path."""
        name = (
            subject if _is_digest(subject) else hashlib.blake2b(subject.encode(), digest_size=16).hexdigest()
        )
        return self.folder / self._keys[request] / f"{name}.safetensors"

    def get(
        self, request: FeatureRequest, spec: ExtractorSpec, subject: str
    ) -> Mapping[str, torch.Tensor] | None:
        """The stored feature, or None when there is none or it is damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.path(request, subject)
        if not path.exists():
            return None
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError):
            return None

    def put(
        self, request: FeatureRequest, spec: ExtractorSpec, subject: str, tensors: Mapping[str, torch.Tensor]
    ) -> None:
        """Keep a feature."""
        from safetensors.torch import save

        path = self.path(request, subject)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.part")
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        temporary.replace(path)


def _is_digest(text: str) -> bool:
    return len(text) in (32, 40, 64) and all(character in "0123456789abcdef" for character in text)
