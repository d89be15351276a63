"""What owners use: counters that are always the sum of the records."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearstem.errors import (
    IllegalTransition,
    JobExists,
    JobNotFound,
    QuotaUsedUp,
    StorageUsedUp,
    TooManyJobs,
    UploadNotFound,
)
from clearstem.facts import StageResult
from clearstem.job_table import JobTable
from clearstem.jobs import Job
from clearstem.quotas import NO_LIMITS, Quota
from clearstem.retention import Receipt, RetentionTable
from clearstem.uploads import Upload, UploadTable
from clearstem.usage import Usage, month_of, usage_of
from infra.lifetimes import TRACK_DAYS
from tests.unit.counted import TABLE, an_upload, failed, lasting, table, used
from tests.unit.examples import AUDIO, STAGES, a_job, a_track, at

LAST = STAGES[-1]


def ended(job: Job, *, seconds: float = 20) -> Job:
    """The job through all of its stages; the source turns out to last 10 s."""
    for name in STAGES:
        tracks = tuple(a_track(track) for track in job.track_names) if name == LAST else ()
        audio = AUDIO if name == STAGES[0] else None
        result = StageResult(audio=audio, tracks=tracks)
        job = job.start_stage(name, at=at(seconds)).complete_stage(name, result, at=at(seconds))
    return job


def answered(job: Job) -> Job:
    """The job with the stored result of another one."""
    tracks = tuple(a_track(track) for track in job.track_names)
    return job.answered(StageResult(audio=AUDIO, tracks=tracks), by="made", at=at(20))


def a_receipt(job: Job) -> Receipt:
    return Receipt(
        job_id=job.job_id,
        owner=job.owner,
        recipe_name=job.recipe_name,
        state=job.state,
        created_at=job.created_at,
        deleted_at=at(99),
        files=0,
        size_bytes=0,
        source_kept=False,
        record_kept=False,
        audio_ms=usage_of(job).audio_ms,
    )


class Owner:
    """One owner's jobs and uploads, and what is done to them in whatever order."""

    def __init__(self, dynamodb: Any, quota: Quota) -> None:
        self.jobs = JobTable(dynamodb, TABLE, quota)
        self.uploads = UploadTable(dynamodb, TABLE, quota)
        self.announced: list[Upload] = []
        self.retention = RetentionTable(dynamodb, TABLE)
        self.name = f"owner-{uuid4()}"
        self.ids = [str(uuid4()) for _ in range(4)]
        self.buried: dict[str, Receipt] = {}

    def submit(self, which: int, minutes: float | None = None) -> None:
        if self.ids[which] in self.buried:
            return
        job = a_job(self.ids[which], owner=self.name)
        self.jobs.create(job if minutes is None else lasting(job, minutes))

    def announce(self, which: int) -> None:
        upload = an_upload(str(uuid4()), self.name, size_bytes=15_000 * which)
        self.announced.append(self.uploads.announce(upload, at=at(1)))

    def submit_announced(self, which: int) -> None:
        """A job of the last upload, whether it has one already, or has ended, or not."""
        if self.ids[which] not in self.buried and self.announced:
            job, upload = a_job(self.ids[which], owner=self.name), self.announced[-1]
            source = replace(job.source, size_bytes=upload.held_bytes)
            self.jobs.create(replace(job, source=source), upload=upload)

    def end_announced(self, which: int) -> None:
        if self.announced:
            self.uploads.release(self.announced[which % len(self.announced)], at=at(70))

    def start(self, which: int) -> None:
        self.jobs.change(self.ids[which], lambda j: j.start_stage(STAGES[0], at=at(2)))

    def measure(self, which: int) -> None:
        self.jobs.change(
            self.ids[which],
            lambda j: j.complete_stage(STAGES[0], StageResult(audio=AUDIO), at=at(3)),
        )

    def finish(self, which: int) -> None:
        self.jobs.change(self.ids[which], ended)

    def answer(self, which: int) -> None:
        self.jobs.change(self.ids[which], answered)

    def fail(self, which: int) -> None:
        self.jobs.change(self.ids[which], failed)

    def cancel(self, which: int) -> None:
        self.jobs.change(self.ids[which], lambda j: j.cancel(at=at(40)))

    def retry(self, which: int) -> None:
        self.jobs.change(self.ids[which], lambda j: j.retry(at=at(50)))

    def delete_results(self, which: int) -> None:
        self.jobs.change(self.ids[which], lambda j: j.delete_results(at=at(60)))

    def delete(self, which: int) -> None:
        self.cancel(which)
        job = self.jobs.change(self.ids[which], lambda j: j.delete_results(at=at(60)))
        receipt = a_receipt(job)
        if self.retention.bury(job, receipt):
            self.buried[job.job_id] = receipt

    def truth(self) -> Usage:
        """What the records that are there come to, and the receipts of those that are not."""
        there = sum(map(usage_of, self.jobs.get_many(self.ids).values()), Usage())
        uploads = (self.uploads.get(u.upload_id, owner=self.name) for u in self.announced)
        held = Usage(stored_bytes=sum(upload.held_bytes for upload in uploads))
        return there + held + Usage(audio_ms=sum(r.audio_ms for r in self.buried.values()))


