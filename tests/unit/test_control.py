"""What an owner may do to a job: cancel it, have it retried."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from clearstem.errors import Conflict, IllegalTransition, JobNotFound
from clearstem.executions import Executions, ExecutionState
from clearstem.facts import Failure
from clearstem.job_events import EventKind
from clearstem.jobs import Job, JobState
from clearstem.recipes import DECOMPOSITION, SEPARATION
from clearstem.service import Service
from clearstem.stage_runs import StageState
from tests.submitted import advance, finish, submit
from tests.unit.examples import AUDIO, a_job, result_of
from tests.unit.test_executions import waiting

__all__ = ["waiting"]  # a fixture


@pytest.fixture
def held(service: Service, waiting: Executions) -> Service:
    """A service whose executions run until they are stopped."""
    return replace(service, executions={"separate": waiting, "denoise": waiting})


def failed(service: Service, job: Job, *, stage: str = SEPARATION) -> Job:
    failure, at = Failure(stage, "Clearstem.NoAudio", "no frames"), service.now()
    return service.jobs.change(job.job_id, lambda j: j.fail(failure, at=at))


def kinds(service: Service, job: Job) -> list[EventKind]:
    return [event.kind for event in service.log.after(0, job_id=job.job_id)]


@pytest.mark.parametrize("under_way", [False, True])
def test_a_cancelled_job_is_over_and_its_execution_stopped(held, under_way):
    job = submit(held)
    if under_way:
        advance(held, job, fraction=0.5)
    cancelled = held.control.cancel(job.job_id)
    assert cancelled.state is JobState.CANCELLED
    assert held.executions["separate"].state(job.job_id) is ExecutionState.ABORTED


def test_a_second_cancellation_changes_nothing(held):
    job = submit(held)
    first = held.control.cancel(job.job_id)
    assert held.control.cancel(job.job_id) == first
    assert kinds(held, job).count(EventKind.CANCELLED) == 1


def test_a_cancellation_that_died_before_it_stopped_the_work_is_made_good_by_the_next(held):
    job = submit(held)
    held.jobs.change(job.job_id, lambda j: j.cancel(at=held.now()))
    assert held.executions["separate"].state(job.job_id) is ExecutionState.RUNNING
    held.control.cancel(job.job_id)
    assert held.executions["separate"].state(job.job_id) is ExecutionState.ABORTED


def test_a_job_that_ended_by_itself_is_not_cancelled(service):
    done = finish(service, submit(service))
    with pytest.raises(Conflict, match="the job has succeeded already"):
        service.control.cancel(done.job_id)
    broken = failed(service, submit(service))
    with pytest.raises(Conflict, match="the job has failed already"):
        service.control.cancel(broken.job_id)
    assert service.jobs.get(done.job_id) == done


def test_a_job_that_nobody_submitted_is_neither_cancelled_nor_retried(service):
    for act in (service.control.cancel, service.control.retry):
        with pytest.raises(JobNotFound):
            act("nobody")


def test_a_cancellation_before_the_execution_began_is_no_error(held):
    # Recorded, and cancelled by its owner before the submitting function got any further.
    job = held.jobs.create(a_job())
    assert held.control.cancel(job.job_id).state is JobState.CANCELLED


def test_a_failed_job_goes_on_in_an_execution_of_its_own(held):
    job = submit(held)
    waiting = held.executions["separate"]
    failed(held, job)
    waiting.stop(job.job_id, cause="its stage failed")
    retried = held.control.retry(job.job_id)
    assert (retried.state, retried.attempt) == (JobState.QUEUED, 2)
    assert waiting.state(job.job_id) is ExecutionState.ABORTED
    assert waiting.state(job.job_id, attempt=2) is ExecutionState.RUNNING
    assert held.control.cancel(job.job_id).state is JobState.CANCELLED
    assert waiting.state(job.job_id, attempt=2) is ExecutionState.ABORTED


def test_a_retried_job_waits_behind_those_who_came_meanwhile(held):
    job = submit(held)
    failed(held, job)
    others = [submit(held) for _ in range(2)]
    retried = held.control.retry(job.job_id)
    assert held.jobs.jobs_ahead(retried) == 2
    assert [held.jobs.jobs_ahead(held.jobs.get(other.job_id)) for other in others] == [0, 1]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda service, job: job, "the job is queued"),
        (lambda service, job: advance(service, job, fraction=0.5), "the job is running"),
        (lambda service, job: finish(service, job), "the job is succeeded"),
        (lambda service, job: service.control.cancel(job.job_id), "the job is cancelled"),
    ],
    ids=["queued", "running", "succeeded", "cancelled"],
)
def test_only_a_failed_job_is_retried(
    held: Service, end: Callable[[Service, Job], Job], said: str
) -> None:
    job = end(held, submit(held))
    with pytest.raises(IllegalTransition, match=f"{said}; only a failed job is retried"):
        held.control.retry(job.job_id)
    assert held.jobs.get(job.job_id).attempt == 1


def test_of_two_retries_one_wins(held):
    job = submit(held)
    failed(held, job)
    held.control.retry(job.job_id)
    with pytest.raises(IllegalTransition):
        held.control.retry(job.job_id)
    assert held.jobs.get(job.job_id).attempt == 2


def test_a_retry_needs_the_recording(held):
    job = submit(held)
    failed(held, job)
    where = job.source.location
    held.store.client.delete_object(Bucket=where.bucket, Key=where.key)
    with pytest.raises(Conflict, match="no longer stored"):
        held.control.retry(job.job_id)
    assert held.jobs.get(job.job_id).state is JobState.FAILED


def test_a_retry_that_cannot_be_started_fails_the_job_again_and_says_why(held):
    job = submit(held)
    failed(held, job)
    known = held.executions["separate"]
    lost = replace(known, state_machine_arn=known.state_machine_arn + "x")
    control = replace(held.control, executions={"separate": lost})
    with pytest.raises(known.client.exceptions.StateMachineDoesNotExist):
        control.retry(job.job_id)
    again = held.jobs.get(job.job_id)
    assert (again.state, again.attempt) == (JobState.FAILED, 2)
    assert "could not be started" in again.failure.message


def test_finished_stages_stand_through_a_retry(held):
    job = submit(held)
    at = held.now()
    held.jobs.change(job.job_id, lambda j: j.start_stage(SEPARATION, at=at))
    held.jobs.change(
        job.job_id,
        lambda j: j.complete_stage(SEPARATION, result_of(SEPARATION), at=at).start_stage(
            DECOMPOSITION, at=at
        ),
    )
    before = failed(held, job, stage=DECOMPOSITION)
    retried = held.control.retry(job.job_id)
    assert retried.stage(SEPARATION) == before.stage(SEPARATION)
    assert retried.stage(DECOMPOSITION).state is StageState.PENDING
    assert (retried.audio, retried.failure) == (AUDIO, None)
    assert kinds(held, job)[-2:] == [EventKind.FAILED, EventKind.RETRIED]
