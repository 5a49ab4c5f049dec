"""Which device a run computes on, and how several workers share the cards of one machine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from evalkit.errors import EvalkitError
from evalkit.features.device import check_device

if TYPE_CHECKING:
    from evalkit.engine.executor import Executor

__all__ = ["freest", "resolve_device", "visible_cards"]


def resolve_device(device: str, executor: Executor) -> str:
    """The device of `--device`; `auto` is a GPU where the executor's workers find one.

    Args:
        device: `cpu`, `cuda`, `cuda:N`, `mps` or `auto`.
        executor: a cluster is asked for what it has, this machine otherwise.

    Raises:
        EvalkitError: the device is unknown or not there; a card is named by number on a cluster.
    """
    cluster = getattr(executor, "has_gpu", None)
    if device == "auto":
        if cluster is not None:
            return "cuda" if cluster() else "cpu"
        return "cuda" if visible_cards() else "cpu"
    if cluster is None:
        check_device(device)
    elif device.startswith("cuda:"):
        raise EvalkitError(
            f"--device {device} with --engine ray: Ray chooses the card of every worker; use --device cuda"
        )
    elif device != "cuda":  # a GPU of the cluster need not be in the driver's machine; its workers look
        check_device(device)
    return device


def visible_cards() -> tuple[str, ...]:
    """Names of this machine's cards as CUDA_VISIBLE_DEVICES takes them. No card is touched."""
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return tuple(named[:count]) if named else tuple(map(str, range(count)))


def freest(cards: Sequence[str], taken: Iterable[str | None]) -> str | None:
    """The card that the fewest workers have; None where there is no choice."""
    if len(cards) < 2:
        return None
    load = Counter(taken)
    return min(cards, key=lambda card: load[card])
