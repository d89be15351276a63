"""What is deleted, what stays, and what the sweep looks after."""

from dataclasses import replace
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from clearstem.errors import Conflict, IllegalTransition, JobNotFound
from clearstem.facts import Failure, Location
from clearstem.job_events import EventKind
from clearstem.jobs import Job, JobState
from clearstem.options import SeparateOptions
from clearstem.retention import Receipt, RetentionTable
from clearstem.service import Service
from tests.submitted import advance, finish, submit, wav
from tests.unit.removed import done, items, later, objects, worked


def known(service: Service, job: Job) -> Job:
    """The job when its recording's content has been read."""
    source = replace(job.source, sha256="ab" * 32)
    return service.jobs.change(job.job_id, lambda j: replace(j, source=source))


def test_a_deleted_job_leaves_a_receipt_and_nothing_else(service):
    job, other = done(service), done(service)
    kept = {key for key in objects(service) if job.job_id not in key}
    kept -= {job.source.location.key}
    before = objects(service)
    receipt = service.removal.delete(job.job_id)
    assert objects(service) == kept
    assert receipt.files == len(before) - len(kept) == 9 + 1 + 1
    assert receipt.size_bytes == sum(t.size_bytes for t in job.tracks) + 100 + len(wav())
    assert (receipt.job_id, receipt.owner, receipt.state) == (job.job_id, "local", job.state)
    assert not receipt.record_kept and not receipt.source_kept
    assert items(service, job) == {"TOMBSTONE", "DUE#AFTERMATH"}
    with pytest.raises(JobNotFound):
        service.jobs.get(job.job_id)
    assert [j.job_id for j in service.jobs.history("local", limit=10).jobs] == [other.job_id]


def versioned(service: Service) -> None:
    """The buckets of recordings and tracks as they are deployed."""
    for bucket in (service.settings.uploads_bucket, service.settings.tracks_bucket):
        service.store.client.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
        )


def past(service: Service) -> set[str]:
    """The keys of which any version is stored, or a delete marker."""
    settings, places = service.settings, service.store.places
    buckets = (settings.uploads_bucket, settings.work_bucket, settings.tracks_bucket)
    return {each.location.key for b in buckets for each in places.below(Location(b, ""))}


def test_a_deleted_job_leaves_no_version_of_its_files_either(service):
    """A marker would hide them for a week, while the receipt says that they are gone."""
    versioned(service)
    job, other = done(service), done(service)
    main = next(track for track in job.tracks if track.name == "main")
    service.store.write_text("again", to=main.location, content_type="audio/wav")
    service.store.client.delete_object(Bucket=main.location.bucket, Key=main.location.key)
    before = past(service)
    receipt = service.removal.delete(job.job_id)
    kept = {key for key in before if job.job_id not in key} - {job.source.location.key}
    assert past(service) == kept
    assert other.source.location.key in kept
    assert receipt.files == 9 + 1 + 1 + 1
    stored = sum(t.size_bytes for t in job.tracks) + len("again")
    assert receipt.size_bytes == stored + 100 + len(wav())


def test_files_that_storage_keeps_are_no_success(service, monkeypatch):
    job = done(service)
    refused = {"Key": "x", "Code": "AccessDenied", "Message": "locked"}
    client = service.store.client
    monkeypatch.setattr(client, "delete_objects", lambda **_: {"Errors": [refused]})
    with pytest.raises(ClientError, match="locked"):
        service.removal.delete(job.job_id)
    monkeypatch.undo()
    assert service.removal.delete(job.job_id).files == 11


@pytest.mark.parametrize("record_kept", [False, True])
def test_a_deleted_result_is_no_longer_kept_for_who_asks_the_same(service, record_kept):
    """Its entry would tell the file's name for weeks, where the recording was dropped."""
    job = finish(service, known(service, submit(service)))
    assert service.jobs.cache.find(job, at=service.now()) is not None
    removal = service.removal
    (removal.delete_results if record_kept else removal.delete)(job.job_id)
    assert service.jobs.cache.find(job, at=service.now()) is None


def test_asked_again_the_receipt_is_the_same(service):
    job = done(service)
    first = service.removal.delete(job.job_id)
    assert service.removal.delete(job.job_id) == first


def test_a_job_that_never_was_is_not_found(service):
    for delete in (service.removal.delete, service.removal.delete_results):
        with pytest.raises(JobNotFound):
            delete("nobody")


@pytest.mark.parametrize("under_way", [False, True])
def test_a_job_that_is_not_over_is_cancelled_and_deleted(service, under_way):
    job = submit(service)
    waiting = submit(service)
    if under_way:
        advance(service, job, fraction=0.5)
    assert service.removal.delete(job.job_id).state is JobState.CANCELLED
    assert service.jobs.jobs_ahead(waiting) == 0


