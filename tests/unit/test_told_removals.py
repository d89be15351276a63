"""What webhooks were sent of a job that is deleted: what goes, when, and who still hears."""

from dataclasses import replace
from datetime import timedelta

from clearstem.job_events import EventKind, JobEvent
from clearstem.job_table import JobTable
from clearstem.jobs import Job
from clearstem.retention import Receipt, RetentionTable
from clearstem.service import Service
from clearstem.webhook_deliveries import Cleared, Delivery, DeliveryTable, Try
from clearstem.webhook_endpoints import Endpoint
from clearstem.webhook_secrets import Secrets, new_secret
from clearstem.webhooks import Announcer, event_id_of
from tests.unit.memory_queue import Clock, MemoryQueue
from tests.unit.removed import done, items, later, objects, worked


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