STEPS = (
    "submit",
    "submit_long",
    "announce",
    "submit_announced",
    "end_announced",
    "start",
    "measure",
    "finish",
    "answer",
    "fail",
    "cancel",
    "retry",
    "delete_results",
    "delete",
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 3)), min_size=4, max_size=24),
    quota=st.sampled_from(
        [NO_LIMITS, Quota(unfinished_jobs=2), Quota(minutes_per_month=3, stored_bytes=60_000)]
    ),
)
def test_counters_are_what_the_records_come_to_in_whatever_order(dynamodb, steps, quota):
    owner = Owner(dynamodb, quota)
    for step, which in steps:
        try:
            if step == "submit_long":
                owner.submit(which, minutes=1.5)
            else:
                getattr(owner, step)(which)
        except (IllegalTransition, JobExists, JobNotFound, QuotaUsedUp, TooManyJobs):
            pass  # whoever is refused must have changed nothing
        counted, truth = used(owner.jobs, owner.name), owner.truth()
        assert counted == truth
        assert min(counted.unfinished, counted.stored_bytes, counted.audio_ms) >= 0
        if quota.unfinished_jobs:
            assert counted.unfinished <= quota.unfinished_jobs


def test_a_recording_counts_once_when_its_upload_becomes_a_job(dynamodb):
    size = a_job().source.size_bytes
    jobs, uploads = table(dynamodb), UploadTable(dynamodb, TABLE)
    jobs.quotas.settle("ada", stored_bytes=size)
    upload = uploads.announce(an_upload("u", "ada", size_bytes=size), at=at(0))
    assert used(jobs) == Usage(0, size, 0)
    with pytest.raises(StorageUsedUp):
        uploads.announce(an_upload("v", "ada", size_bytes=1), at=at(0))
    jobs.create(a_job("one"), upload=upload)  # what was counted needs no room
    assert used(jobs) == Usage(1, size, 0)
    with pytest.raises(StorageUsedUp):
        jobs.create(a_job("two"), upload=upload)
    assert not uploads.release(upload, at=at(1))
    assert used(jobs) == Usage(1, size, 0)


def test_an_upload_that_has_ended_becomes_no_job(dynamodb):
    jobs, uploads = table(dynamodb), UploadTable(dynamodb, TABLE)
    never = replace(an_upload("u", "ada", size_bytes=9), announced=True)
    with pytest.raises(UploadNotFound):
        jobs.create(a_job(), upload=never)
    assert not uploads.release(never, at=at(1))
    assert used(jobs) == Usage()


def test_a_job_counts_while_it_is_unfinished_and_its_bytes_until_they_are_deleted(dynamodb):
    jobs = table(dynamodb)
    job = jobs.create(a_job())
    size = job.source.size_bytes
    assert used(jobs) == Usage(1, size, 0)
    done = jobs.change(job.job_id, ended)
    size += sum(track.size_bytes for track in done.tracks)
    assert used(jobs) == Usage(0, size, 10_000)
    jobs.change(job.job_id, lambda j: j.delete_results(at=at(60)))
    assert used(jobs) == Usage(0, 0, 10_000)


def test_minutes_are_reserved_by_the_header_and_settled_by_the_decoder(dynamodb):
    jobs = table(dynamodb)
    job = jobs.create(lasting(a_job(), 4))
    assert used(jobs).audio_ms == 240_000
    jobs.change(job.job_id, ended)
    assert used(jobs).audio_ms == 10_000


def test_an_answered_job_gives_its_minutes_back_and_its_files_count(dynamodb):
    jobs = table(dynamodb)
    job = jobs.create(lasting(a_job(), 4))
    done = jobs.change(job.job_id, answered)
    size = job.source.size_bytes + sum(track.size_bytes for track in done.tracks)
    assert used(jobs) == Usage(0, size, 0)


@pytest.mark.parametrize(("started", "kept"), [(False, 0), (True, 240_000)])
def test_a_cancelled_job_keeps_its_minutes_once_the_work_began(dynamodb, started, kept):
    jobs = table(dynamodb)
    job = jobs.create(lasting(a_job(), 4))
    if started:
        jobs.change(job.job_id, lambda j: j.start_stage(STAGES[0], at=at(1)))
    jobs.change(job.job_id, lambda j: j.cancel(at=at(2)))
    assert used(jobs) == Usage(0, job.source.size_bytes, kept)


def test_a_failure_gives_minutes_back_and_a_retry_takes_them_again(dynamodb):
    jobs = table(dynamodb)
    job = jobs.create(lasting(a_job(), 4))
    jobs.change(job.job_id, failed)
    assert (used(jobs).unfinished, used(jobs).audio_ms) == (0, 0)
    jobs.change(job.job_id, lambda j: j.retry(at=at(40)))
    assert (used(jobs).unfinished, used(jobs).audio_ms) == (1, 240_000)


def test_minutes_belong_to_the_month_of_submission(dynamodb):
    jobs = table(dynamodb, minutes_per_month=5)
    late = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)
    jobs.create(lasting(a_job("one", created_at=late), 4))
    jobs.create(lasting(a_job("two", created_at=late + timedelta(minutes=2)), 4))
    jobs.change("one", lambda j: ended(replace(j, updated_at=late)))
    assert [used(jobs, month=m).audio_ms for m in ("2026-03", "2026-04")] == [10_000, 240_000]
    assert month_of(jobs.get("one")) == "2026-03"


def test_jobs_older_than_the_counters_never_make_them_negative(dynamodb):
    jobs = table(dynamodb)
    jobs.create(replace(a_job(), counted=False))
    jobs.change(a_job().job_id, ended)
    jobs.change(a_job().job_id, lambda j: j.delete_results(at=at(60)))
    assert used(jobs) == Usage()


def test_files_last_as_long_as_their_bucket_keeps_them():
    from clearstem.retention import FILES_LAST

    assert timedelta(days=TRACK_DAYS) == FILES_LAST
