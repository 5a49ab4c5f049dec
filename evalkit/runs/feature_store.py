"""Features on disk, keyed by content: a clip that was seen once is not decoded again for another metric."""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.runs.files import writing
from evalkit.runs.keys import digest, feature_key

if TYPE_CHECKING:
    import torch

    from evalkit.features.compute import FeaturePlan
    from evalkit.features.protocol import ExtractorSpec, FeatureRequest

__all__ = ["FeatureFolder", "request_keys"]

_BLANK = b'"crc32":"00000000"'
_SEAL = re.compile(rb'"crc32":"([0-9a-f]{8})"')


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

    A file is written under a temporary name and renamed. It is not synced; every byte is covered by a checksum
    in its header, so a damaged file is found when it is read, deleted, and computed again.
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
        from safetensors.torch import load

        path = self.path(request, subject)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        try:
            if _intact(content):
                return load(content)
        except (SafetensorError, ValueError):
            pass  # damaged in a way that the checksum's own place is gone
        path.unlink(missing_ok=True)
        return None

    def put(
        self, request: FeatureRequest, spec: ExtractorSpec, subject: str, tensors: Mapping[str, torch.Tensor]
    ) -> None:
        """Keep a feature. One with numbers that are not finite is not kept: the next run tries again.

        Raises:
            RunError: the folder cannot be written.
        """
        from safetensors.torch import save

        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            return
        plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
        content = save(plain, metadata={"crc32": "00000000"})
        path = self.path(request, subject)
        temporary = path.with_suffix(f".{secrets.token_hex(6)}.part")
        with writing(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(content.replace(_BLANK, b'"crc32":"%08x"' % zlib.crc32(content), 1))
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise


def _intact(content: bytes) -> bool:
    """Whether the bytes are those that were written; the checksum is over the file with a blank checksum."""
    header_end = min(len(content), 8 + int.from_bytes(content[:8], "little"))
    seal = _SEAL.search(content, 0, header_end)
    if seal is None:
        return False
    return zlib.crc32(content[: seal.start()] + _BLANK + content[seal.end() :]) == int(seal[1], 16)


def _is_digest(text: str) -> bool:
    return len(text) in (32, 40, 64) and all(character in "0123456789abcdef" for character in text)
