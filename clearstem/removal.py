"""Taking things away: a job's files, or the job with everything it left.

First nothing is given out any more, then the files go, in all versions that
their buckets keep (`clearstem.places`), then the record. A removal that dies
half way is finished by asking again, and by the sweep, which looks once more at
whatever was removed: a stage that was just being stopped may have written after it.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from clearstem.control import JobControl
from clearstem.errors import Conflict, Contention, JobNotFound
from clearstem.facts import Location
from clearstem.job_table import JobTable
from clearstem.jobs import Job
from clearstem.places import Lying
from clearstem.recipes import work_prefix
from clearstem.retention import ON_THEIR_WAY, Due, Receipt, RetentionTable
from clearstem.settings import Settings
from clearstem.table_keys import AFTERMATH, EXPIRY, FADING
from clearstem.track_store import TrackStore
from clearstem.usage import usage_of
from clearstem.webhook_deliveries import Cleared, DeliveryTable

# A stage that is stopped has 30 s to end, on AWS and on one machine.
_AFTERMATH: Final = timedelta(minutes=5)
# Buckets' rules are carried out once a day.
_LOOKED_AGAIN: Final = timedelta(days=1)
# Each lost race is one of an owner against himself.
_ATTEMPTS: Final = 8


@dataclass(frozen=True, slots=True)
class Erased:
    """What was taken from the buckets: files in all their versions, and their bytes."""

    files: int
    size_bytes: int
    source_kept: bool

    def then(self, later: "Erased") -> "Erased":
        """Both turns together."""
        files, size_bytes = self.files + later.files, self.size_bytes + later.size_bytes
        return Erased(files, size_bytes, later.source_kept)


_NONE_YET: Final = Erased(0, 0, source_kept=False)
_KEPT: Final = Cleared()


@dataclass(frozen=True, slots=True)
class Removal:
    """Removes what belongs to jobs.

    Attributes
    ----------
    now : callable
        The time, in UTC.
    """

    jobs: JobTable
    retention: RetentionTable
    store: TrackStore
    control: JobControl
    deliveries: DeliveryTable
    settings: Settings
    now: Callable[[], datetime]

    def delete_results(self, job_id: str) -> Receipt:
        """Delete the files of a job that is over, and keep its record.

        Raises
        ------
        JobNotFound
            There is none of that id.
        Conflict
            The job is not over.
        """
        job = self.jobs.change(job_id, lambda j: j.delete_results(at=self.now()))
        if not job.state.is_final:
            raise Conflict(f"the job is {job.state}; cancel it before its results are deleted")
        self.jobs.cache.forget(job)
        return self._receipt(job, self._erase(self._reminded(job)), record_kept=True)

    def delete(self, job_id: str) -> Receipt:
        """Delete a job with files, log and deliveries; one that is not over is cancelled first.

        Asked again, the answer is the same receipt.

        Raises
        ------
        JobNotFound
            There is none of that id, and was none.
        """
        erased, cleared = _NONE_YET, _KEPT
        for _ in range(_ATTEMPTS):
            try:
                self._end(job_id)
                job = self.jobs.change(job_id, lambda j: j.delete_results(at=self.now()))
            except JobNotFound:
                return self._told(job_id)
            if not job.state.is_final:
                continue  # its owner had it retried in between
            due = self._reminded(job)
            self.jobs.cache.forget(job)
            # A turn that lost its race has taken things away all the same.
            cleared = cleared.then(self.deliveries.clear(job_id))
            erased = erased.then(self._erase(due))
            receipt = self._receipt(job, erased, cleared, record_kept=False)
            if self.retention.bury(job, receipt):
                self.retention.forget(due)
                return receipt
        raise Contention(f"job {job_id} changed under {_ATTEMPTS} attempts to delete it")

    def receipt(self, job_id: str, *, owner: str) -> Receipt:
        """The receipt of an owner's deleted job; `JobNotFound` also where it is another's."""
        receipt = self._told(job_id)
        if receipt.owner != owner:
            raise JobNotFound("Job not found")
        return receipt

    def sweep(self, *, in_time: Callable[[], bool] = lambda: True) -> Iterator[str]:
        """Delete the jobs whose time is over, look after those removed; yields their ids.

        Parameters
        ----------
        in_time : callable
            Whether another job may be removed; the next turn goes on where this one ends.

        Raises
        ------
        ExceptionGroup
            At the end, of what went wrong: one job that cannot be removed must
            not keep all others from it, turn after turn.
        """
        faults: list[Exception] = []
        for sort, due in self.retention.due(before=self.now()):
            if not in_time():
                break
            try:
                self._meet(due, sort=sort)
            except Exception as exc:  # noqa: BLE001  # raised below, with all others
                faults.append(exc)
            else:
                yield due.job_id
        if faults:
            raise ExceptionGroup(f"{len(faults)} jobs could not be removed", faults)

    def _meet(self, due: Due, *, sort: str) -> None:
        if sort == EXPIRY:
            self._expire(due)
        elif sort == FADING:
            self._fade(due)
        elif sort == AFTERMATH:
            self._look_after(due)
        self.retention.settle(due, sort=sort)

    def _look_after(self, due: Due) -> None:
        """Remove what a stopping stage wrote, and what a deleted job left.

        What is still told of a deleted job is looked at later again, its files are not:
        a recording dropped anew has the key of the one before.
        """
        if not due.erased:
            self._erase(due)
        if self.retention.receipt(due.job_id) is None:
            return
        self.retention.forget(due)
        # Before deliveries are looked for: one that is made from here on puts it off further.
        later = self.retention.put_off(
            replace(due, erased=True), sort=AFTERMATH, at=self.now() + ON_THEIR_WAY
        )
        if not self.deliveries.clear(due.job_id).pending:
            self.retention.close(later, beside=self.deliveries.references(due.job_id))

    def _expire(self, due: Due) -> None:
        try:
            job = self.jobs.get(due.job_id)
        except JobNotFound:
            return
        if job.expires_at is not None and job.expires_at <= self.now():
            self.delete(due.job_id)

    def _fade(self, due: Due) -> None:
        """Note that a job's files are gone, where its buckets' rules took them away.

        They count as stored until then. Where they are still there, as on one
        machine, whose disk has no such rules, they are looked for again later. So
        they are where the job is not over: it was retried, and gets new ones.
        """
        if not self._is_there(due.destination) and not self._has_source(due):
            with suppress(Conflict):
                with suppress(JobNotFound):
                    self.delete_results(due.job_id)
                return
        self.retention.put_off(due, sort=FADING, at=self.now() + _LOOKED_AGAIN)

    def _has_source(self, due: Due) -> bool:
        return self.store.stored_at(due.source) is not None and not self._is_replaced(due)

    def _is_replaced(self, due: Due) -> bool:
        """Whether what lies in the place of a job's recording came after the job.

        The names of dropped files are their owners', who use them again; all other
        recordings have places of their own, and what is fetched comes after its job.
        """
        if due.source.bucket != self.settings.drop_bucket or due.created_at is None:
            return False
        came_at = self.store.stored_at(due.source)
        return came_at is not None and came_at > due.created_at

    def _is_there(self, prefix: Location) -> bool:
        answer = self.store.client.list_objects_v2(
            Bucket=prefix.bucket, Prefix=prefix.key, MaxKeys=1
        )
        return bool(answer.get("Contents"))

    def _end(self, job_id: str) -> None:
        if self.jobs.get(job_id).state.is_final:
            return
        try:
            self.control.cancel(job_id)
        except Conflict:
            return  # it ended by itself: that is as good

    def _told(self, job_id: str) -> Receipt:
        receipt = self.retention.receipt(job_id)
        if receipt is None:
            raise JobNotFound("Job not found")
        return receipt

    def _reminded(self, job: Job) -> Due:
        # Before the first file goes: from here on the sweep finishes what we do not.
        return self.retention.remind(job, at=self.now() + _AFTERMATH)

    def _erase(self, due: Due) -> Erased:
        work = Location(self.settings.work_bucket, work_prefix(due.job_id))
        found = [*self._below(due.destination, due), *self._below(work, due)]
        source_kept = self.retention.release(due)
        if not source_kept and not self._is_replaced(due):
            found += self.store.places.at(due.source)
        self.store.places.erase(found)
        files, size_bytes = (each.files for each in found), (each.size_bytes for each in found)
        return Erased(sum(files), sum(size_bytes), source_kept)

    def _below(self, prefix: Location, due: Due) -> tuple[Lying, ...]:
        # A prefix that is not the job's own would take other people's files along.
        if not prefix.key.endswith(f"/{due.job_id}/"):
            raise ValueError(f"{prefix.key} is no place of job {due.job_id} alone")
        return self.store.places.below(prefix)

    def _receipt(
        self, job: Job, erased: Erased, cleared: Cleared = _KEPT, *, record_kept: bool
    ) -> Receipt:
        return Receipt(
            job_id=job.job_id,
            owner=job.owner,
            recipe_name=job.recipe_name,
            state=job.state,
            created_at=job.created_at,
            deleted_at=job.deleted_at or self.now(),
            files=erased.files,
            size_bytes=erased.size_bytes,
            source_kept=erased.source_kept,
            record_kept=record_kept,
            audio_ms=usage_of(job).audio_ms,
            deliveries=cleared.removed,
            deliveries_pending=cleared.pending,
        )
