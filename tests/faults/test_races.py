"""Many at once on one job, one queue, one event: who wins, and what is counted."""

import random
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Barrier
from typing import TypeVar

import pytest

from bench.crowd import SUBMISSIONS, Waiting, queue_faults, submit_all
from clearstem.drops import submit_drop
from clearstem.errors import Contention, JobExists, JobIsOver
from clearstem.facts import Failure, Location
from clearstem.job_table import JobTable
from clearstem.jobs import Job, JobState
from clearstem.options import SeparateOptions
from clearstem.recipes import NORMALIZATION, SEPARATION
from clearstem.service import Service
from tests.unit.examples import JOB_ID, STAGES, START, a_job, after, at, result_of
from tests.unit.test_media import SOUNDS

T = TypeVar("T")
# More than the fifty connections of a client would wait for each other.
THREADS = 16


def all_at_once(calls: Iterable[Callable[[], T]]) -> list[T | Exception]:
    """What the calls answered or raised, when all began at the same moment."""
    calls = list(calls)
    gate = Barrier(len(calls))

    def behind_the_gate(call: Callable[[], T]) -> T | Exception:
        gate.wait()
        try:
            return call()
        except Exception as exc:  # noqa: BLE001  # told to the test, which knows which may come
            return exc

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(behind_the_gate, calls))


def in_parallel(calls: Iterable[Callable[[], T]]) -> list[T]:
    """The answers of many calls made by a few threads; an exception is raised."""
    with ThreadPoolExecutor(THREADS) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@dataclass
class Change:
    """A call of `JobTable.change` that knows whether it changed anything."""

    table: JobTable
    transition: Callable[[Job], Job]
    seen: Job | None = None

    def __call__(self) -> Job:
        self.answer = self.table.change(JOB_ID, self._noted)
        return self.answer

    @property
    def effective(self) -> bool:
        return self.answer != self.seen

    def _noted(self, job: Job) -> Job:
        self.seen = job
        return self.transition(job)


def progress(fraction: float) -> Callable[[Job], Job]:
    return lambda job: job.advance(SEPARATION, fraction=fraction, at=at(1))


def stumble(text: str) -> Callable[[Job], Job]:
    return lambda job: job.stumble(SEPARATION, error=text, at=at(1))


def cancel(job: Job) -> Job:
    return job.cancel(at=at(2))


def fail(job: Job) -> Job:
    return job.fail(Failure(None, "States.Timeout", "too long"), at=at(2))


def complete_all(job: Job) -> Job:
    return after(job, *STAGES)


@pytest.mark.parametrize("seed", range(3))
def test_of_many_writers_every_one_is_heard_and_none_overwrites_another(service, seed):
    rng = random.Random(seed)
    service.jobs.create(a_job())
    service.jobs.change(JOB_ID, lambda job: job.start_stage(SEPARATION, at=at(0)))
    transitions = [progress(rng.random()) for _ in range(4)] + [stumble(f"{n}") for n in range(4)]
    changes = [Change(service.jobs, t) for t in transitions]
    answers = all_at_once(changes)
    assert [a for a in answers if isinstance(a, Exception)] == []
    effective = [change.answer.version for change in changes if change.effective]
    # Each change has a version of its own: none was decided on a state that was gone.
    assert sorted(effective) == list(range(2, 2 + len(effective)))
    assert service.jobs.get(JOB_ID).version == 1 + len(effective)
    stumbles = changes[4:]
    assert all(change.effective for change in stumbles)


