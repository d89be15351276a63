"""Jobs that nobody works on any more: how each of them ends."""

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from clearstem.errors import JobNotFound
from clearstem.executions import ExecutionState, execution_name, parse_name
from clearstem.facts import Failure
from clearstem.jobs import Job, JobState
from clearstem.recipes import DECOMPOSITION, RECIPES, SEPARATION
from clearstem.settling import Settler
from clearstem.stage_runs import StageState
from tests.unit.examples import JOB_ID, STAGES, a_job, after, at
from tests.unit.memory_jobs import MemoryJobs


@dataclass
class KnownExecutions:
    """Executions that stand as they are set; what is not set is missing."""

    states: dict[str, ExecutionState] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    listed: bool = True

    def start(self, job_id: str, *, owner: str, engine: str, attempt: int) -> None:
        self.started.append(execution_name(job_id, attempt=attempt))

    def state(self, job_id: str, *, attempt: int) -> ExecutionState:
        name = execution_name(job_id, attempt=attempt)
        self.asked.append(name)
        return self.states.get(name, ExecutionState.MISSING)

    def at_work(self) -> frozenset[str]:
        running = {n for n, state in self.states.items() if state is ExecutionState.RUNNING}
        return frozenset(parse_name(name)[0] for name in running if self.listed)


def settler(*jobs: Job, **states: ExecutionState) -> Settler:
    """A settler an hour after the jobs were submitted."""
    table = MemoryJobs()
    for job in jobs:
        table.create(job)
    return Settler(table, dict.fromkeys(RECIPES, KnownExecutions(states)), now=lambda: at(3600))


def separating(job_id: str = JOB_ID) -> Job:
    return a_job(job_id).start_stage(SEPARATION, at=at(1))


def failed(job: Job, *, status: str = "FAILED", error: str | None = None, cause: str | None = None):
    """The failure of a job whose execution ended so."""
    settled = settler(job).settle(job.job_id, attempt=1, status=status, error=error, cause=cause)
    assert settled.state is JobState.FAILED
    return settled.failure


def test_a_killed_task_fails_its_stage_with_batchs_reason():
    cause = {"JobId": "1", "StatusReason": "Essential container in task exited"}
    killed = json.dumps({**cause, "Container": {"ExitCode": 137}})
    assert failed(separating(), error="States.TaskFailed", cause=killed) == Failure(
        SEPARATION,
        "States.TaskFailed",
        "audio_separation did not finish: Essential container in task exited, exit code 137",
    )


def test_a_task_that_never_had_a_container_fails_without_an_exit_code():
    lost = json.dumps({"StatusReason": "Host EC2 (instance i-1) terminated."})
    assert failed(separating(), error="States.TaskFailed", cause=lost).message == (
        "audio_separation did not finish: Host EC2 (instance i-1) terminated."
    )


def test_a_stage_that_was_never_reached_is_said_to_have_never_started():
    failure = failed(after(a_job(), SEPARATION), status="TIMED_OUT")
    assert failure == Failure(
        DECOMPOSITION,
        "States.TimedOut",
        "harmonic_percussive_separation never started: the execution ended TIMED_OUT",
    )


def test_the_last_error_of_a_stage_that_was_retried_is_told():
    retried = separating().stumble(SEPARATION, error="out of memory", at=at(2))
    assert failed(retried, status="ABORTED", cause="by an operator").message == (
        "audio_separation did not finish: by an operator (last error: out of memory)"
    )


@pytest.mark.parametrize(
    "cause",
    [
        "plain words",
        "{",
        "[]",
        "5",
        "null",
        '"StatusReason"',
        "{}",
        '{"StatusReason": "gone", "Container": null}',
        '{"StatusReason": "gone", "Container": []}',
    ],
)
def test_a_cause_of_any_shape_is_told_as_it_came(cause):
    assert cause in failed(separating(), cause=cause).message


