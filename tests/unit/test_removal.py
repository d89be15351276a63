"""What is deleted, what stays, and what the sweep looks after."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from clearstem.errors import Conflict, IllegalTransition, JobNotFound
from clearstem.facts import Failure, Location
from clearstem.job_events import EventKind, JobEvent
from clearstem.job_table import JobTable
from clearstem.jobs import Job, JobState
from clearstem.options import SeparateOptions
from clearstem.recipes import SEPARATION, work_key
from clearstem.removal import Removal
from clearstem.retention import Receipt, RetentionTable
from clearstem.service import Service
from clearstem.webhook_deliveries import Cleared, Delivery, DeliveryTable, Try
from clearstem.webhook_endpoints import Endpoint
from clearstem.webhook_secrets import Secrets, new_secret
from clearstem.webhooks import Announcer, event_id_of
from tests.submitted import advance, finish, submit, wav
from tests.unit.memory_queue import Clock, MemoryQueue


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


def known(service: Service, job: Job) -> Job:
    """The job when its recording's content has been read."""
    source = replace(job.source, sha256="ab" * 32)
    return service.jobs.change(job.job_id, lambda j: replace(j, source=source))


def later(service: Service, passed: timedelta) -> Removal:
    """The service's removal, so much later."""
    now: datetime = service.now() + passed
    return replace(service.removal, now=lambda: now)


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


def announced(service: Service, job: Job, *numbers: int) -> list[Delivery]:
    """Deliveries of the job's events to one webhook, on their way."""
    sent = []
    for number in numbers:
        event = JobEvent(number, EventKind.STARTED, service.now(), 1, 0.0)
        made = Delivery(
            event_id_of(event, job_id=job.job_id),
            "hook",
            job.owner,
            job_id=job.job_id,
            kind=event.kind,
            body='{"data":{"file_name":"song.wav"}}',
            created_at=event.at,
            updated_at=event.at,
        )
        sent.append(service.deliveries.add(made))
    return sent


def announcer(service: Service) -> Announcer:
    """What makes deliveries of the stream's news, with a queue that nobody works through."""
    service.endpoints.register(
        Endpoint(
            "hook", "local", "https://example.org", service.now(), secrets=Secrets(new_secret())
        )
    )
    queue = MemoryQueue(Clock(service.now())).queue
    return replace(service.announcer, queue=queue)


def heard(service: Service, job: Job, number: int, *, passed: timedelta) -> Delivery:
    """An event of the job that the stream tells of so much later."""
    event = JobEvent(number, EventKind.SUCCEEDED, service.now(), 1, 0.0)
    at = service.now() + passed
    late = replace(announcer(service), now=lambda: at)
    assert late.announce(job, event, body="{}") == 1
    event_id = event_id_of(event, job_id=job.job_id)
    return service.deliveries.get(event_id, webhook_id="hook")


def ended(service: Service, delivery: Delivery) -> None:
    told = delivery.told(Try(service.now(), 0.1, status=204), wait_s=0, schedule_s=(0.0,))
    assert service.deliveries.replace(delivery, told)


def left(service: Service) -> list[str]:
    page = service.deliveries.page("hook", owner="local", limit=10)
    return [delivery.event_id.rpartition("_")[2] for delivery in page.deliveries]


def test_what_webhooks_were_sent_of_a_job_goes_with_it_and_the_receipt_tells(service):
    job, other = done(service), done(service)
    arrived, also, on_its_way = announced(service, job, 1, 2, 3)
    ended(service, arrived)
    ended(service, also)
    announced(service, other, 4)
    receipt = service.removal.delete(job.job_id)
    assert (receipt.deliveries, receipt.deliveries_pending) == (2, 1)
    assert left(service) == ["4", "3"]
    assert items(service, job) == {"TOMBSTONE", "DUE#AFTERMATH", "TOLD#hook"}
    # Its receiver is told to the end, and looked after until then.
    assert list(later(service, timedelta(minutes=6)).sweep()) == [job.job_id]
    assert left(service) == ["4", "3"]
    ended(service, on_its_way)
    assert list(later(service, timedelta(minutes=30)).sweep()) == [job.job_id]
    assert left(service) == ["4"]
    assert items(service, job) == {"TOMBSTONE"}
    assert list(later(service, timedelta(hours=1)).sweep()) == []
    assert service.removal.delete(job.job_id) == receipt


