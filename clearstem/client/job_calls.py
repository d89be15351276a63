"""The client's operations on jobs that were submitted, and on how long they are kept."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from enum import Enum

from clearstem.client.calling import Caller, Query
from clearstem.client.documents import (
    EventDocument,
    EventsDocument,
    JobDocument,
    JobsDocument,
    ReceiptDocument,
    ReceiptsDocument,
    RetentionDocument,
)


class Unchanged(Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED
"""Says that something is to stay as it is, where None has a meaning of its own."""


class JobCalls:
    """Looks at jobs, changes and ends them.

    Parameters
    ----------
    caller : Caller
        What makes the calls.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def job(self, job_id: str) -> JobDocument:
        """The job as it is now."""
        return await self._caller.get(f"/job/{job_id}", JobDocument)

    async def jobs(
        self,
        *,
        status: str = "",
        recipe: str = "",
        labels: Mapping[str, str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page: int = 20,
    ) -> AsyncIterator[JobDocument]:
        """The caller's jobs that are like that, newest first, page after page as they are read.

        Parameters
        ----------
        labels : mapping or None
            A job has to bear them all.
        since, until : datetime or None
            Submitted then or later; before.
        page : int
            Jobs to a page, 1 to 100.
        """
        query: Query = {
            "status": status,
            "recipe": recipe,
            "label": [f"{name}:{value}" for name, value in (labels or {}).items()],
            "since": since.isoformat() if since else None,
            "until": until.isoformat() if until else None,
            "limit": page,
        }
        async for found in self._caller.pages("/jobs", JobsDocument, query=query):
            for job in found["jobs"]:
                yield job

    async def amend(
        self,
        job_id: str,
        *,
        labels: Mapping[str, str] | None = None,
        retention_hours: float | Unchanged | None = UNCHANGED,
    ) -> JobDocument:
        """Change what a job is called by, or how long it is kept; the job as it is then.

        Parameters
        ----------
        labels : mapping or None
            All that it is to have; None leaves them.
        retention_hours : float, None or UNCHANGED
            From its submission to its deletion; None keeps it.
        """
        body: dict[str, object] = {} if labels is None else {"labels": dict(labels)}
        if not isinstance(retention_hours, Unchanged):
            body["retention_hours"] = retention_hours
        return await self._caller.patch(f"/job/{job_id}", JobDocument, body=body)

    async def cancel(self, job_id: str) -> JobDocument:
        """Stop a job; the job as it is then."""
        return await self._caller.post(f"/job/{job_id}/cancel", JobDocument)

    async def retry(self, job_id: str) -> JobDocument:
        """Take a failed job up again where it stopped; the job as it is then."""
        return await self._caller.post(f"/job/{job_id}/retry", JobDocument)

    async def delete(self, job_id: str) -> ReceiptDocument:
        """Delete a job with all its files, cancelled first if it is not over; the receipt."""
        return await self._caller.delete(f"/job/{job_id}", ReceiptDocument)

    async def events(self, job_id: str, *, after: int = 0) -> AsyncIterator[EventDocument]:
        """What happened to a job so far, behind the event of that number."""
        more = True
        while more:
            path = f"/job/{job_id}/events"
            page = await self._caller.get(path, EventsDocument, query={"after": after})
            for event in page["events"]:
                yield event
            after, more = page["last"], page["more"]

    async def deleted(self, *, page: int = 20) -> AsyncIterator[ReceiptDocument]:
        """The receipts of the caller's deleted jobs, the last submitted first, for 90 days.

        Parameters
        ----------
        page : int
            Receipts to a page, 1 to 100.
        """
        query = {"limit": page}
        async for found in self._caller.pages("/jobs/deleted", ReceiptsDocument, query=query):
            for receipt in found["receipts"]:
                yield receipt

    async def retention(self) -> RetentionDocument:
        """How long jobs are kept that say nothing of it themselves."""
        return await self._caller.get("/retention", RetentionDocument)

    async def keep(self, retention_hours: float | None) -> RetentionDocument:
        """Settle it for jobs to come; None keeps them."""
        body = {"retention_hours": retention_hours}
        return await self._caller.put("/retention", RetentionDocument, body=body)
