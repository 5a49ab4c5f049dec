"""Making things ahead by a thread: order, errors in their place, a bound, an end."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.engine.prefetch import ahead, grouped


def test_things_come_in_order_and_errors_in_their_place() -> None:
    def make(item: int) -> int:
        if item == 2:
            raise ValueError("two is damaged")
        return item * 10

    first, second, third, fourth = ahead(range(4), make, lambda made: 1, 100)
    assert (first, second, fourth) == (0, 10, 30)
    assert isinstance(third, ValueError)
    assert str(third) == "two is damaged"


def test_the_next_thing_is_made_while_the_consumer_is_busy() -> None:
    begun = [threading.Event() for _ in range(3)]

    def make(item: int) -> int:
        begun[item].set()
        return item

    made = ahead(range(3), make, lambda made: 1, 100)
    for item in made:
        assert all(event.wait(60) for event in begun[: item + 2])
    assert list(made) == []


def test_no_more_than_the_budget_and_one_wait() -> None:
    taken, most = 0, 0

    def make(item: int) -> int:
        nonlocal most
        most = max(most, item + 1 - taken)
        return item

    for made in ahead(range(50), make, lambda made: 10, 25):
        assert made == taken
        taken += 1
    # Three of ten bytes bring the budget over; one is in the consumer's hand, whose count comes after.
    assert most <= 4
    assert taken == 50


def test_closing_ends_the_thread() -> None:
    made = []
    things = ahead(range(100), lambda item: made.append(item), lambda thing: 1, 1)
    next(things)
    things.close()
    count = len(made)
    assert count <= 3
    assert not [thread for thread in threading.enumerate() if thread.name == "evalkit-prefetch"]
    assert len(made) == count


@given(st.lists(st.integers(0, 90), max_size=30), st.integers(1, 64))
def test_groups_end_when_they_have_enough(counts: list[int], enough: int) -> None:
    groups = list(grouped(counts, lambda count: count, enough))
    assert [count for group in groups for count in group] == counts
    for group in groups[:-1]:
        assert sum(group) >= enough
    for group in groups:
        assert sum(group[:-1]) < enough


def test_a_consumer_that_fails_ends_the_thread_too() -> None:
    def consume() -> None:
        things = ahead(range(100), lambda item: item, lambda thing: 1, 1)
        try:
            for _ in things:
                raise KeyError("gone")
        finally:
            things.close()

    with pytest.raises(KeyError):
        consume()
    assert not [thread for thread in threading.enumerate() if thread.name == "evalkit-prefetch"]
