"""Jobs and uploads that count, and what they come to."""

from dataclasses import replace
from typing import Any

from clearstem.facts import Failure, Location
from clearstem.job_table import JobTable
from clearstem.jobs import Job
from clearstem.quotas import Quota
from clearstem.uploads import Upload
from clearstem.usage import Usage
from tests.unit.examples import at

TABLE = "clearstem"
MONTH = "2026-03"


def table(dynamodb: Any, **limits: float) -> JobTable:
    return JobTable(dynamodb, TABLE, Quota(**limits))  # type: ignore[arg-type]


def lasting(job: Job, minutes: float) -> Job:
    """The job of a recording whose header tells its length."""
    return replace(job, source=replace(job.source, duration_s=60 * minutes))


def failed(job: Job) -> Job:
    return job.fail(Failure(None, "States.Timeout", "too late"), at=at(30))


def used(jobs: JobTable, owner: str = "ada", month: str = MONTH) -> Usage:
    return jobs.quotas.used(owner, month=month)


def an_upload(upload_id: str, owner: str, *, size_bytes: int) -> Upload:
    place = Location("uploads", f"uploads/{owner}/{upload_id}/source.wav")
    return Upload(upload_id, owner, "a.wav", "wav", place, held_bytes=size_bytes)
