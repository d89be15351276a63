"""Reads of jobs, shared by the clients that poll at the same time.

While one read is under way, everyone who asks waits for the next; that one
reads all their jobs at once. So twenty pollers cost two reads and not twenty,
and nobody is shown a state older than his question, as a cache would.
A read that stalls keeps all others waiting, for as long as botocore lets it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from clearstem.errors import JobNotFound
from clearstem.job_table import LISTABLE, JobTable
from clearstem.jobs import Job
from functions.blocking import Blocking

Render = Callable[[Job], str]

_NOT_FOUND: Final = "Job not found"


class Snapshot:
    """A job as one read found it, shared by all who waited for that read."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._texts: dict[Render, str] = {}

    def text(self, render: Render) -> str:
        """The job in a dialect; rendered once, however many ask."""
        if render not in self._texts:
            self._texts[render] = render(self.job)
        return self._texts[render]


class JobReads:
    """Reads jobs for the requests of one event loop."""

    def __init__(self, jobs: JobTable, *, blocking: Blocking) -> None:
        self._jobs = jobs
        self._blocking = blocking
        self._waiting: dict[str, asyncio.Future[Snapshot | None]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def get(self, job_id: str) -> Snapshot:
        """The job as it is now or a moment from now; `JobNotFound` if there is none."""
        answer = self._waiting.get(job_id)
        if answer is None:
            answer = self._waiting[job_id] = asyncio.get_running_loop().create_future()
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_waiting())
        # Shielded: a client that goes away takes the answer from nobody else.
        snapshot = await asyncio.shield(answer)
        if snapshot is None:
            raise JobNotFound(_NOT_FOUND)
        return snapshot

    async def _read_waiting(self) -> None:
        while self._waiting:
            now = dict(list(self._waiting.items())[:LISTABLE])
            self._waiting = {k: v for k, v in self._waiting.items() if k not in now}
            try:
                found = await self._blocking.call(self._jobs.get_many, now.keys())
            except Exception as exc:  # noqa: BLE001  # it is theirs who wait, whatever it is
                for answer in now.values():
                    answer.set_exception(exc)
            else:
                for job_id, answer in now.items():
                    answer.set_result(Snapshot(found[job_id]) if job_id in found else None)
