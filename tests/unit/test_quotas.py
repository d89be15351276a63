"""What owners may use: who is refused, by which limit, and what makes room."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from clearstem.errors import (
    InvalidOption,
    JobExists,
    JobNotFound,
    MinutesUsedUp,
    StorageUsedUp,
    TooManyJobs,
)
from clearstem.jobs import JobState
from clearstem.quotas import Quota, Quotas
from clearstem.uploads import UploadTable
from clearstem.usage import Usage
from tests.unit.counted import TABLE, an_upload, failed, lasting, table, used
from tests.unit.examples import a_job, at


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
