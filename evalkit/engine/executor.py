"""How work is spread: a job is opened once in every worker and then fed with items.

Workers return rows and never aggregate, so that one worker and many give the same tables. An item that kills
its worker, or that takes longer than its time limit, costs that item alone: the driver knows which item every
worker holds, records the failure on it, and starts a new worker. What no item can survive (a job that cannot be
opened, a run folder that cannot be written) ends the map with an exception.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from evalkit.engine.device import freest, visible_cards
from evalkit.errors import EvalkitError, RunError

__all__ = [
    "STARTS",
    "Executor",
    "InlineExecutor",
    "Job",
    "LocalExecutor",
    "Outcome",
    "Work",
    "attempts",
    "one_thread",
    "outcomes",
    "reason_of",
    "unless_fatal",
]

_LARGEST_CHUNK = 64
STARTS = 3
"""Workers that may die one after another while they open the job; then the job is at fault."""


class Job(Protocol):
    """Picklable work. `open` loads what every item needs; `run` does one item.

    A job may say more: `device` is where it computes (`cpu`, `cuda`, `cuda:1`), and `gpu` how much of a GPU a worker
    takes (`"whole"` for a model, `"shared"` for metrics' networks). `together` is how many items a worker may be
    given at once, and `run_together(items)` then yields `(position, result or exception)` for each, in any order.
    """

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
        crashed: whether the item took its worker along (it died, or hung and was stopped), so that nobody
            knows which part of the item is at fault.
        fatal: whether going on is pointless: the run's folder cannot be written.
    """

    index: int
    result: Any = None
    error: str | None = None
    seconds: float = 0.0
    crashed: bool = False
    fatal: bool = False


class Executor(Protocol):
    """Runs a job over items; outcomes come in any order, each exactly once.

    Raises:
        EvalkitError: `Job.open` fails, which no item could survive.
        RunError: `Job.run` cannot write the run's folder. What was yielded before stays valid.
    """

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
            yield unless_fatal(attempt(job, index, item))


@dataclass(frozen=True)
class LocalExecutor:
    """Worker processes on this machine.

    Args:
        workers: how many. Every worker computes with one thread: two processes with two threads each would
            fight for the cores, and a clip's numbers must not depend on how many workers there are.
        attempts: how often an item may kill its worker before it is given up.
        model_a_card: whether a job that takes a whole GPU gets one worker a card, and not `workers`.
    """

    workers: int
    attempts: int = 2
    model_a_card: bool = False

    def map(self, job: Job, items: Sequence[Any], *, timeout_s: float | None = None) -> Iterator[Outcome]:
        """Run the items.

        Args:
            job: opened once in every worker.
            items: picklable.
            timeout_s: wall time after which a worker is killed and its item failed.

        Raises:
            EvalkitError: `Job.open` fails, which no item could survive.
        """
        work = Work(deque(range(len(items))), together=getattr(job, "together", 1))
        # `cuda` leaves the choice of a card to us; `cuda:1` and the processor do not.
        cards = visible_cards() if getattr(job, "device", "") == "cuda" else ()
        whole = self.model_a_card and getattr(job, "gpu", None) == "whole"
        most = max(1, len(cards)) if whole else self.workers
        workers: list[_Worker] = []
        deaths = 0
        try:
            while work.left or any(worker.held for worker in workers):
                wanted = min(most, work.left + sum(bool(worker.held) for worker in workers))
                while len(workers) < wanted:
                    workers.append(_Worker(job, freest(cards, [worker.card for worker in workers])))
                for worker in workers:
                    if worker.ready and not worker.held and work.left:
                        worker.give(work.take(most), items)
                ready = wait([worker.pipe for worker in workers], timeout=_patience(workers, timeout_s))
                for worker in list(workers):
                    if worker.pipe in ready:
                        message = worker.receive()
                        if isinstance(message, Outcome):
                            yield unless_fatal(message)
                        elif isinstance(message, _Opened):
                            deaths = 0
                        elif isinstance(message, _CannotOpen):
                            raise EvalkitError(message.reason)
                        else:
                            workers.remove(worker)
                            deaths += not worker.ready
                            if deaths >= STARTS:
                                raise EvalkitError(
                                    f"{message.reason} while it was starting; run with --workers 0 to see where"
                                )
                            yield from work.interrupted(
                                worker.held, message.reason, self.attempts, worker.elapsed
                            )
                    elif worker.overdue(timeout_s):
                        workers.remove(worker)
                        worker.stop()
                        why = f"took longer than {timeout_s:g} s and was stopped"
                        yield from work.interrupted(worker.held, why, 1, worker.elapsed)
        finally:
            for worker in workers:
                worker.stop()


@dataclass
class Work:
    """Indices that are not finished: `fresh` ones in order, and `suspects` of interrupted chunks, to run alone.

    Args:
        fresh: indices in order.
        together: items that the job takes at once.
        chunk_s: work that a worker is given at once, in seconds, where handing over costs time; 0 where not.
    """

    fresh: deque[int]
    together: int = 1
    chunk_s: float = 0.0
    suspects: deque[int] = field(default_factory=deque)
    interruptions: dict[int, int] = field(default_factory=dict)
    pace: float | None = None

    @property
    def left(self) -> int:
        return len(self.fresh) + len(self.suspects)

    def take(self, workers: int) -> tuple[int, ...]:
        """The next chunk, never so large that another worker runs dry."""
        if self.suspects:
            return (self.suspects.popleft(),)
        fitting = 1 if self.pace is None else int(self.chunk_s / max(self.pace, 1e-6))
        size = max(1, min(max(fitting, self.together), _LARGEST_CHUNK, len(self.fresh) // (2 * workers)))
        return tuple(self.fresh.popleft() for _ in range(size))

    def learn(self, seconds: float) -> None:
        """Follow how long an item takes."""
        self.pace = seconds if self.pace is None else 0.9 * self.pace + 0.1 * seconds

    def interrupted(
        self, held: Sequence[int], why: str, tries: int, seconds: float = 0.0
    ) -> Iterator[Outcome]:
        """Items of a worker that is gone: several are suspects, one is guilty after `tries` times."""
        if len(held) == 1:
            (index,) = held
            times = self.interruptions[index] = self.interruptions.get(index, 0) + 1
            if times >= tries:
                repeated = f" {times} times on this item" if times > 1 else ""
                yield Outcome(index, error=why + repeated, seconds=seconds, crashed=True)
                return
        self.suspects.extend(held)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A worker can take items."""


@dataclass(frozen=True, slots=True)
class _CannotOpen:
    reason: str


@dataclass(frozen=True, slots=True)
class _Died:
    reason: str


class _Worker:
    """One child process, the card it computes on if there are several, and the items it holds.

    The child sends `_Opened` or `_CannotOpen` once, and then one `Outcome` an item.
    """

    def __init__(self, job: Job, card: str | None = None) -> None:
        self.card = card
        environment = dict(os.environ) | ({} if card is None else {"CUDA_VISIBLE_DEVICES": card})
        context = _context()
        self.pipe, child = context.Pipe()
        self.process = context.Process(target=_serve, args=(child, job, environment), daemon=True)
        # Inherited by the child, or by the server that forks it, before it imports anything that makes threads.
        with _environment(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"):
            self.process.start()
        child.close()
        self.ready = False
        self.held: tuple[int, ...] = ()
        self._started = 0.0

    def give(self, chunk: tuple[int, ...], items: Sequence[Any]) -> None:
        self.held, self._started = chunk, time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # `receive` will see the death
            self.pipe.send([(index, items[index]) for index in chunk])

    def receive(self) -> Outcome | _Opened | _CannotOpen | _Died:
        """The next message of a readable pipe."""
        try:
            message: Outcome | _Opened | _CannotOpen = self.pipe.recv()
        except (EOFError, OSError):
            return _Died(f"the worker process died ({self.obituary()})")
        if isinstance(message, _Opened):
            self.ready = True
        elif isinstance(message, Outcome):
            self.held = tuple(index for index in self.held if index != message.index)
            self._started = time.monotonic()
        return message

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def left(self, timeout_s: float) -> float:
        """Seconds until the worker is overdue; items that are done together share their time."""
        return timeout_s * len(self.held) - self.elapsed

    def overdue(self, timeout_s: float | None) -> bool:
        return timeout_s is not None and bool(self.held) and self.left(timeout_s) < 0

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


def _context() -> Any:
    """How processes start: forked from a server that has imported torch once, where that is safe.

    A spawned process imports torch for itself, 2 s of processor time each; a fork of this process would
    inherit its threads and locks. The server has none. Apple's libraries do not survive a fork.
    """
    if sys.platform == "darwin" or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["evalkit.engine.worker"])
    return context


def unless_fatal(outcome: Outcome) -> Outcome:
    """The outcome.

    Raises:
        RunError: no further item can succeed either.
    """
    if outcome.fatal:
        raise RunError(outcome.error or "the run's folder cannot be written")
    return outcome


def _patience(workers: Sequence[_Worker], timeout_s: float | None) -> float | None:
    if timeout_s is None:
        return None
    left = [worker.left(timeout_s) for worker in workers if worker.held]
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


def _serve(pipe: Connection, job: Job, environment: dict[str, str]) -> None:
    """Body of a worker process."""
    # The server that forked this process has the environment of the time when it was started.
    os.environ.update(environment)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    # Ctrl-C reaches the whole process group; the driver decides what happens to the item in flight.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_the_driver, daemon=True).start()
    one_thread()
    try:
        job.open()
    except Exception as error:
        pipe.send(_CannotOpen(reason_of(error)))
        return
    pipe.send(_Opened())
    while True:
        try:
            chunk = pipe.recv()
        except (EOFError, OSError):
            return  # the driver is gone
        for outcome in attempts(job, chunk):
            pipe.send(outcome)


def _die_with_the_driver() -> None:
    """A killed driver cannot stop its workers; an orphan would hold memory and a GPU until its item is done."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def one_thread() -> None:
    """Compute with one thread in this process."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def attempt(job: Job, index: int, item: Any) -> Outcome:
    """Run one item; whatever it raises becomes an outcome."""
    start = time.monotonic()
    try:
        return Outcome(index, job.run(item), seconds=time.monotonic() - start)
    except Exception as error:
        return Outcome(
            index,
            error=reason_of(error),
            seconds=time.monotonic() - start,
            fatal=isinstance(error, RunError),
        )


def attempts(job: Job, chunk: Sequence[tuple[int, Any]]) -> Iterator[Outcome]:
    """Run the items of a chunk: together where the job can and there are several, else one after the other."""
    together: Callable[[list[Any]], Iterator[tuple[int, Any]]] | None = getattr(job, "run_together", None)
    if together is None or len(chunk) == 1:
        for index, item in chunk:
            yield attempt(job, index, item)
        return
    start = time.monotonic()
    for position, result in together([item for _, item in chunk]):
        # Items that are done together share their time: what was spent since the last outcome.
        now = time.monotonic()
        index, seconds, start = chunk[position][0], now - start, now
        if isinstance(result, Exception):
            fatal = isinstance(result, RunError)
            yield Outcome(index, error=reason_of(result), seconds=seconds, fatal=fatal)
        else:
            yield Outcome(index, result, seconds=seconds)


def reason_of(error: Exception) -> str:
    """One line for the row; where it happened only for errors that nobody raised on purpose."""
    if isinstance(error, EvalkitError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    where = f" at {os.path.basename(frame.filename)}:{frame.lineno}" if frame else ""  # noqa: PTH119
    if os.environ.get("EVALKIT_TRACEBACK"):
        traceback.print_exception(error, file=sys.stderr)
    return f"{type(error).__name__}: {error}{where}"


def outcomes(
    executor: Executor,
    job: Job,
    items: Sequence[Any],
    timeout_s: float | None,
    parts: Callable[[Any], Sequence[Any]],
    part_timeout_s: float | None = None,
) -> Iterator[tuple[Any, Outcome]]:
    """Every item with its outcome. What took a worker along is run again in parts: only the culprit fails."""
    while items:
        again: list[Any] = []
        for outcome in executor.map(job, items, timeout_s=timeout_s):
            item = items[outcome.index]
            smaller = parts(item) if outcome.crashed else ()
            if len(smaller) > 1:
                again.extend(smaller)
            else:
                yield item, outcome
        items, timeout_s = again, part_timeout_s or timeout_s
