"""What owners use and may use: counters that are always the sum of the records."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearstem.errors import (
    IllegalTransition,
    InvalidOption,
    JobExists,
    JobNotFound,
    MinutesUsedUp,
    QuotaUsedUp,
    StorageUsedUp,
    TooManyJobs,
    UploadNotFound,
)
from clearstem.facts import Failure, Location, StageResult
from clearstem.job_table import JobTable
from clearstem.jobs import Job, JobState
from clearstem.quotas import NO_LIMITS, Quota, Quotas
from clearstem.retention import Receipt, RetentionTable
from clearstem.uploads import Upload, UploadTable
from clearstem.usage import Usage, month_of, usage_of
from infra.lifetimes import TRACK_DAYS
from tests.unit.examples import AUDIO, STAGES, a_job, a_track, at

TABLE = "clearstem"
MONTH = "2026-03"
LAST = STAGES[-1]


def table(dynamodb: Any, **limits: float) -> JobTable:
    return JobTable(dynamodb, TABLE, Quota(**limits))  # type: ignore[arg-type]


def lasting(job: Job, minutes: float) -> Job:
    """The job of a recording whose header tells its length."""
    return replace(job, source=replace(job.source, duration_s=60 * minutes))


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


def failed(job: Job) -> Job:
    return job.fail(Failure(None, "States.Timeout", "too late"), at=at(30))


def used(jobs: JobTable, owner: str = "ada", month: str = MONTH) -> Usage:
    return jobs.quotas.used(owner, month=month)


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


def an_upload(upload_id: str, owner: str, *, size_bytes: int) -> Upload:
    place = Location("uploads", f"uploads/{owner}/{upload_id}/source.wav")
    return Upload(upload_id, owner, "a.wav", "wav", place, held_bytes=size_bytes)


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


def test_uploads_announced_side_by_side_cannot_pass_a_limit_together(dynamodb):
    jobs, uploads = table(dynamodb), UploadTable(dynamodb, TABLE)
    jobs.quotas.settle("ada", stored_bytes=3_500)

    def announce(number: int) -> bool:
        try:
            uploads.announce(an_upload(f"u{number}", "ada", size_bytes=1_000), at=at(0))
        except StorageUsedUp:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        taken = list(threads.map(announce, range(9)))
    assert (sum(taken), used(jobs).stored_bytes) == (3, 3_000)


def test_an_upload_that_has_ended_becomes_no_job(dynamodb):
    jobs, uploads = table(dynamodb), UploadTable(dynamodb, TABLE)
    never = replace(an_upload("u", "ada", size_bytes=9), expires_at=at(99))
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


def test_the_job_that_is_one_too_many_is_told_the_limit(dynamodb):
    jobs = table(dynamodb, unfinished_jobs=2)
    for name in ("one", "two"):
        jobs.create(a_job(name))
    with pytest.raises(TooManyJobs, match="unfinished jobs, 2, is reached") as refused:
        jobs.create(a_job("three"))
    facts = {"limit": "unfinished_jobs", "value": 2, "used": 2, "resets_at": None}
    assert (refused.value.facts, refused.value.retry_after_s) == (facts, 30)
    with pytest.raises(JobNotFound):
        jobs.get("three")
    jobs.change("one", failed)
    jobs.create(a_job("three"))
    with pytest.raises(TooManyJobs):
        jobs.change("one", lambda j: j.retry(at=at(40)))
    assert jobs.get("one").state is JobState.FAILED


def test_a_repeat_of_a_job_that_is_there_is_no_question_of_quota(dynamodb):
    jobs = table(dynamodb, unfinished_jobs=1)
    jobs.create(a_job())
    with pytest.raises(JobExists):
        jobs.create(a_job())
    assert used(jobs).unfinished == 1


def test_minutes_that_do_not_suffice_are_refused_until_the_next_month(dynamodb):
    jobs = table(dynamodb, minutes_per_month=5)
    jobs.create(lasting(a_job("one"), 4))
    with pytest.raises(MinutesUsedUp, match=r"4\.0 of 5 minutes.*2026-04-01") as refused:
        jobs.create(lasting(a_job("two"), 1.5))
    assert refused.value.facts == {
        "limit": "minutes_per_month",
        "value": 5,
        "used": 4.0,
        "resets_at": "2026-04-01T00:00:00+00:00",
    }
    jobs.create(lasting(a_job("three"), 1))  # it fits to the millisecond
    with pytest.raises(MinutesUsedUp):
        jobs.create(a_job("of unknown length"))
    jobs.create(lasting(a_job("four", created_at=datetime(2026, 4, 1, tzinfo=UTC)), 5))


@pytest.mark.parametrize(
    ("limits", "error"),
    [({"minutes_per_month": 3}, MinutesUsedUp), ({"stored_bytes": 10}, StorageUsedUp)],
)
def test_a_first_job_that_is_too_much_by_itself_is_refused(dynamodb, limits, error):
    jobs = table(dynamodb, **limits)
    with pytest.raises(error):
        jobs.create(lasting(a_job(), 4))
    assert used(jobs) == Usage()


def test_bytes_that_are_deleted_make_room(dynamodb):
    size = a_job().source.size_bytes
    jobs = table(dynamodb, stored_bytes=size + 10)
    jobs.create(a_job("one"))
    with pytest.raises(StorageUsedUp) as refused:
        jobs.create(a_job("two"))
    assert refused.value.facts["used"] == size
    jobs.change("one", lambda j: j.cancel(at=at(2)))
    jobs.change("one", lambda j: j.delete_results(at=at(3)))
    jobs.create(a_job("two"))


def test_an_owners_own_limits_come_before_the_deployments(dynamodb):
    jobs = table(dynamodb, unfinished_jobs=1, stored_bytes=7_000_000)
    quotas = jobs.quotas
    assert quotas.settle("ada", unfinished_jobs=3) == quotas.of("ada")
    assert quotas.of("ada") == Quota(unfinished_jobs=3, stored_bytes=7_000_000)
    assert quotas.of("bob").unfinished_jobs == 1
    for name in ("one", "two", "three"):
        jobs.create(a_job(name))
    assert quotas.settle("ada", unfinished_jobs=None) == quotas.of("ada")
    with pytest.raises(TooManyJobs):
        jobs.create(a_job("four"))
    assert quotas.settle("ada", minutes_per_month=0.5).audio_ms == 30_000


def test_a_limit_below_nothing_is_refused(dynamodb):
    with pytest.raises(InvalidOption, match="stored_bytes -1 is not 0 or more"):
        Quotas(dynamodb, TABLE).settle("ada", stored_bytes=-1)


def test_jobs_submitted_side_by_side_cannot_pass_a_limit_together(dynamodb):
    jobs = table(dynamodb, unfinished_jobs=3)

    def submit(number: int) -> bool:
        try:
            jobs.create(a_job(f"job-{number}"))
        except TooManyJobs:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        taken = list(threads.map(submit, range(12)))
    assert (sum(taken), used(jobs).unfinished) == (3, 3)


def test_jobs_older_than_the_counters_never_make_them_negative(dynamodb):
    jobs = table(dynamodb)
    jobs.create(replace(a_job(), counted=False))
    jobs.change(a_job().job_id, ended)
    jobs.change(a_job().job_id, lambda j: j.delete_results(at=at(60)))
    assert used(jobs) == Usage()


def test_files_last_as_long_as_their_bucket_keeps_them():
    from clearstem.retention import FILES_LAST

    assert timedelta(days=TRACK_DAYS) == FILES_LAST