@pytest.mark.parametrize("cause", [None, ""])
def test_without_a_cause_the_status_is_the_reason(cause):
    assert failed(separating(), status="ABORTED", cause=cause).message == (
        "audio_separation did not finish: the execution ended ABORTED"
    )
    assert failed(separating(), status="ABORTED").name == "States.Aborted"


def test_the_run_that_did_not_finish_is_ended_with_the_job():
    settled = settler(separating()).settle(
        JOB_ID, attempt=1, status="FAILED", error=None, cause=None
    )
    run = settled.stage(SEPARATION)
    assert (run.state, run.completed_at) == (StageState.FAILED, at(3600))


@pytest.mark.parametrize(
    "over",
    [
        after(a_job(), *STAGES),
        separating().cancel(at=at(2)),
        separating().fail(Failure(SEPARATION, "Clearstem.NoAudio", "no frames"), at=at(2)),
    ],
    ids=["succeeded", "cancelled", "failed"],
)
def test_a_job_that_is_over_stays_as_it_ended(over):
    told = settler(over).settle(
        JOB_ID, attempt=1, status="FAILED", error="States.TaskFailed", cause="late"
    )
    assert replace(told, ticket=0, logged=0) == over


def test_an_event_told_twice_settles_once():
    desk = settler(separating())
    first = desk.settle(JOB_ID, attempt=1, status="FAILED", error=None, cause="first")
    assert desk.settle(JOB_ID, attempt=1, status="FAILED", error=None, cause="second") == first


def test_an_execution_of_no_job_is_an_error():
    with pytest.raises(JobNotFound):
        settler().settle(JOB_ID, attempt=1, status="FAILED", error=None, cause=None)


def test_late_news_of_an_old_execution_does_not_fail_a_job_that_was_retried():
    over = separating().fail(Failure(SEPARATION, "Clearstem.NoAudio", "no frames"), at=at(2))
    desk = settler(over.retry(at=at(3)))
    told = desk.settle(JOB_ID, attempt=1, status="FAILED", error=None, cause="late")
    assert (told.state, told.attempt) == (JobState.QUEUED, 2)
    told = desk.settle(JOB_ID, attempt=2, status="FAILED", error=None, cause="again")
    assert told.state is JobState.FAILED


def test_a_sweep_starts_a_retried_job_under_the_name_of_its_attempt():
    over = separating("one").fail(Failure(SEPARATION, "X", "?"), at=at(2))
    desk = settler(over.retry(at=at(3)), one=ExecutionState.FAILED)
    assert [job.state for job in desk.sweep()] == [JobState.QUEUED]
    assert desk.executions["separate"].started == ["one_2"]


def test_a_long_queue_is_told_by_a_list():
    """Step Functions lets an account ask for some ten single executions a second."""
    names = [f"waiting-{n}" for n in range(500)]
    desk = settler(
        *(a_job(name) for name in names),
        separating("dead"),
        **dict.fromkeys(names, ExecutionState.RUNNING),
    )
    assert [job.job_id for job in desk.sweep()] == ["dead"]
    assert desk.executions["separate"].asked == ["dead"]


def test_a_list_that_is_behind_ends_no_job():
    desk = settler(separating("one"), one=ExecutionState.RUNNING)
    desk.executions["separate"].listed = False
    assert list(desk.sweep()) == []
    assert desk.jobs.get("one").state is JobState.RUNNING


def test_a_sweep_goes_on_where_the_time_of_the_one_before_was_over():
    desk = settler(*(separating(f"dead-{n}") for n in range(3)), a_job("lost-1"), a_job("lost-2"))
    known = desk.executions["separate"]
    swept = []
    for _ in range(3):
        time = iter([True, True])
        swept.append(
            [job.job_id for job in desk.sweep(in_time=lambda time=time: next(time, False))]
        )
        known.states |= dict.fromkeys(known.started, ExecutionState.RUNNING)
    assert [len(turn) for turn in swept] == [2, 2, 1]
    assert len({*swept[0], *swept[1], *swept[2]}) == 5


