"""What the Ray engine costs beyond the local one, and what more workers cost: the same items for each of them.

The clock starts when a fifth of the items is done, since by then every worker has begun. Wall time says how busy the machine is, so the bar is on
processor time of everything that either engine keeps running: workers, driver, raylet, object store and control store.
"""

from __future__ import annotations

import os
import statistics
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

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


def processor_seconds(mark: str, without: frozenset[int] = frozenset()) -> dict[int, float]:
    """Processor time so far of every living process whose environment carries the mark, by process id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (
                int(folder.name) not in without
                and f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes()
            ):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                found[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
    return found


def _spent(
    executor: Any, items: int, rounds: int, mark: str, without: frozenset[int] = frozenset()
) -> tuple[float, float]:
    """Processor and wall seconds of the last four fifths of the outcomes."""
    start, cpu = 0.0, {}
    for count, outcome in enumerate(executor.map(Spin(rounds), range(items)), 1):
        assert outcome.error is None, outcome.error
        if count == items // 5:
            start, cpu = time.monotonic(), processor_seconds(mark, without)
        if count == items:
            after = processor_seconds(mark, without)
            return sum(
                spent - cpu.get(process, 0.0) for process, spent in after.items()
            ), time.monotonic() - start
    raise AssertionError("no outcome came")


def bars(rounds: int, quick: bool) -> list[Bar]:
    """Ray against local worker processes, alternated; and what more local workers cost."""
    from evalkit.engine.executor import LocalExecutor
    from evalkit.engine.ray import RayExecutor

    what = f"Ray / local, {_WORKERS} workers each, once all have begun"
    items, length = (100, 800) if quick else (250, 1200)
    mark = uuid.uuid4().hex
    if os.environ.get(_MARK) is None:
        # /proc shows the environment that a process began with, so this must be done by a child that began with it.
        return _in_a_child(mark, rounds, quick)
    mark = os.environ[_MARK]
    spent: dict[str, list[tuple[float, float]]] = {"local": [], "ray": []}
    executors = {"local": LocalExecutor(_WORKERS), "ray": RayExecutor(_WORKERS)}
    by_workers: dict[int, list[tuple[float, float]]] = {
        workers: [] for workers in (1, _WORKERS, 2 * _WORKERS)
    }
    for _ in range(rounds):
        for workers, found in by_workers.items():
            found.append(_spent(LocalExecutor(workers), items, length, mark))
    _spent(executors["ray"], 10, 1, mark)  # starts the cluster
    # Ray's own processes run on while the local engine has its turn, and are none of its cost.
    cluster = frozenset(processor_seconds(mark)) - {os.getpid()}
    for _ in range(rounds):
        spent["local"].append(_spent(executors["local"], items, length, mark, cluster))
        spent["ray"].append(_spent(executors["ray"], items, length, mark))
    ratio, wall = (
        statistics.median(
            theirs[axis] / ours[axis] for theirs, ours in zip(spent["ray"], spent["local"], strict=True)
        )
        for axis in (0, 1)
    )
    cost = {workers: statistics.median(cpu for cpu, _ in found) for workers, found in by_workers.items()}
    walls = {workers: statistics.median(wall for _, wall in found) for workers, found in by_workers.items()}
    exponent = float(np.polyfit(np.log(list(cost)), np.log(list(cost.values())), 1)[0])
    each = 1000 * statistics.median(cpu for cpu, _ in spent["local"]) / (items - items // 5)
    return [
        Bar("10", what, ratio, 1.15, "at most",
            detail=f"processor time; {items} items of {each:.0f} ms; wall time {wall:.2f}x",
            reason=f"Items of {each:.0f} ms: what Ray spends on each of them does not depend on their length."),
        Bar("13", "processor time of the same items, exponent in local workers", exponent, 0.05, "at most", unit="",
            detail="; ".join(
                f"{workers} workers: {cost[workers]:.3g} s of processor time, {walls[workers]:.3g} s of wall time"
                for workers in by_workers
            ) + f"; {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}",
            reason="More workers than cores take turns, and each finds the caches as the other left them."),
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
