"""Whose job comes next: that of the share that used the fewest seconds of late."""

from dataclasses import dataclass
from threading import Thread

import pytest

from infra.local.fair_queue import FairQueue


@dataclass
class Clock:
    s: float = 0.0

    def __call__(self):
        return self.s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(clock):
    return FairQueue(now_s=clock)


def put(queue, names, *, share, priority=0):
    for name in names:
        queue.put(name, share=share, priority=priority)


def served(queue, clock, count, *, seconds=10.0):
    """The next items, each of which takes so long."""
    names = []
    for _ in range(count):
        turn = queue.get()
        clock.s += seconds
        queue.done(turn)
        names.append(turn.item)
    return names


def test_one_share_is_served_in_order(queue, clock):
    put(queue, "abc", share="ada")
    assert served(queue, clock, 3) == ["a", "b", "c"]


def test_a_thousand_jobs_of_one_do_not_keep_another_waiting(queue, clock):
    put(queue, range(1000), share="ada")
    assert served(queue, clock, 3) == [0, 1, 2]
    put(queue, ["b1", "b2"], share="bob")
    assert served(queue, clock, 4)[:2] == ["b1", "b2"]


def test_shares_that_wait_together_take_turns(queue, clock):
    for share in "abc":
        put(queue, [share] * 4, share=share)
    assert served(queue, clock, 12) == list("abc") * 4


def test_seconds_count_rather_than_jobs(queue, clock):
    put(queue, ["long"] * 2, share="ada")
    put(queue, ["short"] * 6, share="bob")
    assert served(queue, clock, 1, seconds=30) == ["long"]
    assert served(queue, clock, 2, seconds=10) == ["short", "short"]


def test_work_that_goes_on_counts_already(queue, clock):
    put(queue, ["a1", "a2"], share="ada")
    turn = queue.get()
    clock.s += 1
    put(queue, ["b1"], share="bob")
    assert queue.get().item == "b1"
    queue.done(turn)


def test_what_was_used_long_ago_is_forgotten(queue, clock):
    put(queue, ["a"], share="ada")
    served(queue, clock, 1, seconds=1000)
    clock.s += 24 * 3600
    put(queue, ["b"] * 2, share="bob")
    served(queue, clock, 1, seconds=1)
    put(queue, ["a"], share="ada")
    assert served(queue, clock, 1) == ["a"]


def test_what_has_begun_goes_on_first_within_a_share(queue, clock):
    put(queue, ["first stage"], share="ada")
    put(queue, ["third stage", "another third"], share="ada", priority=2)
    assert served(queue, clock, 3) == ["third stage", "another third", "first stage"]


def test_takers_wait_for_items_and_leave_a_closed_queue(queue):
    taken = []
    takers = [Thread(target=lambda: taken.append(queue.get())) for _ in range(3)]
    for taker in takers:
        taker.start()
    queue.put("item", share="ada", priority=0)
    queue.close()
    for taker in takers:
        taker.join(5)
    # The one item may have been taken before the queue closed, or not.
    assert len(taken) == 3
    assert taken.count(None) >= 2
