"""What a stage tells of itself, and how seldom."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearstem.errors import (
    IllegalTransition,
    JobIsOver,
    NonFiniteOutput,
    StageError,
    StageInterrupted,
)
from clearstem.facts import Failure, StageResult
from clearstem.jobs import Job, JobState
from clearstem.recipes import DECOMPOSITION, NORMALIZATION, SEPARATION
from clearstem.reporting import StageReporter
from clearstem.stage_runs import StageState
from tests.unit.examples import AUDIO, JOB_ID, STAGES, a_job, after, at, result_of
from tests.unit.memory_jobs import MemoryJobs


@dataclass
class Clock:
    """Seconds since the job was submitted; they pass when told to."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Task:
    """A stage task's view: its reporter, a clock, and the table behind both."""

    jobs: MemoryJobs
    clock: Clock
    reporter: StageReporter

    @property
    def job(self) -> Job:
        return self.jobs.get(JOB_ID)

    def progress(self, done: int, total: int, *, seconds: float) -> None:
        self.clock.seconds = seconds
        self.reporter.progress(done, total)


def task(job: Job | None = None, *, stage: str = SEPARATION) -> Task:
    jobs, clock = MemoryJobs(), Clock()
    jobs.create(job or a_job())
    reporter = StageReporter(
        jobs=jobs,
        job_id=JOB_ID,
        stage=stage,
        now=lambda: at(clock.seconds),
        monotonic=clock,
        interval_s=2.0,
    )
    return Task(jobs, clock, reporter)


@pytest.fixture
def separating() -> Task:
    started = task()
    started.reporter.start()
    return started


def test_a_start_is_on_the_job_with_its_time():
    starting = task()
    starting.clock.seconds = 4.0
    job = starting.reporter.start()
    assert job == starting.job
    assert (job.state, job.stage(SEPARATION).started_at) == (JobState.RUNNING, at(4))


def test_the_first_progress_is_told_at_once(separating):
    separating.progress(1, 10, seconds=0.0)
    assert separating.job.stage(SEPARATION).fraction == 0.1


def test_progress_within_the_interval_is_not_written(separating):
    separating.progress(1, 10, seconds=0.0)
    before = separating.job
    separating.progress(9, 10, seconds=1.9)
    assert separating.job is before
    separating.progress(9, 10, seconds=2.0)
    assert separating.job.stage(SEPARATION).fraction == 0.9


def test_progress_of_less_than_one_percent_is_not_written(separating):
    separating.progress(500, 1000, seconds=0.0)
    before = separating.job
    separating.progress(509, 1000, seconds=60.0)
    assert separating.job is before
    separating.progress(511, 1000, seconds=60.0)
    assert separating.job.stage(SEPARATION).fraction == 0.511


def test_small_steps_add_up_to_one_that_is_written(separating):
    for done in range(1000):
        separating.progress(done, 1000, seconds=10.0 * done)
    assert separating.job.stage(SEPARATION).fraction >= 0.98
    assert separating.job.version <= 101


def test_a_second_attempt_does_not_move_the_bar_back(separating):
    separating.progress(80, 100, seconds=0.0)
    again = task(separating.job)
    again.reporter.start()
    for step in range(100):
        again.progress(step, 100, seconds=10.0 * step)
        assert again.job.stage(SEPARATION).fraction >= 0.8
    assert again.job.stage(SEPARATION).fraction == 0.99


@pytest.mark.parametrize(("done", "total"), [(0, 0), (5, 0), (-1, 10), (0, 10)])
def test_progress_that_is_none_is_not_written(separating, done, total):
    before = separating.job
    separating.progress(done, total, seconds=60.0)
    assert separating.job is before


def test_more_work_than_there_was_counts_as_all_of_it(separating):
    separating.progress(12, 10, seconds=0.0)
    assert separating.job.stage(SEPARATION).fraction == 1.0


reports = st.lists(
    st.tuples(st.integers(0, 200), st.floats(0, 5, allow_subnormal=False)), max_size=60
)


@given(reports)
@settings(max_examples=100, deadline=None)
def test_writes_keep_their_distance_and_the_bar_only_rises(steps):
    watched = task()
    watched.reporter.start()
    seconds, written = 0.0, []
    for done, passed in steps:
        before, seconds = watched.job, seconds + passed
        watched.progress(done, 200, seconds=seconds)
        if watched.job is not before:
            written.append((seconds, watched.job.stage(SEPARATION).fraction))
    for (earlier, less), (later, more) in pairwise(written):
        assert later - earlier >= 2.0 - 1e-9
        assert more - less >= 0.01 - 1e-9


