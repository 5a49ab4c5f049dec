"""Measuring on a machine that others use too: process CPU time, one thread, alternated rounds, medians of ratios.

Wall time on a busy machine says how busy it is. CPU time still suffers from shared caches, so that the
candidates take turns, and the ratio is taken within every round before the median is.
"""

from __future__ import annotations

import datetime
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["Bar", "Clock", "Kept", "alternate", "now", "one_thread"]


@dataclass(frozen=True)
class Bar:
    """One line of the table.

    Args:
        id: number of the bar.
        what: what was measured, for people.
        value: the measured figure; None when it could not be measured here.
        limit: the bar.
        sense: on which side of the limit the figure must lie; `within` has another limit below, `least`.
        unit: `x` for ratios.
        detail: the figures behind it.
        reason: why it was missed or could not be measured.
    """

    id: str
    what: str
    value: float | None
    limit: float
    sense: Literal["at least", "at most", "within"]
    unit: str = "x"
    detail: str = ""
    reason: str = ""
    least: float | None = None

    @property
    def verdict(self) -> Literal["met", "missed", "not measured"]:
        if self.value is None:
            return "not measured"
        return "missed" if self.miss else "met"

    @property
    def miss(self) -> str:
        """By how much the bar is missed, in words; empty where it is met or was not measured."""
        value, limit = self.value, self.limit
        if value is None:
            return ""
        if self.sense == "at least" and value < limit:
            return f"{1 - value / limit:.0%} short of the limit"
        if self.sense != "at least" and value > limit:
            return f"{value / limit - 1:.0%} above the limit"
        if self.least is not None and value < self.least:
            return f"{1 - value / self.least:.0%} below the range"
        return ""


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


def now() -> dict[str, Any]:
    """Date to the minute (UTC) and the machine's load average of the last minute, for whatever is measured next."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "load": round(os.getloadavg()[0], 1),
    }


class Kept:
    """What a long part has measured so far, a line a figure, so that an interrupted part goes on where it was.

    Args:
        path: the file; None keeps nothing.
        resume: use what the file holds; False begins anew.
    """

    def __init__(self, path: Path | None = None, *, resume: bool = False) -> None:
        self.path = path
        self.points: dict[str, dict[str, Any]] = {}
        if path is not None and resume and path.exists():
            self.points = {point["key"]: point for point in map(json.loads, path.read_text().splitlines())}
        elif path is not None:
            path.unlink(missing_ok=True)

    def begun(self, start: dict[str, Any]) -> dict[str, Any]:
        """When the first of the figures was measured, which `--resume` keeps from before `start`."""
        moments = ({name: point[name] for name in start} for point in self.points.values())
        return min((start, *moments), key=lambda moment: moment["date"])

    def measure(self, key: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The figures of `key`: those that are kept, or else what `run` measures now."""
        if key not in self.points:
            print(f"  {key} ...", file=sys.stderr, flush=True)
            self.points[key] = {"key": key, **now(), **run()}
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a") as file:
                    file.write(json.dumps(self.points[key]) + "\n")
        return self.points[key]


def one_thread() -> None:
    """Keep torch and OpenCV to one thread."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