def test_results_go_and_the_record_stays_which_gives_them_out_no_more(service):
    job = done(service)
    receipt = service.removal.delete_results(job.job_id)
    assert receipt.record_kept and receipt.files == 11
    assert objects(service) == set()
    stored = service.jobs.get(job.job_id)
    assert (stored.state, stored.deleted_at) == (JobState.SUCCEEDED, receipt.deleted_at)
    assert stored.result is None
    log = service.log.after(0, job_id=job.job_id)
    assert log[-1].kind is EventKind.RESULTS_DELETED
    assert service.removal.delete_results(job.job_id).files == 0


def test_results_of_a_job_that_is_not_over_are_not_deleted(service):
    job = submit(service)
    with pytest.raises(Conflict, match="the job is queued; cancel it before"):
        service.removal.delete_results(job.job_id)
    assert job.source.location.key in objects(service)


def test_a_failed_job_whose_results_were_deleted_is_not_retried(service):
    job, at = submit(service), service.now()
    service.jobs.change(job.job_id, lambda j: j.fail(Failure(None, "X", "?"), at=at))
    service.removal.delete_results(job.job_id)
    submit(service)
    with pytest.raises((IllegalTransition, Conflict)):
        service.control.retry(job.job_id)
    assert service.jobs.get(job.job_id).attempt == 1


def test_a_recording_stays_while_another_job_works_on_it(service):
    intake = service.intake
    upload = intake.announce(owner="local", file_name="song.wav")
    with intake.writer(upload) as writer:
        writer.write(wav())
    first, second = (intake.submit_upload(upload, SeparateOptions()) for _ in range(2))
    assert service.removal.delete(first.job_id).source_kept
    assert objects(service) == {upload.location.key}
    receipt = service.removal.delete(second.job_id)
    assert (receipt.source_kept, receipt.files) == (False, 1)
    assert objects(service) == set()


def test_what_a_stopping_stage_writes_after_the_removal_is_removed_by_the_sweep(service):
    job = submit(service)
    service.removal.delete(job.job_id)
    worked(service, job)
    assert list(later(service, timedelta(minutes=4)).sweep()) == []
    assert list(later(service, timedelta(minutes=6)).sweep()) == [job.job_id]
    assert objects(service) == set()
    assert items(service, job) == {"TOMBSTONE"}
    assert list(later(service, timedelta(minutes=12)).sweep()) == []


def test_a_removal_that_died_before_its_end_is_finished_by_asking_again(service):
    job = done(service)
    removal = service.removal
    dead = replace(removal, retention=Dying(removal.retention.client, removal.retention.table))
    with pytest.raises(OSError, match="the function's time was up"):
        dead.delete(job.job_id)
    assert service.jobs.get(job.job_id).result is None
    receipt = removal.delete(job.job_id)
    assert receipt.deleted_at == removal.delete(job.job_id).deleted_at
    assert items(service, job) == {"TOMBSTONE", "DUE#AFTERMATH"}


class Dying(RetentionTable):
    """A table whose caller dies before it gets to bury anything."""

    def bury(self, job: Job, receipt: Receipt) -> bool:
        raise OSError("the function's time was up")


def test_a_prefix_that_is_not_the_jobs_own_is_never_emptied(service):
    job, other = done(service), done(service)
    stray = replace(job, destination=Location(service.settings.tracks_bucket, "jobs/"))
    service.jobs.change(job.job_id, lambda _: stray)
    with pytest.raises(ValueError, match="is no place of job"):
        service.removal.delete(job.job_id)
    assert {track.location.key for track in other.tracks} <= objects(service)


def test_a_job_goes_when_its_time_is_over(service):
    job = done(service)
    expires = service.now() + timedelta(days=1)
    service.jobs.change(job.job_id, lambda j: replace(j, expires_at=expires))
    assert list(later(service, timedelta(hours=23)).sweep()) == []
    assert list(later(service, timedelta(hours=25)).sweep()) == [job.job_id]
    assert objects(service) == set()
    assert service.removal.delete(job.job_id).deleted_at > expires


@pytest.mark.parametrize("expires", [None, timedelta(days=9)])
def test_a_time_that_is_put_off_is_put_off(service, expires):
    job, now = done(service), service.now()
    for when in (now + timedelta(days=1), None if expires is None else now + expires):
        service.jobs.change(job.job_id, lambda j, when=when: replace(j, expires_at=when))
    assert list(later(service, timedelta(days=2)).sweep()) == []
    swept = list(later(service, timedelta(days=10)).sweep())
    assert swept == ([] if expires is None else [job.job_id])


def test_a_job_that_cannot_be_removed_keeps_no_other_from_it(service):
    stray, other = done(service), done(service)
    expires = service.now() + timedelta(hours=1)
    nowhere = Location(service.settings.tracks_bucket, "jobs/")
    service.jobs.change(stray.job_id, lambda j: replace(j, expires_at=expires, destination=nowhere))
    service.jobs.change(
        other.job_id, lambda j: replace(j, expires_at=expires + timedelta(minutes=1))
    )
    swept = later(service, timedelta(hours=2)).sweep()
    assert next(swept) == other.job_id
    with pytest.raises(ExceptionGroup, match="1 jobs could not be removed"):
        next(swept)
    assert service.jobs.get(stray.job_id).result is None
