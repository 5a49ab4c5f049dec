"""Several machines: actors of a Ray cluster hold the opened job, and the driver feeds them with chunks of items.

A task costs Ray 1-2 ms, so cheap items travel in chunks that take about half a second. When an actor or its node
dies, nobody knows which item of the chunk was at fault: all of them are run again, one by one, on other actors.
The run's folder must be at the same path on every machine; items, rows and progress pass through the driver.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.engine.executor import STARTS, Job, Outcome, Work, attempts, one_thread, reason_of, unless_fatal
from evalkit.errors import EvalkitError, MissingExtra

__all__ = ["RayExecutor"]

_CHUNK_S = 0.5
# Only jobs, items and rows pass through the object store; by itself Ray would take a third of the machine's memory.
_STORE_BYTES = 256 << 20


@dataclass(frozen=True)
class RayExecutor:
    """Workers on a Ray cluster: `$RAY_ADDRESS`, else one of this machine's own, started when it is needed.

    Args:
        workers: actors. Fewer run while the cluster has no room for all of them.
        attempts: how often an item may kill its worker before it is given up.
        gpus: GPUs of a worker that holds a model; 0.5 lets two workers share a card.
        scoring_gpus: GPUs of a worker that holds metrics' networks, which are small beside a model.
        start_timeout_s: how long to wait for the first worker.
    """

    workers: int
    attempts: int = 2
    gpus: float = 1.0
    scoring_gpus: float = 0.25
    start_timeout_s: float = 600.0

    def map(self, job: Job, items: Sequence[Any], *, timeout_s: float | None = None) -> Iterator[Outcome]:
        """Run the items; see `Executor.map`.

        Args:
            job: opened once in every actor.
            items: picklable.
            timeout_s: wall time after which an actor is killed and its item failed.

        Raises:
            EvalkitError: the job cannot be opened, or the cluster has no room for a single worker.
        """
        if not items:
            return
        share = {"whole": self.gpus, "shared": self.scoring_gpus}.get(getattr(job, "gpu", None) or "", 0.0)
        crew = _Crew(_connect(self.workers), job, share)
        work = Work(deque(range(len(items))), together=crew.together, chunk_s=_CHUNK_S)
        try:
            while work.left or any(worker.held for worker in crew.workers):
                crew.fill(min(self.workers, work.left + sum(bool(worker.held) for worker in crew.workers)))
                for worker in crew.workers:
                    if worker.idle and work.left:
                        crew.give(worker, work.take(self.workers), items)
                for worker in crew.wait(timeout_s, self.start_timeout_s):
                    yield from self._hear(crew, worker, work)
                for worker in crew.overdue(timeout_s):
                    crew.dismiss(worker)
                    yield from work.interrupted(
                        worker.held, f"took longer than {timeout_s:g} s and was stopped", tries=1
                    )
        finally:
            for worker in list(crew.workers):
                crew.dismiss(worker)

    def has_gpu(self) -> bool:
        """Whether a machine of the cluster has a GPU."""
        return bool(_connect(self.workers).cluster_resources().get("GPU", 0))

    def _hear(self, crew: _Crew, worker: _Worker, work: Work) -> Iterator[Outcome]:
        answer, death = crew.answer(worker)
        if death is not None:
            crew.dismiss(worker)
            if not worker.opened:
                crew.deaths += 1
                if crew.deaths >= STARTS:
                    raise EvalkitError(f"{death} while it was starting; run with --workers 0 to see where")
            yield from work.interrupted(worker.held, death, tries=self.attempts)
        elif not worker.opened:
            if answer is not None:
                raise EvalkitError(answer)
            worker.opened, crew.deaths = True, 0
        else:
            worker.held = ()
            for outcome in answer:
                work.learn(outcome.seconds)
                yield unless_fatal(outcome)


@dataclass(eq=False)
class _Worker:
    """One actor, the call that it is busy with, and the indices that the call is about."""

    actor: Any
    call: Any
    since: float
    held: tuple[int, ...] = ()
    opened: bool = False

    @property
    def idle(self) -> bool:
        return self.opened and not self.held


class _Crew:
    """The actors of one `map`."""

    def __init__(self, ray: Any, job: Job, gpus: float) -> None:
        self.ray, self.job = ray, ray.put(job)
        self.workers: list[_Worker] = []
        self.deaths = 0
        self.together: int = getattr(job, "together", 1)
        self._started = time.monotonic()
        # SPREAD: the workers of one machine fight for its memory while another one idles.
        self._actor = ray.remote(_Holder).options(
            num_cpus=1, num_gpus=gpus, max_restarts=0, scheduling_strategy="SPREAD"
        )

    def fill(self, wanted: int) -> None:
        while len(self.workers) < wanted:
            actor = self._actor.remote(self.job)
            self.workers.append(_Worker(actor, actor.open.remote(), time.monotonic()))

    def give(self, worker: _Worker, chunk: tuple[int, ...], items: Sequence[Any]) -> None:
        worker.held, worker.since = chunk, time.monotonic()
        worker.call = worker.actor.run.remote([(index, items[index]) for index in chunk])

    def wait(self, timeout_s: float | None, start_timeout_s: float) -> list[_Worker]:
        """Workers whose call is done, after waiting for one or until one is overdue."""
        busy = {worker.call: worker for worker in self.workers if worker.call is not None}
        now = time.monotonic()
        patience = (
            [] if timeout_s is None else [self._due(worker, timeout_s) - now for worker in self._held()]
        )
        if not any(worker.opened for worker in self.workers):
            left = self._started + start_timeout_s - now
            if left <= 0:
                raise EvalkitError(
                    f"no worker could be started within {start_timeout_s:g} s: the Ray cluster has no room for one "
                    f"(it has {self.ray.cluster_resources()}); wait for other work to end or add machines"
                )
            patience.append(left)
        done, _ = self.ray.wait(
            list(busy), num_returns=1, timeout=max(0.0, min(patience)) + 0.01 if patience else None
        )
        return [busy[call] for call in done]

    def _held(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.held]

    def answer(self, worker: _Worker) -> tuple[Any, str | None]:
        """The result of a worker's finished call, or how the worker died."""
        try:
            result = self.ray.get(worker.call)
        except self.ray.exceptions.RayError as error:
            text = str(error).strip().splitlines()
            return None, f"the worker died ({type(error).__name__}: {text[0] if text else 'no reason given'})"
        worker.call = None
        return result, None

    def overdue(self, timeout_s: float | None) -> list[_Worker]:
        now = time.monotonic()
        return [
            worker for worker in self._held() if timeout_s is not None and now > self._due(worker, timeout_s)
        ]

    def _due(self, worker: _Worker, timeout_s: float) -> float:
        """When the worker is overdue; items that are done together share their time."""
        return worker.since + timeout_s * (len(worker.held) if self.together > 1 else 1)

    def dismiss(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.kill(worker.actor, no_restart=True)


class _Holder:
    """What an actor is: the job, opened once."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def open(self) -> str | None:
        """None, or why the job cannot be opened."""
        one_thread()
        try:
            self.job.open()
        except Exception as error:
            return reason_of(error)
        return None

    def run(self, chunk: Sequence[tuple[int, Any]]) -> list[Outcome]:
        """Outcomes of a chunk."""
        return list(attempts(self.job, chunk))


def _connect(workers: int) -> Any:
    """The `ray` module, connected."""
    # Nothing about a run leaves the cluster.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("ray", "ray", "--engine ray") from error
    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False, logging_level="error")
        else:
            ray.init(
                address="local",
                num_cpus=workers,
                object_store_memory=_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
            )
    return ray
