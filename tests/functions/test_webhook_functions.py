"""Announcer and courier as Lambda calls them, with receivers that mean harm."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from clearstem.addresses import policy
from clearstem.facts import Failure
from clearstem.guarded import GuardedClient
from clearstem.job_log import JobLog
from clearstem.jobs import Job
from clearstem.service import Service
from clearstem.table_keys import JOB
from clearstem.webhook_deliveries import DeliveryState
from clearstem.webhook_endpoints import SENT_KINDS
from clearstem.webhooks import RECEIVER_S, Order
from functions import changes, webhook
from tests.fakes import Invocation
from tests.hostile import black_holes
from tests.receiver import Receiver, receiving
from tests.submitted import finish, submit, wav

OWNER = "local"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as known:
        yield known


@pytest.fixture
def stream(deployed: Service) -> "Stream":
    return Stream(deployed)


class Stream:
    """Takes the table's stream to who hears it, and the queue to the courier."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._client = service.client("dynamodbstreams")
        arn = self._client.list_streams(TableName=service.settings.table)["Streams"][0]["StreamArn"]
        shard = self._client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]
        self._iterator = self._client.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]

    def dispatch(self, *, times: int = 1) -> None:
        """Hand over what is new, so many times."""
        event = self.event()
        for _ in range(times):
            assert changes.handler(event, Invocation()) == {"batchItemFailures": []}

    def event(self) -> dict[str, Any]:
        """What is new, as Lambda hands it over."""
        answer = self._client.get_records(ShardIterator=self._iterator)
        self._iterator = answer["NextShardIterator"]
        records = [record for record in answer["Records"] if _of_job(record)]
        event: dict[str, Any] = json.loads(json.dumps({"Records": records}, default=str))
        return event

    def deliver(self) -> int:
        """Make the attempts that are due now; how many messages there were."""
        made = 0
        sqs, url = self.service.client("sqs"), self.service.settings.webhook_queue_url
        while True:
            found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
            if not found:
                return made
            for message in found:
                webhook.handler({"Records": [{"body": message["Body"]}]}, Invocation())
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                made += 1


def _of_job(record: dict[str, Any]) -> bool:
    image = record["dynamodb"].get("NewImage")
    return bool(image and image["sk"]["S"] == JOB)


def called(service: Service, url: str) -> Job:
    """A job that has events sent to an address."""
    intake = service.intake
    upload = intake.announce(owner=OWNER, file_name="song.wav")
    with intake.writer(upload) as writer:
        writer.write(wav())
    from clearstem.options import SeparateOptions

    return intake.submit_upload(upload, SeparateOptions(), callback_url=url)


def secret_of(service: Service) -> str:
    return service.endpoints.callback_secrets(OWNER).current


def test_what_is_sent_is_the_log_with_its_numbers_and_the_job_as_it_was(
    stream: Stream, receiver: Receiver
) -> None:
    service = stream.service
    job = finish(service, called(service, receiver.url))
    stream.dispatch()
    stream.deliver()
    log = JobLog(service.jobs.client, service.jobs.table).after(0, job_id=job.job_id)
    wanted = {f"evt_{job.job_id}_{e.number}": e.kind.value for e in log if e.kind in SENT_KINDS}
    documents = {m.event_id: m.verified(secret_of(service)) for m in receiver.messages}
    assert {name: document["type"] for name, document in documents.items()} == wanted
    by_kind = {document["type"]: document["data"] for document in documents.values()}
    assert (by_kind["job.queued"]["status"], by_kind["job.queued"]["outputs"]) == ("processing", {})
    assert by_kind["job.succeeded"]["status"] == "completed"
    assert len(by_kind["job.succeeded"]["outputs"]) == 9


def test_a_retried_job_is_told_of_at_once_and_numbers_put_messages_in_order(
    stream: Stream, receiver: Receiver
) -> None:
    service, job_id = stream.service, called(stream.service, receiver.url).job_id
    failure = Failure(None, "Clearstem.StageCrashed", "lost")
    service.jobs.change(job_id, lambda job: job.fail(failure, at=service.now()))
    service.jobs.change(job_id, lambda job: job.retry(at=service.now()))
    stream.dispatch()
    stream.deliver()
    told = [message.verified(secret_of(service)) for message in receiver.messages]
    told.sort(key=lambda document: document["number"])
    assert [(document["number"], document["type"]) for document in told] == [
        (1, "job.queued"),
        (2, "job.failed"),
        (3, "job.retried"),
    ]
    assert (told[-1]["data"]["status"], told[-1]["data"]["attempt"]) == ("processing", 2)
    ends = {message.event_id.rpartition("_")[2] for message in receiver.messages}
    assert ends == {"1", "2", "3"}


