"""What is left of a job in storage and in the table, and the removal at a later time."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from clearstem.facts import Location
from clearstem.jobs import Job
from clearstem.recipes import SEPARATION, work_key
from clearstem.removal import Removal
from clearstem.service import Service
from tests.submitted import finish, submit


def objects(service: Service) -> set[str]:
    """The keys of everything that is stored, in any bucket."""
    settings, s3 = service.settings, service.store.client
    buckets = (settings.uploads_bucket, settings.work_bucket, settings.tracks_bucket)
    return {
        entry["Key"]
        for bucket in (*buckets, settings.drop_bucket)
        for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", ())
    }


def items(service: Service, job: Job) -> set[str]:
    """The sort keys of everything the table holds in the job's partition."""
    table = service.jobs
    answer = table.client.query(
        TableName=table.table,
        KeyConditionExpression="pk = :job",
        ExpressionAttributeValues={":job": {"S": f"JOB#{job.job_id}"}},
    )
    return {item["sk"]["S"] for item in answer["Items"]}


def worked(service: Service, job: Job) -> Location:
    """Leave an artifact of the job in the work bucket."""
    key = work_key(job.job_id, stage=SEPARATION, artifact="source.wav")
    where = Location(service.settings.work_bucket, key)
    service.store.write_text("x" * 100, to=where, content_type="audio/wav")
    return where


def done(service: Service, **options: Any) -> Job:
    job = finish(service, submit(service, **options))
    worked(service, job)
    return job


def later(service: Service, passed: timedelta) -> Removal:
    """The service's removal, so much later."""
    now: datetime = service.now() + passed
    return replace(service.removal, now=lambda: now)
