"""What a stage tells of itself: that it started, how far it is, how it ended.

Progress is throttled here and made monotonic by `Job.advance`; a stage reports
every block and need not think of either. A run belongs to the attempt of the
job that it found at its start: where the job was retried since, its news is
another run's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from clearstem.errors import JobIsOver, JobNotFound, RetryableStageError, StageError
from clearstem.facts import Failure, Source, StageResult
from clearstem.job_table import JobTable, Transition
from clearstem.jobs import Job, JobState

# Below one percent of the stage a watcher sees no change.
_LEAST_STEP: Final = 0.01


@dataclass(slots=True)
class StageReporter:
    """One run of one stage of one job.

    Attributes
    ----------
    now : callable
        The time, in UTC.
    monotonic : callable
        Seconds that only go forward, for the throttle.
    interval_s : float
        Least time between two progress writes.
    """

    jobs: JobTable
    job_id: str
    stage: str
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    interval_s: float
    _fraction: float = field(default=0.0, init=False)
    _written_at: float = field(default=float("-inf"), init=False)
    _attempt: int | None = field(default=None, init=False)

    def start(self) -> Job:
        """Mark the stage as running.

        Raises
        ------
        JobIsOver
            The job ended before the task came to run. One that succeeded is no
            such case: a repeated run of its last stage finds its work done.
        """
        job = self._change(lambda j: j.start_stage(self.stage, at=self.now()))
        self._attempt = job.attempt
        return job if job.state is JobState.SUCCEEDED else self._living(job)

    def progress(self, done: int, total: int) -> None:
        """Report work done, in any unit; most calls cost a comparison.

        Raises
        ------
        JobIsOver
            The job was cancelled, deleted or retried meanwhile: there is nothing
            left to work for.
        """
        fraction = min(done / total, 1.0) if total > 0 else 0.0
        elapsed = self.monotonic() - self._written_at
        if fraction - self._fraction < _LEAST_STEP or elapsed < self.interval_s:
            return
        self._fraction, self._written_at = fraction, self.monotonic()
        at = self.now()
        self._living(self._change(lambda j: j.advance(self.stage, fraction=fraction, at=at)))

    def fetched(self, source: Source) -> Job:
        """Tell that the source has come from its address, and what it turned out to be.

        Raises
        ------
        JobIsOver
            The job was cancelled meanwhile.
        """
        at = self.now()
        return self._living(self._change(lambda j: j.fetched(source, at=at)))

    def complete(self, result: StageResult) -> Job:
        """Mark the stage as done, with what it found out."""
        at = self.now()
        return self._change(lambda j: j.complete_stage(self.stage, result, at=at))

    def answered(self, result: StageResult, *, by: str) -> Job:
        """Tell that the stored result of another job is this one's, which ends well with it.

        Raises
        ------
        JobIsOver
            The job was cancelled meanwhile.
        """
        at = self.now()
        job = self._change(lambda j: j.answered(result, by=by, at=at))
        return job if job.state is JobState.SUCCEEDED else self._living(job)

    def fail(self, error: StageError) -> Job:
        """Note an error: for good, or as one that is going to be retried."""
        at = self.now()
        if isinstance(error, RetryableStageError):
            return self._change(lambda j: j.stumble(self.stage, error=str(error), at=at))
        failure = Failure(self.stage, error.state_name, str(error))
        return self._change(lambda j: j.fail(failure, at=at))

    def _change(self, transition: Transition) -> Job:
        try:
            job = self.jobs.change(self.job_id, lambda j: transition(j) if self._is_mine(j) else j)
        except JobNotFound as exc:
            raise JobIsOver(f"job {self.job_id} was deleted; {self.stage} stops") from exc
        if not self._is_mine(job):
            raise JobIsOver(f"job {self.job_id} was retried; {self.stage} of before stops")
        return job

    def _is_mine(self, job: Job) -> bool:
        return self._attempt in (None, job.attempt)

    def _living(self, job: Job) -> Job:
        if job.state.is_final:
            raise JobIsOver(f"job {self.job_id} is {job.state}; {self.stage} stops")
        return job
