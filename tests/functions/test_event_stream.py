"""Watching jobs: what is told, when it ends, and what it costs."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from math import inf
from typing import TypeVar

import pytest
from botocore.exceptions import ConnectTimeoutError

from clearstem.errors import JobNotFound
from clearstem.jobs import Job, JobState
from functions.event_stream import JobFeed
from functions.job_reads import Snapshot
from tests.unit.examples import JOB_ID, SEPARATION, a_job, at

T = TypeVar("T")


@dataclass
class Reads:
    """The table's answers: each look takes the next, and the last one over and over."""

    answers: list[Job | Exception]
    count: int = 0

    async def get(self, job_id: str) -> Snapshot:
        self.count += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Snapshot(answer)


@dataclass
class Clock:
    """Time that passes by sleeping alone."""

    seconds: float = 0.0
    sleeps: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.sleeps.append(seconds)
        await asyncio.sleep(0)


def states(count: int) -> list[Job]:
    """A job as it is queued, then further and further, a version each."""
    job = a_job()
    found = [job]
    for n in range(1, count):
        started = job.start_stage(SEPARATION, at=at(1))
        moved = started.advance(SEPARATION, fraction=n / 100, at=at(n))
        found.append(replace(moved, version=n))
    return found


def over(version: int) -> Job:
    return replace(a_job().cancel(at=at(9)), version=version)


async def told(
    feed: JobFeed, first: Job, *, idle_s: float = 900.0, limit_s: float = inf
) -> list[Job]:
    found = feed.changes(Snapshot(first), idle_s=idle_s, limit_s=limit_s)
    async with aclosing(found) as changes:
        return [snapshot.job async for snapshot in changes]


def run(scenario: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(10):
            return await scenario()

    return asyncio.run(bounded())


def feed_of(reads: Reads, clock: Clock) -> JobFeed:
    return JobFeed(reads, interval_s=0.15, now=clock.now, sleep=clock.sleep)  # type: ignore[arg-type]


def test_what_is_over_is_told_once_and_never_looked_at_again() -> None:
    reads = Reads([over(3)])
    assert run(lambda: told(feed_of(reads, Clock()), over(3))) == [over(3)]
    assert reads.count == 0


def test_every_state_is_told_once_up_to_the_last() -> None:
    first, *later = states(4)
    reads = Reads([first, later[0], later[0], later[1], later[2], over(9)])
    assert run(lambda: told(feed_of(reads, Clock()), first)) == [first, *later, over(9)]


def test_a_state_older_than_the_one_told_is_never_told() -> None:
    old, first, newer = states(3)
    reads = Reads([old, first, old, newer, old, over(9)])
    assert run(lambda: told(feed_of(reads, Clock()), first)) == [first, newer, over(9)]


def test_all_watchers_of_a_job_share_one_look() -> None:
    reads = Reads([*states(10), over(99)])

    async def fifty() -> list[list[Job]]:
        feed = feed_of(reads, Clock())
        return await asyncio.gather(*(told(feed, a_job()) for _ in range(50)))

    watchers = run(fifty)
    assert reads.count == 11
    assert all(seen == [*states(10), over(99)] for seen in watchers)


def test_a_stream_without_changes_ends_after_its_time() -> None:
    clock = Clock()
    assert run(lambda: told(feed_of(Reads([a_job()]), clock), a_job())) == [a_job()]
    assert 900 <= clock.seconds < 901


def test_a_change_begins_the_idle_time_anew() -> None:
    clock = Clock()
    first, changed = states(2)
    reads = Reads([first] * 5000 + [changed])  # 5000 looks are 750 s
    assert run(lambda: told(feed_of(reads, clock), first)) == [first, changed]
    assert 1650 <= clock.seconds < 1652


def test_a_stream_ends_at_its_limit_however_much_happens() -> None:
    clock = Clock()
    reads = Reads(states(99))
    run(lambda: told(feed_of(reads, clock), a_job(), limit_s=6.0))
    assert 6 <= clock.seconds < 6.5


def test_a_job_that_vanishes_ends_the_stream() -> None:
    reads = Reads([JobNotFound("Job not found")])
    assert run(lambda: told(feed_of(reads, Clock()), a_job())) == [a_job()]


def test_a_look_that_aws_does_not_answer_is_repeated() -> None:
    reads = Reads([ConnectTimeoutError(endpoint_url="https://table"), over(2)])
    assert run(lambda: told(feed_of(reads, Clock()), a_job())) == [a_job(), over(2)]


def test_a_fault_ends_the_stream_as_a_fault() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda: told(feed_of(Reads([ZeroDivisionError()]), Clock()), a_job()))


def test_nothing_is_read_once_nobody_watches() -> None:
    reads, clock = Reads([a_job()]), Clock()

    async def leave() -> int:
        feed = feed_of(reads, clock)
        watchers = [asyncio.create_task(told(feed, a_job())) for _ in range(3)]
        while reads.count < 5:
            await asyncio.sleep(0)
        assert feed.watched == {JOB_ID}
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        assert feed.watched == frozenset()
        seen = reads.count
        await asyncio.sleep(0.01)
        return reads.count - seen

    assert run(leave) <= 1  # the look that was under way


def test_a_job_is_followed_again_after_its_watchers_left() -> None:
    first, second = states(2)
    reads = Reads([first, over(9)])

    async def twice() -> list[Job]:
        feed = feed_of(reads, Clock())
        async with aclosing(feed.changes(Snapshot(first), idle_s=1, limit_s=inf)) as changes:
            await anext(changes)
        return await told(feed, second)

    found = run(twice)
    assert (found[0], found[-1].state) == (second, JobState.CANCELLED)
