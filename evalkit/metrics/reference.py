"""Reference sets as one shareable file: feature rows or statistics, with the protocol inside.

A distance to a file whose protocol is not the metric's own is refused rather than computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evalkit.errors import EvalkitError, EvidenceError
from evalkit.metrics.functional.frechet import FrechetStatistics

if TYPE_CHECKING:
    import torch

__all__ = ["Reference", "load_reference", "save_reference"]

_FORMAT = "evalkit-reference/1"


class Reference(NamedTuple):
    """A reference set.

    Args:
        protocol: the features' protocol without counts (`FVD.feature_protocol`).
        statistics: count, mean and scatter.
        rows: the feature rows `(n, D)`, or None in a file of statistics alone.
        source: where the clips came from, in words.
    """

    protocol: str
    statistics: FrechetStatistics
    rows: torch.Tensor | None
    source: str


def save_reference(
    path: Path, rows: torch.Tensor, protocol: str, *, source: str, statistics_only: bool = False
) -> Reference:
    """Write feature rows `(n, D)` and their statistics as safetensors.

    Args:
        path: a new file; an existing one is replaced at once or not at all.
        rows: features of the reference clips.
        protocol: how they were computed.
        source: where the clips came from.
        statistics_only: leave the rows out, to share a reference without its clips' features.
    """
    import os

    from safetensors.torch import save_file

    statistics = FrechetStatistics.of(rows)
    tensors = {"mean": statistics.mean.contiguous(), "scatter": statistics.scatter.contiguous()}
    if not statistics_only:
        tensors["rows"] = rows.contiguous()
    metadata = {"format": _FORMAT, "protocol": protocol, "source": source, "count": str(statistics.count)}
    temporary = path.with_name(f"{path.name}.part")
    save_file(tensors, temporary, metadata)
    os.replace(temporary, path)  # noqa: PTH105  (atomic on every platform, unlike Path.rename)
    return Reference(protocol, statistics, None if statistics_only else rows, source)


def load_reference(path: Path, protocol: str | None = None) -> Reference:
    """Read a reference file.

    Args:
        path: the file.
        protocol: what the caller's features were computed with; None skips the check.

    Raises:
        EvalkitError: the file is no reference file.
        EvidenceError: its protocol is another one.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (OSError, SafetensorError) as error:
        raise EvalkitError(f"{path}: not a safetensors file ({error})") from error
    if metadata.get("format") != _FORMAT or not {"mean", "scatter"} <= set(tensors):
        raise EvalkitError(
            f"{path}: not a reference file of evalkit (format {metadata.get('format')!r}, expected {_FORMAT!r}); "
            "write one with evalkit.metrics.reference.save_reference"
        )
    found = metadata["protocol"]
    if protocol is not None and protocol != found:
        raise EvidenceError(
            f"{path} was made with {found!r}, these clips with {protocol!r}; distances between the two mean nothing: "
            "compute the reference anew with the same network and preprocessing"
        )
    statistics = FrechetStatistics(int(metadata["count"]), tensors["mean"], tensors["scatter"])
    return Reference(found, statistics, tensors.get("rows"), metadata.get("source", ""))