def test_a_sweep_whose_time_is_over_tells_what_went_wrong():
    class Throttled(KnownExecutions):
        def state(self, job_id: str, *, attempt: int) -> ExecutionState:
            raise ConnectionError("Step Functions does not answer")

    desk = replace(
        settler(separating("one"), separating("two")),
        executions=dict.fromkeys(RECIPES, Throttled()),
    )
    time = iter([True])
    with pytest.raises(ExceptionGroup, match="1 jobs could not be settled"):
        list(desk.sweep(in_time=lambda: next(time, False)))


@pytest.mark.parametrize("state", [ExecutionState.RUNNING, ExecutionState.PENDING_REDRIVE])
def test_a_sweep_leaves_a_job_alone_that_is_worked_on(state):
    desk = settler(separating("one"), one=state)
    assert list(desk.sweep()) == []
    assert desk.jobs.get("one").state is JobState.RUNNING


@pytest.mark.parametrize(
    "state",
    [
        ExecutionState.FAILED,
        ExecutionState.TIMED_OUT,
        ExecutionState.ABORTED,
        ExecutionState.SUCCEEDED,
        ExecutionState.MISSING,
    ],
)
def test_a_sweep_settles_a_running_job_whose_execution_is_no_more(state):
    desk = settler(separating("one"), one=state)
    (swept,) = desk.sweep()
    assert swept == desk.jobs.get("one")
    assert (swept.state, swept.failure.stage) == (JobState.FAILED, SEPARATION)
    assert state in swept.failure.message
    assert list(desk.sweep()) == []


def test_a_sweep_starts_a_queued_job_that_was_recorded_and_never_started():
    desk = settler(a_job("one"))
    assert [job.job_id for job in desk.sweep()] == ["one"]
    assert desk.executions["separate"].started == ["one"]
    assert desk.jobs.get("one").state is JobState.QUEUED


def test_a_sweep_settles_a_queued_job_whose_execution_ended():
    desk = settler(a_job("one"), one=ExecutionState.ABORTED)
    (swept,) = desk.sweep()
    assert swept.state is JobState.FAILED
    assert desk.executions["separate"].started == []


def test_a_sweep_looks_at_no_job_that_changed_lately():
    table = MemoryJobs()
    table.create(separating("one"))
    desk = Settler(table, dict.fromkeys(RECIPES, KnownExecutions()), now=lambda: at(60))
    assert list(desk.sweep()) == []
    assert len(list(desk.sweep(quiet=timedelta(seconds=58)))) == 1


def test_a_sweep_goes_through_every_quiet_job():
    desk = settler(
        separating("dead"), separating("alive"), a_job("lost"), alive=ExecutionState.RUNNING
    )
    assert {job.job_id for job in desk.sweep()} == {"dead", "lost"}


def test_a_job_that_cannot_be_settled_keeps_no_other_from_it():
    class Throttled(KnownExecutions):
        def state(self, job_id: str, *, attempt: int) -> ExecutionState:
            if job_id == "broken":
                raise ConnectionError("Step Functions does not answer")
            return super().state(job_id, attempt=attempt)

    desk = settler(separating("broken"), separating("dead"))
    sweep = replace(desk, executions=dict.fromkeys(RECIPES, Throttled())).sweep()
    assert next(sweep).job_id == "dead"
    with pytest.raises(ExceptionGroup, match="1 jobs could not be settled"):
        next(sweep)


def test_a_job_that_is_deleted_while_it_is_settled_is_no_fault():
    desk = settler(separating("gone"), separating("dead"))

    class Deleting(KnownExecutions):
        def state(self, job_id: str, *, attempt: int) -> ExecutionState:
            if job_id == "gone":
                del desk.jobs.stored["gone"]
            return super().state(job_id, attempt=attempt)

    sweep = replace(desk, executions=dict.fromkeys(RECIPES, Deleting())).sweep()
    assert [job.job_id for job in sweep] == ["dead"]
