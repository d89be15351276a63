"""A crowd of owners who submit at once, and what has to be true of the queue afterwards.

The benchmark drives the API of a twin with it, a test the table itself: who
submits what, in which order, and by which rule the queue is fair, is told here
once.
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Answer = TypeVar("Answer")

OWNERS: Final = ("ada", "bob", "cid", "dan", "eve")
SUBMISSIONS: Final = 300


@dataclass(frozen=True, slots=True)
class Submitted(Generic[Answer]):
    """One submission: whose, what was answered, and after how many seconds."""

    owner: str
    answer: Answer
    latency_s: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits: whose, its ticket, and how many are said to be ahead of it."""

    owner: str
    ticket: int
    ahead: int


def submit_all(
    submit: Callable[[str, int], Answer], *, seed: int, at_once: int = SUBMISSIONS
) -> list[Submitted[Answer]]:
    """Have every owner submit as many jobs as the others, in a shuffled order.

    The first is made before the others begin, so that all find a head in the queue and count
    their rounds from it. In an empty one each would begin in a round of its own.

    Parameters
    ----------
    submit : callable
        ``submit(owner, number)`` makes one job; numbers are 0 to 299, each once.
    at_once : int
        How many are under way at a time.
    """
    order = [(OWNERS[number % len(OWNERS)], number) for number in range(SUBMISSIONS)]
    random.Random(seed).shuffle(order)

    def timed(owner: str, number: int) -> Submitted[Answer]:
        begun = time.perf_counter()
        answer = submit(owner, number)
        return Submitted(owner, answer, time.perf_counter() - begun)

    made = [timed(*order[0])]
    with ThreadPoolExecutor(at_once) as pool:
        pending = [pool.submit(timed, owner, number) for owner, number in order[1:]]
        return made + [each.result() for each in pending]


def queue_faults(jobs: Iterable[Waiting]) -> list[str]:
    """What is wrong with a queue: numbers of jobs ahead that are not true, owners passed over.

    No owner is more than a round ahead of another.
    """
    queue = sorted(jobs, key=lambda job: job.ticket)
    faults = [
        f"{job.owner}'s job {place} of the queue is told that {job.ahead} are ahead"
        for place, job in enumerate(queue)
        if job.ahead != place
    ]
    spread = _spread([job.owner for job in queue])
    if spread > 1:
        faults.append(f"an owner is {spread} jobs ahead of another")
    return faults


def _spread(owners: Sequence[str]) -> int:
    """By how many jobs an owner is ahead of another at the worst place of a queue."""
    seen, most = dict.fromkeys(OWNERS, 0), 0
    for owner in owners:
        seen[owner] += 1
        most = max(most, max(seen.values()) - min(seen.values()))
    return most
