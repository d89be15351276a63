"""Every recorded event, through the handler it is for, over an emulated AWS."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from clearstem.connections import Connection
from clearstem.errors import JobNotFound
from clearstem.jobs import JobState
from clearstem.service import Service
from functions import authorizer, drop, push, rest, settle, sweep, websocket
from tests.fakes import EVENTS, Invocation, Sockets, recorded, serving_sockets, unpushed
from tests.submitted import submit, wav

JOB_ID = "3f1c2d4e-5a6b-4c7d-8e9f-0a1b2c3d4e5f"
CONNECTION_ID = "bQk3yfHbliACJ3A="


@pytest.fixture
def sockets(deployed: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sockets]:
    with serving_sockets() as served:
        monkeypatch.setenv("CLEARSTEM_WEBSOCKET_URL", served.url)
        yield served


def call(handler, event: dict[str, Any]) -> Any:
    return handler(event, Invocation())


def answered(handler, event: dict[str, Any]) -> dict[str, Any]:
    answer = call(handler, event)
    body = answer["body"]
    text = base64.b64decode(body).decode() if answer["isBase64Encoded"] else body
    return {"status": answer["statusCode"], "document": json.loads(text)}


def subscribers(service: Service) -> list[str]:
    """The connections that have subscriptions, whether they were told anything yet or not."""
    items = service.jobs.client.scan(TableName=service.settings.table)["Items"]
    return [i["connection_id"]["S"] for i in items if i["pk"]["S"].startswith("WATCH#")]


def connected(service: Service, *, job_id: str | None = JOB_ID) -> Connection:
    connection = Connection(CONNECTION_ID, "alice", "pipeline", job_id)
    service.connections.open(connection, at=service.now())
    return connection


def test_every_recorded_event_is_driven_through_its_handler_here() -> None:
    source = __import__("pathlib").Path(__file__).read_text()
    for path in EVENTS.glob("*.json"):
        assert f'recorded("{path.stem}")' in source, path.name


@pytest.mark.parametrize("path", sorted(EVENTS.glob("*.json")), ids=lambda p: p.stem)
def test_recorded_events_hold_no_real_names(path) -> None:
    text = path.read_text()
    assert json.loads(text)
    assert (
        "amazonaws.com" not in text
        or "a1b2c3d4e5" in text
        or "w9x8y7z6v5" in text
        or "123456789012.dkr" in text
    )


def test_rest_health(deployed: Service) -> None:
    answer = answered(rest.handler, recorded("rest_health"))
    assert answer["status"] == 200
    assert answer["document"]["status"] == "healthy"


def test_rest_process_makes_a_job_of_the_authorizers_owner(deployed: Service) -> None:
    answer = answered(rest.handler, recorded("rest_process"))
    assert answer["status"] == 200, answer
    job = deployed.jobs.get(answer["document"]["job_id"])
    assert job.owner == "alice"
    assert b"".join(deployed.store.chunks(job.source.location)) == wav()


def test_rest_without_an_authorizer_needs_a_key(deployed: Service) -> None:
    event = recorded("rest_process")
    del event["requestContext"]["authorizer"]
    answer = answered(rest.handler, event)
    assert answer["status"] == 401


def test_a_body_that_api_gateway_would_not_carry_is_shown_the_other_way(
    deployed: Service,
) -> None:
    event = recorded("rest_process")
    event["headers"]["Content-Length"] = "5000000"
    event["multiValueHeaders"]["Content-Length"] = ["5000000"]
    answer = answered(rest.handler, event)
    assert answer["status"] == 413
    assert "POST /uploads" in answer["document"]["detail"]


def test_authorizer_lets_a_key_pass_to_the_whole_rest_api(deployed: Service) -> None:
    text, _ = deployed.accounts.create_key("alice", at=deployed.now())
    event = recorded("authorizer_rest")
    event["headers"]["x-api-key"] = text
    policy = call(authorizer.handler, event)
    assert policy["context"] == {"owner": "alice", "scopes": "admin jobs:read jobs:write"}
    # The value of an API key object has 20 letters at least: none is called like an owner.
    assert "usageIdentifierKey" not in policy
    statement = policy["policyDocument"]["Statement"][0]
    assert statement["Effect"] == "Allow"
    assert statement["Resource"] == (
        "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/live/*"
    )


def test_authorizer_refuses_an_unknown_key_in_the_words_of_api_gateway(
    deployed: Service,
) -> None:
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        call(authorizer.handler, recorded("authorizer_rest"))


def test_authorizer_takes_a_browsers_key_from_the_query_of_a_websocket_only(
    deployed: Service,
) -> None:
    text, _ = deployed.accounts.create_key("alice", at=deployed.now())
    event = recorded("authorizer_websocket")
    del event["headers"]["x-api-key"]
    event["queryStringParameters"]["api_key"] = text
    policy = call(authorizer.handler, event)
    assert policy["principalId"] == "alice"
    assert policy["policyDocument"]["Statement"][0]["Resource"].endswith(":w9x8y7z6v5/live/*")
    rest_event = recorded("authorizer_rest")
    del rest_event["headers"]["x-api-key"]
    rest_event["queryStringParameters"] = {"api_key": text}
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        call(authorizer.handler, rest_event)


def test_a_socket_of_the_audo_dialect_needs_a_key_whoever_calls_without_one(
    deployed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSTEM_KEYLESS_OWNER", "local")
    event = recorded("authorizer_websocket")
    event["headers"] = {}
    event["queryStringParameters"] = {"job_id": "1", "dialect": "pipeline"}
    assert call(authorizer.handler, event)["context"]["owner"] == "local"
    event["queryStringParameters"]["dialect"] = "audo"
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        call(authorizer.handler, event)


def test_authorizer_lets_everyone_to_an_address_that_nobody_guesses(deployed: Service) -> None:
    event = recorded("authorizer_rest")
    for path in ("/v1/dl/token/file.mp3", "/v1//dl/token/file.mp3"):
        event["path"] = path
        policy = call(authorizer.handler, event)
        # Without an owner: whatever else the path led to would be refused.
        assert policy["policyDocument"]["Statement"][0]["Effect"] == "Allow"
        assert "context" not in policy


def test_authorizer_honours_a_keyless_owner_and_still_refuses_a_wrong_key(
    deployed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSTEM_KEYLESS_OWNER", "local")
    event = recorded("authorizer_rest")
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        call(authorizer.handler, event)
    event["headers"] = None
    assert call(authorizer.handler, event)["principalId"] == "local"


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


def dropped(service: Service, key: str, content: bytes, **metadata: str) -> dict[str, Any]:
    """The recorded notification, of an object that is there."""
    bucket = service.settings.drop_bucket
    service.store.client.put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata)
    event = recorded("s3_drop")
    event["Records"][0]["s3"]["bucket"]["name"] = bucket
    return event


def notes(service: Service) -> dict[str, str]:
    bucket, client = service.settings.drop_bucket, service.store.client
    found = client.list_objects_v2(Bucket=bucket, Prefix="done/").get("Contents", [])
    return {
        e["Key"]: client.get_object(Bucket=bucket, Key=e["Key"])["Body"].read().decode()
        for e in found
    }


def test_s3_drop_makes_one_job_however_often_it_is_told(deployed: Service) -> None:
    event = dropped(deployed, "drop/alice/Müde Straße.wav", wav(), **{"clearstem-format": "flac"})
    for _ in range(2):
        call(drop.handler, event)
    (job,) = deployed.jobs.history("alice", limit=10).jobs
    assert job.source.file_name == "Müde Straße.wav"
    assert job.options.output_format == "flac"
    assert job.destination.key.startswith("done/alice/Müde Straße.wav/")
    assert notes(deployed) == {}


def test_a_drop_that_is_no_sound_leaves_a_note_and_no_job(deployed: Service) -> None:
    call(drop.handler, dropped(deployed, "drop/alice/Müde Straße.wav", b"just text"))
    assert deployed.jobs.history("alice", limit=10).jobs == ()
    ((key, text),) = notes(deployed).items()
    assert key == "done/alice/Müde Straße.wav.error.txt"
    assert "not a readable audio file" in text


def test_a_drop_that_asks_for_a_missing_engine_leaves_a_note(deployed: Service) -> None:
    event = dropped(deployed, "drop/alice/Müde Straße.wav", wav(), **{"clearstem-engine": "demucs"})
    call(drop.handler, event)
    (text,) = notes(deployed).values()
    assert "clearstem models fetch" in text


def test_a_folder_made_in_the_console_is_no_drop(deployed: Service) -> None:
    event = dropped(deployed, "drop/alice/", b"")
    event["Records"][0]["s3"]["object"]["key"] = "drop/alice/"
    call(drop.handler, event)
    assert notes(deployed) == {}


def test_execution_failed_settles_the_job_with_the_reason(deployed: Service) -> None:
    submit(deployed, owner="alice", job_id=JOB_ID)
    for _ in range(2):
        call(settle.handler, recorded("execution_failed"))
    job = deployed.jobs.get(JOB_ID)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert "exit code 137" in job.failure.message


def test_an_execution_that_nobody_submitted_is_not_tried_again(deployed: Service) -> None:
    call(settle.handler, recorded("execution_failed"))
    with pytest.raises(JobNotFound):
        deployed.jobs.get(JOB_ID)


def test_schedule_sweep_answers_how_many_jobs_it_found(deployed: Service) -> None:
    submit(deployed)
    assert 0 <= (found := call(sweep.handler, recorded("schedule_sweep"))).pop("silence_s") < 60
    assert found == {"swept": 0, "stirred": 0, "woken": 0, "ended": 0, "removed": 0}
