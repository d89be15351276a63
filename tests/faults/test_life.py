"""Any interleaving of submit, work, cancel, retry, delete and events told twice.

A machine plays the owner, stages of present and past attempts, Step Functions'
late news and the sweep, in any order, against the real core over an emulated
table and buckets. Only executions are a stand-in, since they have to stand as
the story wants them to.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from clearstem.errors import (
    Conflict,
    IllegalTransition,
    JobIsOver,
    JobNotFound,
    StageError,
    StageInterrupted,
    UnreadableAudio,
)
from clearstem.executions import ExecutionState, execution_name, parse_name
from clearstem.facts import Location, StageResult, Track
from clearstem.job_events import EventKind, JobEvent
from clearstem.jobs import Job, JobState
from clearstem.recipes import NORMALIZATION, RECIPES, SEPARATE, work_key
from clearstem.reporting import StageReporter
from clearstem.retention import Receipt
from clearstem.service import Service
from tests.submitted import submit
from tests.unit.examples import START

# A stage that is told to stop has so long to end.
_GRACE = timedelta(seconds=30)
# Few, so that much happens to each.
_JOBS = 2
# For a change of the job's life: STORIES=500 python -m pytest tests/faults/test_life.py
_STORIES = int(os.environ.get("STORIES", "0"))
_STATES = {
    EventKind.QUEUED: JobState.QUEUED,
    EventKind.RETRIED: JobState.QUEUED,
    EventKind.STARTED: JobState.RUNNING,
    EventKind.SUCCEEDED: JobState.SUCCEEDED,
    EventKind.FAILED: JobState.FAILED,
    EventKind.CANCELLED: JobState.CANCELLED,
}


@dataclass
class Executions:
    """Executions that run until they are stopped."""

    states: dict[str, ExecutionState] = field(default_factory=dict)

    def start(self, job_id: str, *, owner: str, engine: str, attempt: int) -> None:
        name = execution_name(job_id, attempt=attempt)
        self.states.setdefault(name, ExecutionState.RUNNING)

    def stop(self, job_id: str, *, attempt: int, cause: str) -> None:
        self.states[execution_name(job_id, attempt=attempt)] = ExecutionState.ABORTED

    def at_work(self) -> frozenset[str]:
        running = (n for n, state in self.states.items() if state is ExecutionState.RUNNING)
        return frozenset(parse_name(name)[0] for name in running)

    def state(self, job_id: str, *, attempt: int) -> ExecutionState:
        name = execution_name(job_id, attempt=attempt)
        return self.states.get(name, ExecutionState.MISSING)


@dataclass
class Worker:
    """One run of one stage, which goes on until it hears that it is not wanted."""

    reporter: StageReporter
    alive: bool = True

    def tell(self, say: Callable[[StageReporter], object]) -> None:
        try:
            say(self.reporter)
        except (JobIsOver, IllegalTransition):
            self.alive = False


class Life(RuleBasedStateMachine):
    """What may happen to some jobs of one owner, and what always holds of them."""

    jobs = Bundle("jobs")
    workers = Bundle("workers")

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.clock = START
        executions: Any = dict.fromkeys(RECIPES, Executions())
        at_once = replace(service.settings, progress_interval_s=0)
        self.service = replace(service, settings=at_once, executions=executions, now=self.now)
        self.known: list[str] = []
        self.deleted: dict[str, Receipt] = {}
        self.touched: set[str] = set()

    def now(self) -> datetime:
        self.clock += timedelta(seconds=0.1)
        return self.clock

    def passed(self) -> float:
        return self.now().timestamp()

    def teardown(self) -> None:
        # The next story begins with an empty queue and empty buckets.
        for job_id in self.known:
            self.service.removal.delete(job_id)
        self.clock += timedelta(minutes=6)
        for _ in self.service.removal.sweep():
            pass
        assert self.files("") == set()

    @precondition(lambda self: len(self.known) < _JOBS)
    @rule(target=jobs)
    def submit(self) -> str:
        job_id = submit(self.service).job_id
        self.known.append(job_id)
        self.touched.add(job_id)
        return job_id

    @rule(target=workers, job_id=jobs)
    def begin_stage(self, job_id: str) -> Worker:
        job = self.job(job_id)
        stage = (job.current_stage() if job else None) or NORMALIZATION
        worker = Worker(self.service.reporter(job_id, stage=stage, monotonic=self.passed))
        worker.tell(lambda reporter: reporter.start())
        return worker

    @rule(worker=workers, tenths=st.integers(1, 10))
    def go_on(self, worker: Worker, tenths: int) -> None:
        if worker.alive:
            self.touched.add(worker.reporter.job_id)
            worker.tell(lambda reporter: reporter.progress(tenths, 10))

    @rule(worker=workers)
    def finish_stage(self, worker: Worker) -> None:
        if self.still_runs(worker):
            result = self.stored(worker.reporter)
            worker.tell(lambda reporter: reporter.complete(result))

    @rule(worker=workers)
    def find_the_answer(self, worker: Worker) -> None:
        """Its first stage copies the files of a job like it, and tells of it."""
        if self.still_runs(worker):
            result = StageResult(tracks=self.tracks_for(worker.reporter.job_id))
            worker.tell(lambda reporter: reporter.answered(result, by="another"))

    @rule(worker=workers, error=st.sampled_from([UnreadableAudio, StageInterrupted]))
    def stop_badly(self, worker: Worker, error: type[StageError]) -> None:
        if self.still_runs(worker):
            worker.tell(lambda reporter: reporter.fail(error("it stopped")))
            worker.alive = worker.alive and error is StageInterrupted

    @rule(job_id=jobs)
    def hear_of_its_ending(self, job_id: str) -> None:
        job = self.job(job_id)
        if job is not None:
            assert self.settled(job, attempt=job.attempt).state.is_final

    @rule(job_id=jobs)
    def hear_of_earlier_endings(self, job_id: str) -> None:
        job = self.job(job_id)
        for attempt in range(1, job.attempt if job else 1):
            assert job is not None and self.settled(job, attempt=attempt) == job

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        before = self.job(job_id)
        try:
            assert self.service.control.cancel(job_id).state is JobState.CANCELLED
        except Conflict:
            assert before is not None and before.state in (JobState.SUCCEEDED, JobState.FAILED)
        except JobNotFound:
            assert job_id in self.deleted

    @rule(job_id=jobs)
    def retry(self, job_id: str) -> None:
        before = self.job(job_id)
        try:
            retried = self.service.control.retry(job_id)
            assert before is not None and retried.attempt == before.attempt + 1
            # The execution that failed is told of a second time, and late.
            assert self.settled(retried, attempt=before.attempt) == retried
        except Conflict:
            assert before is not None
            assert before.state is not JobState.FAILED or before.deleted_at is not None
        except JobNotFound:
            assert job_id in self.deleted

    @rule(job_id=jobs)
    def delete(self, job_id: str) -> None:
        receipt = self.service.removal.delete(job_id)
        assert self.deleted.setdefault(job_id, receipt) == receipt

    @rule(job_id=jobs)
    def delete_results(self, job_id: str) -> None:
        try:
            self.service.removal.delete_results(job_id)
        except Conflict:
            job = self.job(job_id)
            assert job is not None and not job.state.is_final
        except JobNotFound:
            assert job_id in self.deleted

    @rule()
    def let_time_pass_and_sweep(self) -> None:
        self.clock += timedelta(minutes=6)
        for _ in self.service.removal.sweep():
            pass
        for job_id in self.deleted:
            assert self.files(job_id) == set()
        for _ in self.service.settler.sweep():
            pass
        self.touched.update(self.known)

    @invariant()
    def what_was_touched_is_as_it_should_be(self) -> None:
        for job_id in self.touched & set(self.known):
            job = self.job(job_id)
            if job is None:
                assert job_id in self.deleted
                assert self.service.log.after(0, job_id=job_id) == ()
                continue
            assert job_id not in self.deleted
            self.check_log(job, self.service.log.after(0, job_id=job_id))
            self.check_files(job)

    @invariant()
    def those_who_wait_are_those_who_have_a_ticket(self) -> None:
        waiting = [job for job in map(self.job, self.known) if job and job.state is JobState.QUEUED]
        assert self.queued() == len(waiting)
        ahead = [self.service.jobs.jobs_ahead(job) for job in waiting]
        assert sorted(ahead) == list(range(len(waiting)))

    def check_log(self, job: Job, events: tuple[JobEvent, ...]) -> None:
        assert [event.number for event in events] == list(range(1, job.logged + 1))
        states = [_STATES[event.kind] for event in events if event.kind in _STATES]
        assert states[-1] is job.state
        assert [e.attempt for e in events if e.kind is EventKind.RETRIED] == list(
            range(2, job.attempt + 1)
        )
        for one, two in pairwise(events):
            assert one.at <= two.at and one.attempt <= two.attempt
            assert one.percent <= two.percent or two.kind is EventKind.RETRIED
            if one.kind.ends:
                assert two.kind in (EventKind.RETRIED, EventKind.RESULTS_DELETED)
        for attempt in range(1, job.attempt + 1):
            ends = [event for event in events if event.attempt == attempt and event.kind.ends]
            assert len(ends) == (attempt < job.attempt or job.state.is_final)

    def check_files(self, job: Job) -> None:
        if job.state is JobState.SUCCEEDED and job.deleted_at is None:
            tracks = {track.location.key for track in job.tracks}
            assert len(tracks) == len(SEPARATE.tracks)
            assert self.listed(self.service.settings.tracks_bucket, job.job_id) == tracks

    def settled(self, job: Job, *, attempt: int) -> Job:
        return self.service.settler.settle(
            job.job_id, attempt=attempt, status="FAILED", error=None, cause=None
        )

    def job(self, job_id: str) -> Job | None:
        self.touched.add(job_id)
        try:
            return self.service.jobs.get(job_id)
        except JobNotFound:
            return None

    def still_runs(self, worker: Worker) -> bool:
        """Whether the stage's process is there yet: it outlives its job by some seconds."""
        self.touched.add(worker.reporter.job_id)
        receipt = self.deleted.get(worker.reporter.job_id)
        return worker.alive and (receipt is None or self.clock < receipt.deleted_at + _GRACE)

    def stored(self, reporter: StageReporter) -> StageResult:
        """Leave what the stage leaves, whether or not anybody wants it still."""
        key = work_key(reporter.job_id, stage=reporter.stage, artifact="manifest.json")
        self.put(Location(self.service.settings.work_bucket, key))
        if reporter.stage != NORMALIZATION:
            return StageResult()
        return StageResult(tracks=self.tracks_for(reporter.job_id))

    def tracks_for(self, job_id: str) -> tuple[Track, ...]:
        bucket = self.service.settings.tracks_bucket
        places = {name: Location(bucket, f"jobs/{job_id}/{name}.wav") for name in SEPARATE.tracks}
        for place in places.values():
            self.put(place)
        return tuple(Track(name, at, "wav", 1, 1, "", None, None) for name, at in places.items())

    def put(self, place: Location) -> None:
        self.service.store.write_text("x", to=place, content_type="text/plain")

    def files(self, job_id: str) -> set[str]:
        settings = self.service.settings
        buckets = (settings.work_bucket, settings.tracks_bucket, settings.uploads_bucket)
        found = set[str]().union(*(self.listed(bucket, job_id) for bucket in buckets[:2]))
        return found if job_id else found | self.listed(buckets[2], "")

    def listed(self, bucket: str, job_id: str) -> set[str]:
        prefix = f"jobs/{job_id}/" if job_id else ""
        answer = self.service.store.client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return {entry["Key"] for entry in answer.get("Contents", ())}

    def queued(self) -> int:
        table = self.service.jobs
        answer = table.client.query(
            TableName=table.table,
            KeyConditionExpression="pk = :queue AND begins_with(sk, :ticket)",
            ExpressionAttributeValues={
                ":queue": {"S": "QUEUE#separate"},
                ":ticket": {"S": "TICKET#"},
            },
        )
        return len(answer["Items"])


@pytest.mark.timeout(0 if _STORIES else 240)
def test_no_interleaving_breaks_a_job(service: Service) -> None:
    run_state_machine_as_test(
        lambda: Life(service),
        settings=settings(
            max_examples=_STORIES or 8,
            # The suite tells the same stories every time; whoever asks for more gets new ones.
            derandomize=not _STORIES,
            database=None,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # Each story takes a second: a shorter one is not worth minutes.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )
