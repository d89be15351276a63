"""The recorded events of sockets and of what they are told, through their handlers."""

import json
from collections.abc import Iterator

import pytest

from clearstem.connections import Connection
from clearstem.service import Service
from functions import push, websocket
from tests.fakes import JOB_ID, Sockets, call, recorded, serving_sockets, unpushed
from tests.submitted import submit

CONNECTION_ID = "bQk3yfHbliACJ3A="


@pytest.fixture
def sockets(deployed: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sockets]:
    with serving_sockets() as served:
        monkeypatch.setenv("CLEARSTEM_WEBSOCKET_URL", served.url)
        yield served


def subscribers(service: Service) -> list[str]:
    """The connections that have subscriptions, whether they were told anything yet or not."""
    items = service.jobs.client.scan(TableName=service.settings.table)["Items"]
    return [i["connection_id"]["S"] for i in items if i["pk"]["S"].startswith("WATCH#")]


def connected(service: Service, *, job_id: str | None = JOB_ID) -> Connection:
    connection = Connection(CONNECTION_ID, "alice", "pipeline", job_id)
    service.connections.open(connection, at=service.now())
    return connection


def test_websocket_connect_writes_the_connection_and_what_it_watches(
    sockets: Sockets, deployed: Service
) -> None:
    submit(deployed, owner="alice", job_id=JOB_ID)
    assert call(websocket.handler, recorded("websocket_connect")) == {"statusCode": 200}
    assert deployed.connections.get(CONNECTION_ID) is not None
    assert subscribers(deployed) == [CONNECTION_ID]
    assert sockets.frames == []


@pytest.mark.parametrize("owner", ["bob", None])
def test_websocket_connect_refuses_a_job_that_is_not_the_callers(
    sockets: Sockets, deployed: Service, owner: str | None
) -> None:
    if owner:
        submit(deployed, owner=owner, job_id=JOB_ID)
    answer = call(websocket.handler, recorded("websocket_connect"))
    assert answer["statusCode"] == 404
    assert deployed.connections.get(CONNECTION_ID) is None


@pytest.mark.parametrize(
    ("asked", "status"),
    [({"job_id": "x"}, 404), ({"dialect": "klingon"}, 400), ({}, 200), (None, 200)],
)
def test_websocket_connect_takes_known_jobs_and_dialects_or_none(
    sockets: Sockets, asked: dict[str, str] | None, status: int
) -> None:
    event = recorded("websocket_connect")
    event["queryStringParameters"] = asked
    assert call(websocket.handler, event)["statusCode"] == status


def test_websocket_connect_without_an_owner_is_refused(sockets: Sockets) -> None:
    event = recorded("websocket_connect")
    del event["requestContext"]["authorizer"]
    assert call(websocket.handler, event)["statusCode"] == 401


def test_websocket_subscribe_watches_the_job(sockets: Sockets, deployed: Service) -> None:
    submit(deployed, owner="alice", job_id=JOB_ID)
    connected(deployed, job_id=None)
    assert call(websocket.handler, recorded("websocket_subscribe"))["statusCode"] == 200
    assert subscribers(deployed) == [CONNECTION_ID]
    assert sockets.frames == []


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (json.dumps({"action": "subscribe", "job_id": JOB_ID}), "Job not found"),
        (json.dumps({"action": "subscribe", "job_id": None}), "Job not found"),
        (json.dumps({"action": "sing", "job_id": JOB_ID}), "action 'sing' is not known"),
        ("no json", "expected"),
        ("[]", "expected"),
        ("null", "expected"),
        ("[" * 30_000, "expected"),
        (None, "expected"),
    ],
)
def test_websocket_answers_a_message_it_cannot_serve_with_an_error_frame(
    sockets: Sockets, deployed: Service, body: str | None, detail: str
) -> None:
    connected(deployed, job_id=None)
    event = recorded("websocket_subscribe")
    event["body"] = body
    assert call(websocket.handler, event)["statusCode"] == 200
    (frame,) = sockets.documents(CONNECTION_ID)
    assert frame["detail"].startswith(detail)


def test_websocket_disconnect_forgets_everything_and_may_come_twice(
    sockets: Sockets, deployed: Service
) -> None:
    deployed.connections.watch(connected(deployed), job_id=JOB_ID, at=deployed.now())
    for _ in range(2):
        assert call(websocket.handler, recorded("websocket_disconnect"))["statusCode"] == 200
    assert deployed.connections.get(CONNECTION_ID) is None
    assert subscribers(deployed) == []


def test_stream_job_change_tells_each_watcher_once_a_batch(
    sockets: Sockets, deployed: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(deployed, owner="alice", job_id=JOB_ID)
    deployed.connections.watch(connected(deployed), job_id=JOB_ID, at=deployed.now())
    deployed.connections.greet(CONNECTION_ID, job_id=JOB_ID)
    assert call(push.handler, recorded("stream_job_change")) == {"batchItemFailures": []}
    (frame,) = sockets.documents(CONNECTION_ID)
    # The state as it is, not as the old record has it.
    assert (frame["job_id"], frame["percent"]) == (JOB_ID, 0.0)
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (told,) = [line for line in metrics if "PushSeconds" in line]
    # The records of the batch are of 2024; the job was told of once.
    assert len(told["PushSeconds"]) == 1 and told["PushSeconds"][0] > 3600


def test_stream_watch_tells_the_new_watcher_alone(sockets: Sockets, deployed: Service) -> None:
    submit(deployed, owner="alice", job_id=JOB_ID)
    other = Connection("another=", "alice", "pipeline", JOB_ID)
    deployed.connections.watch(other, job_id=JOB_ID, at=deployed.now())
    deployed.connections.greet(other.connection_id, job_id=JOB_ID)
    assert call(push.handler, recorded("stream_watch")) == {"batchItemFailures": []}
    assert [to for to, _ in sockets.frames] == [CONNECTION_ID]


def test_a_job_that_is_over_is_told_and_the_socket_opened_for_it_is_closed(
    sockets: Sockets, deployed: Service
) -> None:
    job = submit(deployed, owner="alice", job_id=JOB_ID)
    deployed.settler.settle(job.job_id, attempt=1, status="ABORTED", error=None, cause=None)
    call(push.handler, recorded("stream_watch"))
    (frame,) = sockets.documents(CONNECTION_ID)
    assert frame["status"] == "failed"
    assert sockets.closed == [CONNECTION_ID]


def test_a_connection_whose_handshake_is_not_over_is_tried_again(
    sockets: Sockets, deployed: Service
) -> None:
    submit(deployed, owner="alice", job_id=JOB_ID)
    sockets.gone[CONNECTION_ID] = 1
    call(push.handler, recorded("stream_watch"))
    assert len(sockets.documents(CONNECTION_ID)) == 1


def test_a_connection_that_stays_gone_is_forgotten(sockets: Sockets, deployed: Service) -> None:
    submit(deployed, owner="alice", job_id=JOB_ID)
    deployed.connections.watch(connected(deployed), job_id=JOB_ID, at=deployed.now())
    sockets.gone[CONNECTION_ID] = 99
    assert call(push.handler, recorded("stream_watch")) == {"batchItemFailures": []}
    assert subscribers(deployed) == []


def test_removed_items_and_other_items_are_nobodys_news(sockets: Sockets) -> None:
    event = recorded("stream_watch")
    removed = event["Records"][0]
    removed["eventName"] = "REMOVE"
    removed["dynamodb"]["OldImage"] = removed["dynamodb"].pop("NewImage")
    keys = {"pk": {"S": "QUEUE#separate"}, "sk": {"S": "QUEUE"}}
    counter = recorded("stream_watch")["Records"][0]
    counter["dynamodb"].update(Keys=keys, NewImage={**keys, "issued": {"N": "5"}})
    opened = recorded("stream_watch")["Records"][0]
    opened["dynamodb"]["NewImage"]["pk"]["S"] = f"CONN#{CONNECTION_ID}"
    event["Records"] += [counter, opened]
    assert call(push.handler, event) == {"batchItemFailures": []}
    assert sockets.frames == []


def test_a_record_that_cannot_be_pushed_is_the_only_one_that_comes_again_and_is_told(
    sockets: Sockets, deployed: Service, caplog: pytest.LogCaptureFixture
) -> None:
    submit(deployed, owner="alice", job_id=JOB_ID)
    event = recorded("stream_watch")
    poison = recorded("stream_watch")["Records"][0]
    poison["dynamodb"]["SequenceNumber"] = "999"
    poison["dynamodb"]["NewImage"]["dialect"]["S"] = "klingon"
    event["Records"].append(poison)
    answer = call(push.handler, event)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "999"}]}
    assert len(sockets.documents(CONNECTION_ID)) == 1
    assert unpushed(caplog) == [(JOB_ID, "KeyError")]
