"""The recorded events of HTTP, drops, ends and clocks, through the handlers they are for."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from clearstem.errors import JobNotFound
from clearstem.jobs import JobState
from clearstem.service import Service
from functions import authorizer, drop, rest, settle, sweep
from tests.fakes import EVENTS, JOB_ID, call, recorded
from tests.submitted import submit, wav


def answered(handler, event: dict[str, Any]) -> dict[str, Any]:
    answer = call(handler, event)
    body = answer["body"]
    text = base64.b64decode(body).decode() if answer["isBase64Encoded"] else body
    return {"status": answer["statusCode"], "document": json.loads(text)}


def test_every_recorded_event_is_driven_through_its_handler_here() -> None:
    files = ("test_events.py", "test_socket_events.py")
    source = "".join(Path(__file__).with_name(name).read_text() for name in files)
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