@pytest.mark.parametrize("seed", range(4))
def test_many_endings_at_once_are_one_end(service, seed):
    rng = random.Random(seed)
    table = service.jobs
    table.create(a_job())
    waiting = table.create(a_job("waiting"))
    endings = [cancel, fail, complete_all] * 2 + [progress(0.5), stumble("late")]
    rng.shuffle(endings)
    changes = [Change(table, t) for t in endings]
    answers = all_at_once(changes)
    assert [a for a in answers if isinstance(a, Exception)] == []
    ends = {job.state for job in answers if job.state.is_final}
    job = table.get(JOB_ID)
    assert ends == {job.state}
    assert job.version == sum(change.effective for change in changes) == 1
    # The job left the queue once, whoever took it out.
    assert table.jobs_ahead(waiting) == 0
    assert table.jobs_ahead(table.create(a_job("last"))) == 1


def test_a_crowd_on_one_job_meets_contention_and_nothing_worse(service):
    service.jobs.create(a_job())
    service.jobs.change(JOB_ID, lambda job: job.start_stage(SEPARATION, at=at(0)))
    changes = [Change(service.jobs, stumble(f"{n}")) for n in range(24)]
    answers = all_at_once(changes)
    refused = [a for a in answers if isinstance(a, Exception)]
    assert {type(exc) for exc in refused} <= {Contention}
    # Who was refused wrote nothing; everyone else did, once.
    assert service.jobs.get(JOB_ID).version == 1 + len(changes) - len(refused)


@pytest.mark.parametrize("seed", range(4))
def test_a_stage_and_its_canceller_agree_on_the_end(service, seed):
    service.jobs.create(a_job())
    service.jobs.change(JOB_ID, lambda job: after(job, *STAGES[:-1]))
    clock = iter(range(1000))
    reporter = service.reporter(JOB_ID, stage=NORMALIZATION, monotonic=lambda: 10.0 * next(clock))

    def work() -> JobState:
        try:
            reporter.start()
            for done in range(1, 6):
                reporter.progress(done, 6)
            return reporter.complete(result_of(NORMALIZATION)).state
        except JobIsOver:
            return service.jobs.get(JOB_ID).state

    def cancel_somewhen() -> JobState:
        for _ in range(seed):
            service.jobs.get(JOB_ID)
        return service.jobs.change(JOB_ID, cancel).state

    told = all_at_once([work, cancel_somewhen])
    job = service.jobs.get(JOB_ID)
    assert set(told) == {job.state}
    assert bool(job.tracks) == (job.state is JobState.SUCCEEDED)


def submitted(table: JobTable, count: int) -> list[Job]:
    """So many jobs, submitted in parallel, in the order of their tickets."""
    jobs = in_parallel(lambda n=n: table.create(a_job(f"job-{n}")) for n in range(count))
    return sorted(jobs, key=lambda job: job.ticket)


def take_out(table: JobTable, jobs: Iterable[Job], rng: random.Random) -> None:
    """Let the jobs leave the queue in parallel, each in one way or another."""
    ways = [lambda job: job.start_stage(SEPARATION, at=at(1)), cancel, fail]
    leaving = [(job.job_id, rng.choice(ways)) for job in jobs]
    in_parallel(lambda name=name, way=way: table.change(name, way) for name, way in leaving)


def test_a_hundred_submissions_at_once_stand_in_one_queue(service):
    queue = submitted(service.jobs, 100)
    assert len({job.ticket for job in queue}) == 100
    assert in_parallel(lambda j=job: service.jobs.jobs_ahead(j) for job in queue) == list(
        range(100)
    )


def test_three_hundred_submissions_of_five_owners_take_turns(service):
    table = service.jobs

    def submit(owner: str, number: int) -> Job:
        return table.create(a_job(f"job-{number}", owner=owner))

    stored = [each.answer for each in submit_all(submit, seed=4, at_once=THREADS)]
    assert len({job.job_id for job in stored}) == SUBMISSIONS
    ahead = in_parallel(lambda j=job: table.jobs_ahead(j) for job in stored)
    waiting = [
        Waiting(job.owner, job.ticket, told) for job, told in zip(stored, ahead, strict=True)
    ]
    assert queue_faults(waiting) == []
    first, second, *others = sorted(waiting, key=lambda job: job.ticket)
    wrong = [replace(first, ahead=1), second, *others]
    assert queue_faults(wrong) == [f"{first.owner}'s job 0 of the queue is told that 1 are ahead"]
    starved = [replace(job, ticket=job.ticket + (job.owner == "ada") * 10**30) for job in waiting]
    assert "an owner is 60 jobs ahead of another" in queue_faults(starved)