def test_stream_records_that_come_three_times_are_told_once(
    stream: Stream, receiver: Receiver
) -> None:
    finish(stream.service, called(stream.service, receiver.url))
    stream.dispatch(times=3)
    stream.deliver()
    assert len({m.event_id for m in receiver.messages}) == len(receiver.messages) == 7


def test_a_job_that_nobody_is_told_of_makes_no_message(stream: Stream) -> None:
    finish(stream.service, submit(stream.service))
    stream.dispatch()
    assert stream.deliver() == 0


def test_messages_are_told_apart_by_owner_so_that_none_has_to_wait_for_another(
    deployed: Service,
) -> None:
    """By that a queue of AWS's is a fair one; a message that is held back is no exception."""
    queue, now = deployed.announcer.queue, deployed.now()
    for owner, wait_s in (("ada", 0), ("bob@example.org", 0), ("ada", 1)):
        due = now + timedelta(seconds=wait_s)
        queue.put(Order(owner, "hook", "evt_1", attempt=0, due_at=due), at=now)
    groups = sorted(
        message["Attributes"]["MessageGroupId"]
        for _ in range(2)
        for message in queue.client.receive_message(
            QueueUrl=queue.url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=2,
            MessageSystemAttributeNames=["MessageGroupId"],
        )["Messages"]
    )
    assert groups == ["ada", "ada", "bob@example.org"]


def test_a_deleted_job_is_still_told_of(stream: Stream, receiver: Receiver) -> None:
    job = finish(stream.service, called(stream.service, receiver.url))
    stream.service.removal.delete(job.job_id)
    stream.dispatch()
    stream.deliver()
    assert "job.succeeded" in receiver.kinds(secret_of(stream.service))


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data", "/elsewhere"])
def test_a_redirect_is_a_failure_and_is_not_followed(
    stream: Stream, receiver: Receiver, target: str
) -> None:
    receiver.answers = [(307, {"Location": target})]
    job = called(stream.service, f"{receiver.url}/hook")
    stream.dispatch()
    stream.deliver()
    assert [message.path for message in receiver.messages] == ["/hook"]
    assert _told(stream, job).tries[-1].error == "the receiver answered 307"


def test_a_receiver_that_hangs_up_has_not_got_it(stream: Stream, receiver: Receiver) -> None:
    job = called(stream.service, f"{receiver.url}/hang-up")
    stream.dispatch()
    stream.deliver()
    told = _told(stream, job)
    assert (told.state, told.tries[-1].status) == (DeliveryState.PENDING, None)
    assert told.tries[-1].error == "the address broke off the connection"


def test_a_receiver_that_breaks_off_its_own_answer_has_got_it(
    stream: Stream, receiver: Receiver
) -> None:
    receiver.answers = [(200, {})]
    job = called(stream.service, f"{receiver.url}/cut-body")
    stream.dispatch()
    stream.deliver()
    assert _told(stream, job).state is DeliveryState.DELIVERED


def test_a_receiver_that_takes_too_long_is_given_up_and_tried_again(
    stream: Stream, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    courier = webhook._courier()
    post = GuardedClient(allow_loopback=True, total_s=0.3, idle_s=0.3).post
    monkeypatch.setattr(webhook, "_courier", lambda: replace(courier, post=post))
    receiver.slow_s = 1.0
    job = called(stream.service, f"{receiver.url}/slow")
    stream.dispatch()
    stream.deliver()
    told = _told(stream, job)
    assert (told.state, told.attempts) == (DeliveryState.PENDING, 1)
    assert told.tries[-1].duration_s < 0.9


def test_a_receiver_behind_a_firewall_is_an_attempt_that_failed(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    courier = webhook._courier()
    assert courier.post.__self__.total_s == RECEIVER_S  # type: ignore[attr-defined]
    post = GuardedClient(allow_loopback=True, total_s=0.2, idle_s=5.0).post
    monkeypatch.setattr(webhook, "_courier", lambda: replace(courier, post=post))
    with black_holes("127.0.0.2") as port:
        job = called(stream.service, f"http://127.0.0.2:{port}/")
        stream.dispatch()
        stream.deliver()
    told = _told(stream, job)
    assert (told.state, told.attempts, told.tries[-1].status) == (DeliveryState.PENDING, 1, None)


def test_where_aws_is_no_emulator_no_message_goes_to_this_machine(
    deployed: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    from clearstem.settings import Settings

    assert Settings.from_env().webhook_allow_loopback is False
    assert not policy(allow_loopback=False).allowed_networks


def _told(stream: Stream, job: Job) -> Any:
    return stream.service.deliveries.get(f"evt_{job.job_id}_1", webhook_id=f"cb_{job.job_id}")