@pytest.mark.parametrize("ending", ["cancelled", "failed"])
def test_a_job_that_is_over_stops_the_stage_at_its_start_and_at_its_progress(separating, ending):
    if ending == "cancelled":
        separating.jobs.change(JOB_ID, lambda job: job.cancel(at=at(1)))
    else:
        separating.reporter.fail(NonFiniteOutput("NaN"))
    with pytest.raises(JobIsOver, match=f"job {JOB_ID} is {ending}; audio_separation stops"):
        separating.progress(5, 10, seconds=3.0)
    with pytest.raises(JobIsOver):
        separating.reporter.start()


def test_a_repeated_run_of_the_last_stage_of_a_finished_job_is_no_error():
    repeated = task(after(a_job(), *STAGES), stage=NORMALIZATION)
    job = repeated.reporter.start()
    assert job.state is JobState.SUCCEEDED
    assert repeated.reporter.complete(StageResult()) is job


def test_completion_is_on_the_job_with_what_was_found(separating):
    separating.clock.seconds = 30.0
    job = separating.reporter.complete(result_of(SEPARATION))
    run = job.stage(SEPARATION)
    assert (run.state, run.fraction, run.completed_at) == (StageState.SUCCEEDED, 1.0, at(30))
    assert job.audio == AUDIO
    assert job == separating.job


def test_completion_of_a_cancelled_job_changes_nothing(separating):
    cancelled = separating.jobs.change(JOB_ID, lambda job: job.cancel(at=at(1)))
    assert separating.reporter.complete(result_of(SEPARATION)) is cancelled


def test_a_permanent_error_ends_the_job_with_its_name_and_words(separating):
    job = separating.reporter.fail(NonFiniteOutput("NaN in vocals at 3.2 s"))
    assert job.state is JobState.FAILED
    assert (job.failure.stage, job.failure.name) == (SEPARATION, "Clearstem.NonFiniteOutput")
    assert job.failure.message == job.stage(SEPARATION).error == "NaN in vocals at 3.2 s"


def test_an_error_of_no_kind_ends_the_job_too(separating):
    assert separating.reporter.fail(StageError("?")).state is JobState.FAILED


def test_a_retryable_error_is_noted_and_the_job_goes_on(separating):
    job = separating.reporter.fail(StageInterrupted("told to stop"))
    assert (job.state, job.failure) == (JobState.RUNNING, None)
    assert job.stage(SEPARATION).error == "told to stop"
    assert job.stage(SEPARATION).state is StageState.RUNNING


def test_a_stage_out_of_turn_is_refused():
    early = task(stage=DECOMPOSITION)
    with pytest.raises(IllegalTransition):
        early.reporter.start()
    with pytest.raises(IllegalTransition):
        early.reporter.complete(StageResult())


def test_a_job_that_was_deleted_stops_the_stage(separating):
    separating.jobs.stored.clear()
    with pytest.raises(JobIsOver, match=f"job {JOB_ID} was deleted"):
        separating.progress(5, 10, seconds=3.0)
    with pytest.raises(JobIsOver):
        task_without_job().reporter.start()


def task_without_job() -> Task:
    lost = task()
    lost.jobs.stored.clear()
    return lost


@pytest.mark.parametrize(
    "news",
    [
        lambda old: old.reporter.fail(NonFiniteOutput("NaN")),
        lambda old: old.reporter.fail(StageInterrupted("told to stop")),
        lambda old: old.reporter.complete(result_of(SEPARATION)),
        lambda old: old.progress(9, 10, seconds=9.0),
    ],
    ids=["failure", "stumble", "completion", "progress"],
)
def test_a_stage_of_an_old_attempt_says_nothing_of_the_new_one(separating, news):
    separating.jobs.change(JOB_ID, lambda job: job.fail(Failure(SEPARATION, "X", "?"), at=at(1)))
    separating.jobs.change(JOB_ID, lambda job: job.retry(at=at(2)))
    retried = separating.jobs.change(JOB_ID, lambda job: job.start_stage(SEPARATION, at=at(3)))
    with pytest.raises(JobIsOver, match="was retried; audio_separation of before stops"):
        news(separating)
    assert separating.job is retried
