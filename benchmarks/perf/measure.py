"""Measuring on a machine that others use too: process CPU time, one thread, alternated rounds, medians of ratios.

Wall time on a busy machine says how busy it is. CPU time still suffers from shared caches, so that the
candidates take turns, and the ratio is taken within every round before the median is.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Bar", "Clock", "alternate", "one_thread"]


@dataclass(frozen=True)
class Bar:
    """One line of the table.

    Args:
        id: number of the bar.
        what: what was measured, for people.
        value: the measured figure; None when it could not be measured here.
        limit: the bar.
        sense: on which side of the limit the figure must lie.
        unit: `x` for ratios.
        detail: the figures behind it.
        reason: why it was missed or could not be measured.
    """

    id: str
    what: str
    value: float | None
    limit: float
    sense: Literal["at least", "at most"]
    unit: str = "x"
    detail: str = ""
    reason: str = ""

    @property
    def verdict(self) -> Literal["met", "missed", "not measured"]:
        if self.value is None:
            return "not measured"
        met = self.value >= self.limit if self.sense == "at least" else self.value <= self.limit
        return "met" if met else "missed"


class Clock:
    """CPU seconds of named candidates over rounds; `seconds[name][round]`."""

    def __init__(self, seconds: Mapping[str, list[float]]) -> None:
        self.seconds = seconds

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, slow: str, fast: str) -> float:
        """Median over rounds of slow / fast."""
        pairs = zip(self.seconds[slow], self.seconds[fast], strict=True)
        return statistics.median(one / other for one, other in pairs)

    def ms(self, *names: str) -> str:
        return ", ".join(f"{name} {1000 * self.median(name):,.3g} ms" for name in names or self.seconds)


def alternate(
    candidates: Mapping[str, Callable[[], Any]], rounds: int, repeats: Mapping[str, int] | None = None
) -> Clock:
    """Run every candidate once to warm up, then in turns.

    Args:
        candidates: what is compared.
        rounds: at least 3 for a figure that is published.
        repeats: calls within one timing, for candidates that are too short for the clock.
    """
    for run in candidates.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            count = (repeats or {}).get(name, 1)
            gc.collect()
            start = time.process_time()
            for _ in range(count):
                run()
            seconds[name].append((time.process_time() - start) / count)
    return Clock(seconds)


def one_thread() -> None:
    """Keep torch and OpenCV to one thread."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
