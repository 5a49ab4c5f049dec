"""Clips that are decoded by a thread while networks compute on the clips before."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TypeVar

__all__ = ["ahead", "grouped"]

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(
    items: Sequence[Item], make: Callable[[Item], Made], size: Callable[[Made], int], budget: int
) -> Generator[Made | Exception, None, None]:
    """`make(item)` of every item in order, or the exception it raised, made by one thread ahead of the consumer.

    Args:
        items: what is made from.
        make: runs in the thread, one item at a time.
        size: bytes that a made thing keeps in memory.
        budget: while this many bytes wait for the consumer, nothing more is begun; so at most one thing more waits.

    Closing the iterator ends the thread as soon as the item in its hand is made.
    """
    ready: deque[tuple[Made | Exception, int]] = deque()
    change = threading.Condition()
    waiting, stopped = 0, False

    def work() -> None:
        nonlocal waiting
        for item in items:
            with change:
                while waiting >= budget and not stopped:
                    change.wait()
                if stopped:
                    return
            try:
                made: Made | Exception = make(item)
                weight = size(made)  # type: ignore[arg-type]
            except Exception as error:  # belongs to the item; the consumer puts it on its row
                made, weight = error, 0
            with change:
                ready.append((made, weight))
                waiting += weight
                change.notify_all()

    thread = threading.Thread(target=work, name="evalkit-prefetch", daemon=True)
    thread.start()
    try:
        for _ in items:
            with change:
                while not ready:
                    change.wait()
                made, weight = ready.popleft()
                waiting -= weight
                change.notify_all()
            yield made
    finally:
        with change:
            stopped = True
            change.notify_all()
        thread.join()


def grouped(things: Iterable[Made], count: Callable[[Made], int], enough: int) -> Iterator[list[Made]]:
    """Neighbours in groups: each ends with the thing that brings its count to `enough`, or with the last one."""
    group: list[Made] = []
    total = 0
    for thing in things:
        group.append(thing)
        total += count(thing)
        if total >= enough:
            yield group
            group, total = [], 0
    if group:
        yield group