def test_what_is_announced_after_the_deletion_goes_with_the_sweep(service):
    job = done(service)
    service.removal.delete(job.job_id)
    (late,) = announced(service, job, 7)
    ended(service, late)
    assert list(later(service, timedelta(minutes=6)).sweep()) == [job.job_id]
    assert left(service) == []


def test_what_the_stream_tells_of_when_the_removal_is_over_arrives_and_goes(service):
    job = done(service)
    service.removal.delete(job.job_id)
    assert list(later(service, timedelta(minutes=6)).sweep()) == [job.job_id]
    assert items(service, job) == {"TOMBSTONE"}
    place = job.source.location
    service.store.write_text("another song", to=place, content_type="audio/wav")
    late = heard(service, job, 7, passed=timedelta(hours=3))
    assert list(later(service, timedelta(hours=3, minutes=16)).sweep()) == [job.job_id]
    assert left(service) == ["7"]
    ended(service, late)
    assert list(later(service, timedelta(hours=4)).sweep()) == [job.job_id]
    assert left(service) == []
    assert items(service, job) == {"TOMBSTONE"}
    assert objects(service) == {place.key}


def test_what_the_stream_tells_of_meanwhile_puts_no_look_at_files_off(service):
    job = done(service)
    service.removal.delete(job.job_id)
    heard(service, job, 7, passed=timedelta(minutes=1))
    worked(service, job)
    assert list(later(service, timedelta(minutes=6)).sweep()) == [job.job_id]
    assert objects(service) == set()
    assert left(service) == ["7"]


def test_what_is_announced_while_the_sweep_looks_is_looked_for_again(service):
    job = done(service)
    service.removal.delete(job.job_id)

    class Met(DeliveryTable):
        def clear(self, job_id: str) -> Cleared:
            cleared = super().clear(job_id)
            heard(service, job, 7, passed=timedelta(minutes=7))
            return cleared

    met = Met(service.deliveries.client, service.deliveries.table)
    assert list(replace(later(service, timedelta(minutes=6)), deliveries=met).sweep())
    assert items(service, job) == {"TOMBSTONE", "DUE#AFTERMATH", "TOLD#hook"}


def test_nothing_is_looked_after_for_a_job_that_is_there(service):
    job = done(service)
    heard(service, job, 7, passed=timedelta(hours=3))
    assert "DUE#AFTERMATH" not in items(service, job)


def test_a_job_whose_results_alone_were_deleted_keeps_its_deliveries(service):
    job = done(service)
    (arrived,) = announced(service, job, 1)
    ended(service, arrived)
    assert service.removal.delete_results(job.job_id).deliveries == 0
    list(later(service, timedelta(minutes=6)).sweep())
    assert left(service) == ["1"]


class Losing(RetentionTable):
    """A table whose caller finds the job changed when he gets to bury it for the first time."""

    def bury(self, job: Job, receipt: Receipt) -> bool:
        if not job.labels:
            JobTable(self.client, self.table).change(
                job.job_id, lambda j: replace(j, labels={"take": "2"})
            )
        return super().bury(job, receipt)


def test_the_receipt_tells_of_what_went_before_a_race_was_lost(service):
    job = done(service)
    for delivery in announced(service, job, 1, 2):
        ended(service, delivery)
    removal = service.removal
    losing = Losing(removal.retention.client, removal.retention.table)
    receipt = replace(removal, retention=losing).delete(job.job_id)
    assert (receipt.files, receipt.deliveries, receipt.deliveries_pending) == (11, 2, 0)


def test_a_recording_dropped_anew_at_its_key_outlives_what_is_still_told_of_the_first(service):
    job = done(service)
    (on_its_way,) = announced(service, job, 1)
    service.removal.delete(job.job_id)
    assert list(later(service, timedelta(minutes=6)).sweep()) == [job.job_id]
    place = job.source.location
    service.store.write_text("another song", to=place, content_type="audio/wav")
    assert list(later(service, timedelta(minutes=30)).sweep()) == [job.job_id]
    ended(service, on_its_way)
    assert list(later(service, timedelta(minutes=60)).sweep()) == [job.job_id]
    assert objects(service) == {place.key}
    assert items(service, job) == {"TOMBSTONE"}
