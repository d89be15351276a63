"""Jobs whose files their buckets' rules take away: what they count for, and when no more."""

from datetime import timedelta

from clearstem.facts import Failure
from clearstem.jobs import JobState
from clearstem.options import SeparateOptions
from clearstem.service import Service
from tests.submitted import finish
from tests.unit.removed import items, later, objects


def stored_bytes(service: Service, owner: str) -> int:
    return service.jobs.quotas.used(owner, month="2026-11").stored_bytes


def lose(service: Service, *keys: str) -> None:
    """Take objects from whatever bucket they lie in, as its rules do."""
    settings = service.settings
    for bucket in (settings.uploads_bucket, settings.tracks_bucket, settings.drop_bucket):
        for key in keys:
            service.store.client.delete_object(Bucket=bucket, Key=key)


def test_a_job_that_was_taken_up_late_fades_when_it_is_over(service):
    """Retried on its last day, it waits beyond it, and its recording is still to be fetched."""
    job = service.intake.submit_url("https://example.com/a.wav", SeparateOptions(), owner="ada")
    failure = Failure(None, "Clearstem.SourceNotFetched", "503")
    service.jobs.change(job.job_id, lambda j: j.fail(failure, at=service.now()))
    job = service.control.retry(job.job_id)
    for day in (31, 32.5):
        assert list(later(service, timedelta(days=day)).sweep()) == [job.job_id]
        assert service.jobs.get(job.job_id).state is JobState.QUEUED
        assert "DUE#FADING" in items(service, job)
    finish(service, job)
    assert stored_bytes(service, "ada") > 0
    lose(service, *objects(service))
    assert list(later(service, timedelta(days=60)).sweep()) == [job.job_id]
    assert service.jobs.get(job.job_id).deleted_at is not None
    assert "DUE#FADING" not in items(service, job)
    assert stored_bytes(service, "ada") == 0
