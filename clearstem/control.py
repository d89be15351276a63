"""What an owner may do to a job once it is there: stop it, or have it taken up again.

The record is changed first and the execution after it. Whatever gets lost in
between does no harm: a stage finds at its next write that the job is over, and
a job that was queued and never started is found by the sweep.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from clearstem.errors import Conflict, UploadNotFound
from clearstem.executions import Executions
from clearstem.facts import Failure
from clearstem.job_table import JobTable
from clearstem.jobs import Job, JobState
from clearstem.track_store import TrackStore

# Of a job whose execution could not be started: nothing of it was done.
NOT_STARTED: Final = "Clearstem.NotStarted"


@dataclass(frozen=True, slots=True)
class JobControl:
    """Changes the course of jobs.

    Attributes
    ----------
    executions : Mapping[str, Executions]
        By the recipe's name.
    now : callable
        The time, in UTC.
    """

    jobs: JobTable
    store: TrackStore
    executions: Mapping[str, Executions]
    now: Callable[[], datetime]

    def begin(self, job: Job) -> None:
        """Start the execution of a job that was recorded as queued.

        Where that fails, so does the job: nobody would ever work on it.
        """
        try:
            executions = self.executions[job.recipe_name]
            executions.start(
                job.job_id, owner=job.owner, engine=job.engine.name, attempt=job.attempt
            )
        except Exception as exc:
            failure = Failure(None, NOT_STARTED, f"the job could not be started: {exc}")
            self.jobs.change(
                job.job_id,
                lambda j: j.fail(failure, at=self.now()) if j.attempt == job.attempt else j,
            )
            raise

    def cancel(self, job_id: str) -> Job:
        """End a job at its owner's wish, and the work on it; a second time changes nothing.

        Raises
        ------
        JobNotFound
            There is none of that id.
        Conflict
            The job ended by itself before: it succeeded or failed.
        """
        job = self.jobs.change(job_id, lambda j: j.cancel(at=self.now()))
        if job.state is not JobState.CANCELLED:
            raise Conflict(f"the job has {job.state} already; it cannot be cancelled")
        # Also where it was cancelled before: who did so may have died before this.
        self.executions[job.recipe_name].stop(
            job.job_id, attempt=job.attempt, cause="cancelled by its owner"
        )
        return job

    def retry(self, job_id: str) -> Job:
        """Take a failed job up again where it stopped; finished stages keep their results.

        Raises
        ------
        JobNotFound
            There is none of that id.
        IllegalTransition
            It did not fail, or its results were deleted.
        Conflict
            Its recording is no longer stored.
        """
        self._check_source(self.jobs.get(job_id))
        job = self.jobs.change(job_id, lambda j: j.retry(at=self.now()))
        self.begin(job)
        return job

    def _check_source(self, job: Job) -> None:
        awaited = job.source.url is not None and job.source.size_bytes == 0
        if job.state is not JobState.FAILED or awaited:
            return
        try:
            self.store.stat(job.source.location)
        except UploadNotFound as exc:
            raise Conflict("the job's recording is no longer stored; send it again") from exc