def test_those_ahead_are_counted_exactly_as_the_front_of_the_queue_leaves(service):
    rng = random.Random(1)
    queue = submitted(service.jobs, 50)
    while queue:
        leaving = rng.randint(1, 20)
        take_out(service.jobs, queue[:leaving], rng)
        queue = queue[leaving:]
        some = queue[:2] + queue[-2:]
        assert [service.jobs.jobs_ahead(j) for j in some] == [queue.index(j) for j in some]


def test_those_ahead_are_counted_exactly_as_jobs_leave_out_of_turn(service):
    rng = random.Random(2)
    queue = submitted(service.jobs, 40)
    gone = rng.sample(queue, 15)
    take_out(service.jobs, gone, rng)
    left = [job for job in queue if job not in gone]
    told = in_parallel(lambda j=job: service.jobs.jobs_ahead(j) for job in left)
    assert told == list(range(len(left)))


def test_the_count_is_right_when_jobs_come_and_go_at_the_same_time(service):
    table, rng = service.jobs, random.Random(3)
    first = submitted(table, 30)
    leaving = [lambda name=job.job_id: table.change(name, cancel) for job in rng.sample(first, 20)]
    coming = [lambda n=n: table.create(a_job(f"late-{n}")) for n in range(30)]
    in_parallel(rng.sample([*leaving, *coming], 50))
    assert table.jobs_ahead(table.create(a_job("newest"))) == 30 - 20 + 30


def test_of_two_who_take_one_id_one_wins_and_the_queue_stays_right(service):
    table = service.jobs
    for n in range(10):
        owners = [replace(a_job(f"job-{n}"), owner=owner) for owner in ("ada", "bob", "eve")]
        answers = all_at_once([lambda job=job: table.create(job) for job in owners])
        (winner,) = [a for a in answers if isinstance(a, Job)]
        assert [type(a) for a in answers if a is not winner] == [JobExists, JobExists]
        assert table.get(f"job-{n}") == winner
    assert table.jobs_ahead(table.create(a_job("newest"))) == 10


@pytest.fixture
def dropped(service: Service) -> Location:
    location = Location(service.settings.drop_bucket, "drop/ada/song.wav")
    service.store.client.put_object(Bucket=location.bucket, Key=location.key, Body=SOUNDS["wav"])
    return location


def test_an_event_delivered_to_many_functions_at_once_is_one_job(service, dropped):
    calls = [lambda: submit_drop(dropped, event_id="0055AED6", intake=service.intake)] * 8
    answers = all_at_once(calls)
    (job,) = [a for a in answers if a is not None]
    assert service.jobs.history("ada", limit=10).jobs == (job,)
    arn = service.settings.separate_state_machine_arn
    executions = service.executions["separate"].client.list_executions(stateMachineArn=arn)[
        "executions"
    ]
    assert [e["name"] for e in executions] == [job.job_id]


def test_many_uploads_of_the_same_file_at_once_are_as_many_jobs(service):
    intake = service.intake

    def send() -> Job:
        upload = intake.announce(owner="ada", file_name="song.wav")
        with intake.writer(upload) as target:
            target.write(SOUNDS["wav"])
        return intake.submit_upload(upload, SeparateOptions())

    jobs = all_at_once([send] * 8)
    assert len({job.source.location for job in jobs}) == 8
    assert len({job.ticket for job in jobs}) == 8
    listed = service.jobs.history("ada", limit=10).jobs
    assert {job.job_id for job in listed} == {job.job_id for job in jobs}
    assert min(job.created_at for job in jobs) > START
