"""What is written into a job's log, told from the difference of two states of it.

The log follows from the state change and from nowhere else: whoever stores a
change asks here which events it makes and stores them in the same transaction.
Numbers run from 1 without a gap, since the record itself counts them. Pure.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from clearstem.jobs import Job, JobState
from clearstem.stage_runs import StageRun, StageState

# A progress write comes every few hundred milliseconds on one machine, every
# two seconds on AWS; an event is a paid write of its own, so only each tenth
# of the job's work is one. A job logs some twenty events.
_STEP_PERCENT: Final = 10


class EventKind(StrEnum):
    """What may happen to a job; the names are those that webhooks carry."""

    QUEUED = "job.queued"
    STARTED = "job.started"
    STAGE_STARTED = "job.stage.started"
    STAGE_INTERRUPTED = "job.stage.interrupted"
    STAGE_COMPLETED = "job.stage.completed"
    PROGRESS = "job.progress"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    RETRIED = "job.retried"
    RESULTS_DELETED = "job.results_deleted"

    @property
    def ends(self) -> bool:
        """Whether the job is over with it, unless it is retried."""
        return self in _ENDS.values()


_ENDS: Final = {
    JobState.SUCCEEDED: EventKind.SUCCEEDED,
    JobState.FAILED: EventKind.FAILED,
    JobState.CANCELLED: EventKind.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One entry of a job's log.

    Attributes
    ----------
    number : int
        Its place in the job's log, from 1.
    attempt : int
        Of the job, when it happened.
    percent : float
        Of the job's work, then.
    stage : str or None
        The stage it is about.
    error : str or None
        What went wrong, in words for the user.
    """

    number: int
    kind: EventKind
    at: datetime
    attempt: int
    percent: float
    stage: str | None = None
    error: str | None = None


def logged(before: Job | None, after: Job) -> tuple[Job, tuple[JobEvent, ...]]:
    """The job with its events counted, and those events.

    Parameters
    ----------
    before : Job or None
        What is stored; None where the job is new.
    after : Job
        What is going to be stored.
    """
    first = 1 + (before.logged if before else 0)
    found = _found(before, after)
    events = tuple(replace(event, number=first + index) for index, event in enumerate(found))
    return replace(after, logged=first - 1 + len(events)), events


def _found(before: Job | None, after: Job) -> list[JobEvent]:
    if before is None:
        return [_event(EventKind.QUEUED, after)]
    if after.attempt != before.attempt:
        return [_event(EventKind.RETRIED, after, stage=after.current_stage())]
    found = _of_stages(before, after)
    if before.state is JobState.QUEUED and after.state is JobState.RUNNING:
        found.insert(0, _event(EventKind.STARTED, after))
    if after.state is not before.state and after.state.is_final:
        found.append(_ending(after))
    elif not found and _step(after) > _step(before):
        found.append(_event(EventKind.PROGRESS, after, stage=after.current_stage()))
    if before.deleted_at is None and after.deleted_at is not None:
        deleted = _event(EventKind.RESULTS_DELETED, after)
        found.append(replace(deleted, at=after.deleted_at))
    return found


def _of_stages(before: Job, after: Job) -> list[JobEvent]:
    runs = zip(before.stages, after.stages, strict=True)
    kinds = ((_kind(old, new), new) for old, new in runs)
    return [
        _event(kind, after, stage=run.name, error=run.error)
        for kind, run in kinds
        if kind is not None
    ]


def _kind(old: StageRun, new: StageRun) -> EventKind | None:
    if old.state is StageState.PENDING and new.state is StageState.RUNNING:
        return EventKind.STAGE_STARTED
    # What was never begun has not been completed either: its result was there.
    done = new.state is StageState.SUCCEEDED and new.completed_at is not None
    if old.state is not new.state and done:
        return EventKind.STAGE_COMPLETED
    if old.state is new.state is StageState.RUNNING and old.error != new.error:
        return EventKind.STAGE_INTERRUPTED
    return None


def _ending(job: Job) -> JobEvent:
    failure = job.failure
    return _event(
        _ENDS[job.state],
        job,
        stage=failure.stage if failure else None,
        error=failure.message if failure else None,
    )


def _event(
    kind: EventKind, job: Job, *, stage: str | None = None, error: str | None = None
) -> JobEvent:
    return JobEvent(0, kind, job.updated_at, job.attempt, job.percent, stage=stage, error=error)


def _step(job: Job) -> int:
    return int(job.percent) // _STEP_PERCENT
