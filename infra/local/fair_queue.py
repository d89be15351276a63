"""A queue whose next item is of the share that used the fewest seconds of late.

AWS Batch tells this much of its fair-share policy: usage decays, shares with little of it go
first, and within a share the higher priority, then the older job. Among shares that used as
much, the one whose job waits longest goes first.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# Time constant of an exponential; the twin's work comes in minutes rather than days.
_DECAY_S = 600.0


@dataclass(slots=True, eq=False)
class Turn(Generic[T]):
    """An item's place in the queue, and from `get` to `done` its time at work."""

    item: T
    share: str
    priority: int
    number: int
    since_s: float = 0.0


class FairQueue(Generic[T]):
    """Items that wait for one of several takers.

    Parameters
    ----------
    now_s
        A clock that never goes back, in seconds.
    """

    def __init__(self, *, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._waiting: list[Turn[T]] = []
        self._changed = threading.Condition()
        self._numbers = 0
        self._closed = False
        self._used: dict[str, tuple[float, float]] = {}  # seconds, and as of when
        self._at_work: list[Turn[T]] = []

    def put(self, item: T, *, share: str, priority: int) -> None:
        """Let an item wait; of one share's items the highest priority goes first."""
        with self._changed:
            self._numbers += 1
            self._waiting.append(Turn(item, share, priority, self._numbers))
            self._changed.notify()

    def get(self) -> Turn[T] | None:
        """The next item, as soon as there is one; None once the queue is closed.

        From now until `done` its time is counted to its share.
        """
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            turn = self._next()
            self._waiting.remove(turn)
            turn.since_s = self._now_s()
            self._at_work.append(turn)
            return turn

    def done(self, turn: Turn[T]) -> None:
        """The work on an item has ended."""
        with self._changed:
            self._at_work.remove(turn)
            now = self._now_s()
            self._used[turn.share] = (self._finished(turn.share, now) + now - turn.since_s, now)

    def close(self) -> None:
        """Send the takers home; what waits is left."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> Turn[T]:
        """The head of the share that is served next."""
        heads: dict[str, Turn[T]] = {}
        oldest: dict[str, int] = {}
        for waiting in self._waiting:
            head = heads.setdefault(waiting.share, waiting)
            oldest.setdefault(waiting.share, waiting.number)
            if waiting.priority > head.priority:
                heads[waiting.share] = waiting
        now = self._now_s()
        return min(heads.values(), key=lambda t: (self._usage(t.share, now), oldest[t.share]))

    def _usage(self, share: str, now: float) -> float:
        """Seconds of finished work, decayed, and of the work that goes on."""
        going_on = sum(now - turn.since_s for turn in self._at_work if turn.share == share)
        return self._finished(share, now) + going_on

    def _finished(self, share: str, now: float) -> float:
        seconds, as_of = self._used.get(share, (0.0, now))
        return seconds * math.exp((as_of - now) / _DECAY_S)
