"""Jobs whose files their buckets' rules take away: what they count for, and when no more."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from clearstem.drops import submit_drop
from clearstem.facts import Failure, Location
from clearstem.jobs import Job, JobState
from clearstem.options import SeparateOptions
from clearstem.service import Service
from clearstem.track_store import TrackStore
from clearstem.usage import usage_of
from tests.submitted import finish, wav
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


@dataclass(frozen=True)
class Dated(TrackStore):
    """Storage that tells the test's time of what came, where S3 tells its own."""

    came_at: dict[str, datetime] = field(default_factory=dict)

    def stored_at(self, location: Location) -> datetime | None:
        return None if super().stored_at(location) is None else self.came_at[location.key]


NAME = "drop/ada/latest.wav"


def drop(service: Service, *, at: datetime) -> Job:
    """The finished job of a recording that is dropped under a name, again and again."""
    bucket = service.settings.drop_bucket
    service.store.client.put_object(Bucket=bucket, Key=NAME, Body=wav())
    service.store.came_at[NAME] = at - timedelta(seconds=2)
    intake = replace(service.intake, now=lambda: at)
    job = submit_drop(Location(bucket, NAME), event_id=at.isoformat(), intake=intake)
    assert job is not None
    return finish(service, job)


def test_a_name_that_is_used_again_counts_no_recording_twice(service):
    """Every week a recording of the same name, which is what most devices do that drop any."""
    service = replace(service, store=Dated(service.store.client))
    start, jobs = service.now(), []
    for day in range(100):
        now = start + timedelta(days=day)
        if day % 7 == 0:
            jobs.append(drop(service, at=now))
        old = [job for job in jobs if now - job.created_at > timedelta(days=30)]
        lose(service, *(track.location.key for job in old for track in job.tracks))
        list(replace(service.removal, now=lambda now=now: now).sweep())
        kept = [service.jobs.get(job.job_id) for job in jobs]
        assert [job.job_id for job in kept if job.deleted_at] == [job.job_id for job in old]
        assert stored_bytes(service, "ada") == sum(usage_of(job).stored_bytes for job in kept)
    assert len(old) == 10
    assert NAME in objects(service)


def test_a_job_that_fades_leaves_a_newer_recording_of_its_name(service):
    """The job of it is not made yet, or it was refused: nobody has a claim to it."""
    service = replace(service, store=Dated(service.store.client))
    now = service.now()
    job = drop(service, at=now)
    lose(service, *(track.location.key for track in job.tracks))
    service.store.came_at[NAME] = now + timedelta(days=30)
    list(later(service, timedelta(days=31)).sweep())
    assert service.jobs.get(job.job_id).deleted_at is not None
    service.removal.delete(job.job_id)
    list(later(service, timedelta(days=32)).sweep())
    assert objects(service) == {NAME}


def test_a_job_whose_own_recording_lies_there_still_does_not_fade(service):
    service = replace(service, store=Dated(service.store.client))
    job = drop(service, at=service.now())
    lose(service, *(track.location.key for track in job.tracks))
    list(later(service, timedelta(days=31)).sweep())
    assert service.jobs.get(job.job_id).deleted_at is None
    service.removal.delete(job.job_id)
    assert objects(service) == set()
