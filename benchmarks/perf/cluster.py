"""What the Ray engine costs beyond the local one: the same items on two workers each, from first outcome to last.

Between the first and the last outcome nothing starts up. Wall time says how busy the machine is, so the bar is on
processor time of everything that either engine keeps running: workers, driver, raylet, object store and control store.
"""

from __future__ import annotations

import os
import statistics
import time
import uuid
from pathlib import Path
from typing import Any

from benchmarks.perf.measure import Bar

_MARK = "EVALKIT_PERF_MARK"
_WORKERS = 2


class Spin:
    """Items of pure arithmetic, as long as a small clip's scores."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds

    def open(self) -> None:
        pass

    def run(self, item: int) -> float:
        import numpy as np

        values = np.arange(20_000, dtype=np.float64) + item
        for _ in range(self.rounds):
            values = np.sqrt(values * values + 1.0)
        return float(values[-1])


def processor_seconds(mark: str) -> float:
    """Processor time so far of every living process whose environment carries the mark."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes():
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def _spent(executor: Any, items: int, rounds: int, mark: str) -> tuple[float, float]:
    """Processor and wall seconds between the first outcome and the last."""
    start = cpu = 0.0
    for count, outcome in enumerate(executor.map(Spin(rounds), range(items))):
        assert outcome.error is None, outcome.error
        if count == 0:
            start, cpu = time.monotonic(), processor_seconds(mark)
        if count == items - 1:
            return processor_seconds(mark) - cpu, time.monotonic() - start
    raise AssertionError("no outcome came")


def bars(rounds: int, quick: bool) -> list[Bar]:
    """Ray against local worker processes, alternated."""
    from evalkit.engine.executor import LocalExecutor
    from evalkit.engine.ray import RayExecutor

    what = f"Ray / local, {_WORKERS} workers each, first outcome to last"
    items, length = (100, 1500) if quick else (300, 3000)
    mark = uuid.uuid4().hex
    if os.environ.get(_MARK) is None:
        # /proc shows the environment that a process began with, so this must be done by a child that began with it.
        return _in_a_child(mark, rounds, quick)
    mark = os.environ[_MARK]
    spent: dict[str, list[tuple[float, float]]] = {"local": [], "ray": []}
    executors = {"local": LocalExecutor(_WORKERS), "ray": RayExecutor(_WORKERS)}
    _spent(executors["ray"], 4, 1, mark)  # starts the cluster
    for _ in range(rounds):
        for name, executor in executors.items():
            spent[name].append(_spent(executor, items, length, mark))
    ratio, wall = (
        statistics.median(
            theirs[axis] / ours[axis] for theirs, ours in zip(spent["ray"], spent["local"], strict=True)
        )
        for axis in (0, 1)
    )
    each = 1000 * statistics.median(cpu for cpu, _ in spent["local"]) / items
    return [
        Bar("10", what, ratio, 1.15, "at most",
            detail=f"processor time; {items} items of {each:.0f} ms; wall time {wall:.2f}x",
            reason=f"{items} items of {each:.0f} ms; wall time {wall:.2f}x"),
    ]  # fmt: skip


def _in_a_child(mark: str, rounds: int, quick: bool) -> list[Bar]:
    import json
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.perf.cluster", str(rounds), str(int(quick))],
        env=os.environ | {_MARK: mark, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return [Bar(**bar) for bar in json.loads(done.stdout.strip().splitlines()[-1])]


if __name__ == "__main__":
    import json
    import sys
    from dataclasses import asdict

    # What travels to workers must be importable there by its name.
    from benchmarks.perf import cluster

    print(json.dumps([asdict(bar) for bar in cluster.bars(int(sys.argv[1]), bool(int(sys.argv[2])))]))
