"""The changes of a job, told to every event stream that is open on it.

The record is the one source, and it is read: whoever watches a job in this
process shares one read of all watched jobs, some six times a second, and
nothing is read while nobody watches. DynamoDB's own stream would be faster by
half of that, but its consumer cannot reach the process that holds an open
response, neither on AWS nor on one machine (docs/decisions.md).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from clearstem.errors import JobNotFound
from functions.job_reads import JobReads, Snapshot
from functions.telemetry import logger

# A change is told after half of this on average, and after all of it at worst:
# 300 ms are the goal for 95 of 100, of which the read and the sockets take some.
INTERVAL_S: Final = 0.15


@dataclass(slots=True)
class _Channel:
    """One watched job.

    Attributes
    ----------
    looked : asyncio.Event
        Set after the next look, whatever it found; another takes its place then.
    error : Exception or None
        Why there will be no further look.
    """

    latest: Snapshot
    watchers: int = 0
    error: Exception | None = None
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, snapshot: Snapshot) -> None:
        """Note what a look found, unless it is older than what is known."""
        if snapshot.job.version > self.latest.job.version:
            self.latest = snapshot

    def wake(self) -> None:
        """Wake the watchers, to see what there is and what time it is."""
        self.looked.set()
        self.looked = asyncio.Event()


class JobFeed:
    """Follows jobs for the requests of one event loop.

    Parameters
    ----------
    interval_s : float
        Between two looks at the watched jobs.
    now : callable
        Seconds that only go forward.
    """

    def __init__(
        self,
        reads: JobReads,
        *,
        interval_s: float = INTERVAL_S,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._reads = reads
        self._interval_s = interval_s
        self._now = now
        self._sleep = sleep
        self._channels: dict[str, _Channel] = {}
        self._looking: asyncio.Task[None] | None = None

    @property
    def watched(self) -> frozenset[str]:
        """The ids of the jobs that somebody watches."""
        return frozenset(self._channels)

    async def changes(
        self, first: Snapshot, *, idle_s: float, limit_s: float
    ) -> AsyncIterator[Snapshot]:
        """A job as it is, then at every change, to its end.

        States that follow each other faster than the looks are skipped; the
        last one never is.

        Parameters
        ----------
        first : Snapshot
            Told at once; only what is newer follows.
        idle_s : float
            Without a change for so long, it ends.
        limit_s : float
            It ends after so long in any case.

        Raises
        ------
        Exception
            Whatever a look at the record met, but for what AWS may well answer
            the next time.
        """
        end = self._now() + limit_s
        seen = first
        yield seen
        if seen.job.state.is_final:
            return
        with self._channel(first) as channel:
            while not seen.job.state.is_final:
                until = min(self._now() + idle_s, end)
                if not await self._news(channel, seen, until=until):
                    return
                seen = channel.latest
                yield seen

    async def _news(self, channel: _Channel, seen: Snapshot, *, until: float) -> bool:
        """Wait for a newer state; False if none came in time, or never will."""
        while channel.latest.job.version <= seen.job.version:
            if isinstance(channel.error, JobNotFound) or self._now() >= until:
                return False
            if channel.error is not None:
                raise channel.error
            await channel.looked.wait()
        return True

    @contextmanager
    def _channel(self, first: Snapshot) -> Iterator[_Channel]:
        job_id = first.job.job_id
        channel = self._channels.setdefault(job_id, _Channel(first))
        channel.watchers += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_on())
        try:
            yield channel
        finally:
            channel.watchers -= 1
            if not channel.watchers:
                del self._channels[job_id]

    async def _look_on(self) -> None:
        while self._channels:
            await self._sleep(self._interval_s)
            # At once, so that one read takes them all.
            await asyncio.gather(*(self._look(*item) for item in self._channels.items()))

    async def _look(self, job_id: str, channel: _Channel) -> None:
        try:
            channel.take(await self._reads.get(job_id))
        except (BotoCoreError, ClientError) as exc:
            # Watchers lose nothing by it: the next look shows what this one missed.
            logger().warning("watched job not read", job_id=job_id, error=str(exc))
        except Exception as exc:  # noqa: BLE001  # it is theirs who watch, whatever it is
            channel.error = exc
        channel.wake()
