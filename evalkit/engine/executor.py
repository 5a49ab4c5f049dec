"""How work is spread: a job is opened once in every worker and then fed with items.

Workers return rows and never aggregate, so that one worker and many give the same tables. An item that kills
its worker, or that takes longer than its time limit, costs that item alone: the driver knows which item every
worker holds, records the failure on it, and starts a new worker.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from evalkit.errors import EvalkitError

__all__ = ["Executor", "InlineExecutor", "Job", "LocalExecutor", "Outcome"]


class Job(Protocol):
    """Picklable work. `open` loads what every item needs; `run` does one item."""

    def open(self) -> None: ...

    def run(self, item: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item.

    Args:
        index: position in the list given to `map`.
        result: what `Job.run` returned, or None.
        error: why there is no result: one paragraph, or None.
        seconds: wall time of the item.
    """

    index: int
    result: Any = None
    error: str | None = None
    seconds: float = 0.0


class Executor(Protocol):
    """Runs a job over items; outcomes come in any order, each exactly once."""

    def map(self, job: Job, items: Sequence[Any], *, timeout_s: float | None = None) -> Iterator[Outcome]: ...


@dataclass(frozen=True)
class InlineExecutor:
    """Everything in this process, in order: for debugging (`--workers 0`). Cannot survive a crash or a hang."""

    def map(self, job: Job, items: Sequence[Any], *, timeout_s: float | None = None) -> Iterator[Outcome]:
        """Run the items one by one; `timeout_s` cannot be enforced here."""
        if not items:
            return
        job.open()
        for index, item in enumerate(items):
            yield _attempt(job, index, item)


@dataclass(frozen=True)
class LocalExecutor:
    """Worker processes on this machine.

    Args:
        workers: how many. Every worker computes with one thread: two processes with two threads each would
            fight for the cores, and a clip's numbers must not depend on how many workers there are.
        attempts: how often an item may kill its worker before it is given up.
    """

    workers: int
    attempts: int = 2

    def map(self, job: Job, items: Sequence[Any], *, timeout_s: float | None = None) -> Iterator[Outcome]:
        """Run the items.

        Args:
            job: opened once in every worker.
            items: picklable.
            timeout_s: wall time after which a worker is killed and its item failed.

        Raises:
            EvalkitError: `Job.open` fails, which no item could survive.
        """
        queue = deque((index, 1) for index in range(len(items)))
        workers: list[_Worker] = []
        try:
            while queue or any(worker.item is not None for worker in workers):
                wanted = min(self.workers, len(queue) + sum(w.item is not None for w in workers))
                while len(workers) < wanted:
                    workers.append(_Worker(job))
                for worker in workers:
                    if worker.item is None and worker.ready and queue:
                        worker.give(queue.popleft(), items)
                yield from self._collect(workers, queue, timeout_s)
        finally:
            for worker in workers:
                worker.stop()

    def _collect(
        self, workers: list[_Worker], queue: deque[tuple[int, int]], timeout_s: float | None
    ) -> Iterator[Outcome]:
        ready = wait([worker.pipe for worker in workers], timeout=_patience(workers, timeout_s))
        for worker in list(workers):
            if worker.pipe in ready:
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    yield from self._bury(worker, queue, f"the worker process died ({worker.obituary()})")
                    continue
                if isinstance(message, Outcome):
                    worker.item = None
                    yield message
                elif message is None:
                    worker.ready = True
                else:
                    raise EvalkitError(message)
            elif worker.overdue(timeout_s):
                workers.remove(worker)
                worker.stop()
                index, _ = worker.item or (0, 0)
                yield Outcome(
                    index, error=f"took longer than {timeout_s:g} s and was stopped", seconds=timeout_s or 0.0
                )

    def _bury(self, worker: _Worker, queue: deque[tuple[int, int]], why: str) -> Iterator[Outcome]:
        if worker.item is None:
            if not worker.ready:
                raise EvalkitError(f"{why} while it was starting; run with --workers 0 to see where")
            return
        index, attempt = worker.item
        if attempt < self.attempts:
            queue.append((index, attempt + 1))
        else:
            yield Outcome(index, error=f"{why} {attempt} times on this item", seconds=worker.elapsed)


class _Worker:
    """One child process and the item it holds.

    The child sends None when its job is open, or the reason why it cannot be, and then one `Outcome` an item.
    """

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, child = context.Pipe()
        self.process = context.Process(target=_serve, args=(child, job), daemon=True)
        # The child inherits the environment at its start, before it imports anything that makes threads.
        with _environment(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"):
            self.process.start()
        child.close()
        self.ready = False
        self.item: tuple[int, int] | None = None
        self._started = 0.0

    def give(self, item: tuple[int, int], items: Sequence[Any]) -> None:
        self.item, self._started = item, time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # `_collect` will see the death
            self.pipe.send((item[0], items[item[0]]))

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def overdue(self, timeout_s: float | None) -> bool:
        return timeout_s is not None and self.item is not None and self.elapsed > timeout_s

    def obituary(self) -> str:
        self.process.join(5)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}" + (", out of memory?" if code == -9 else "")
        return f"exit code {code}"

    def stop(self) -> None:
        self.pipe.close()
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def _patience(workers: Sequence[_Worker], timeout_s: float | None) -> float | None:
    if timeout_s is None:
        return None
    left = [timeout_s - worker.elapsed for worker in workers if worker.item is not None]
    return max(0.0, min(left)) + 0.01 if left else None


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _serve(pipe: Connection, job: Job) -> None:
    """Body of a worker process."""
    # Ctrl-C reaches the whole process group; the driver decides what happens to the item in flight.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one_thread()
    try:
        job.open()
    except Exception as error:
        pipe.send(_describe(error))
        return
    pipe.send(None)
    while True:
        try:
            index, item = pipe.recv()
        except (EOFError, OSError):
            return  # the driver is gone
        pipe.send(_attempt(job, index, item))


def one_thread() -> None:
    """Compute with one thread in this process."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _attempt(job: Job, index: int, item: Any) -> Outcome:
    start = time.monotonic()
    try:
        return Outcome(index, job.run(item), seconds=time.monotonic() - start)
    except Exception as error:
        return Outcome(index, error=_describe(error), seconds=time.monotonic() - start)


def _describe(error: Exception) -> str:
    """One line for the row; where it happened only for errors that nobody raised on purpose."""
    if isinstance(error, EvalkitError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    where = f" at {os.path.basename(frame.filename)}:{frame.lineno}" if frame else ""  # noqa: PTH119
    if os.environ.get("EVALKIT_TRACEBACK"):
        traceback.print_exception(error, file=sys.stderr)
    return f"{type(error).__name__}: {error}{where}"
