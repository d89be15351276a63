"""The Munsit dialect behind API Gateway: its refusals, its links, its streams that cannot be."""

import base64
import json
from typing import Any

import pytest

from clearstem.service import Service
from functions import authorizer, rest
from tests.fakes import Invocation, recorded
from tests.submitted import denoised, submit_denoise

HOST = "https://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com"


def asked(path: str, *, owner: str | None = None) -> dict[str, Any]:
    """A GET as API Gateway passes it on: the stage is part of the context's path alone."""
    event = recorded("rest_health")
    event["path"] = path
    event["requestContext"]["path"] = f"/live{path}"
    event["requestContext"]["authorizer"] = {"owner": owner} if owner else {"principalId": "-"}
    return event


def answered(event: dict[str, Any]) -> tuple[int, str, dict[str, Any]]:
    answer = rest.handler(event, Invocation())  # type: ignore[arg-type]
    body = answer["body"]
    text = base64.b64decode(body).decode() if answer["isBase64Encoded"] else body
    return answer["statusCode"], text, answer["headers"]


def authorized(path: str, **headers: str) -> dict[str, Any]:
    event = recorded("authorizer_rest")
    event["path"] = path
    event["headers"] = {**event["headers"], **headers}
    return authorizer.handler(event, Invocation())  # type: ignore[arg-type, no-any-return]


def test_a_wrong_key_is_passed_on_without_an_owner_and_refused_as_published(
    deployed: Service,
) -> None:
    policy = authorized("/api/v1/denoise")
    assert "context" not in policy and "usageIdentifierKey" not in policy
    status, text, _ = answered(asked("/api/v1/denoise"))
    expected = {"errorCode": "40101", "errorMessage": "Invalid or missing API key"}
    assert (status, json.loads(text)) == (401, expected)


def test_a_good_key_names_its_owner(deployed: Service) -> None:
    key, _ = deployed.accounts.create_key("alice", at=deployed.now())
    context = authorized("/api/v1/denoise", **{"x-api-key": key})["context"]
    assert context == {"owner": "alice", "scopes": "admin jobs:read jobs:write"}


def test_a_wrong_key_ends_at_the_gateway_in_other_dialects(deployed: Service) -> None:
    for path in ("/jobs", "/v1/upload"):
        with pytest.raises(Exception, match=r"^Unauthorized$"):
            authorized(path)


def test_a_socket_is_never_let_through_without_a_key(deployed: Service) -> None:
    event = recorded("authorizer_websocket")
    event["headers"]["x-api-key"] = "cs_wrong"
    event["queryStringParameters"] = {"dialect": "munsit"}
    event["path"] = "/api/v1/denoise"
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        authorizer.handler(event, Invocation())  # type: ignore[arg-type]


def test_addresses_begin_with_the_stage(deployed: Service) -> None:
    job = denoised(deployed, submit_denoise(deployed, owner="alice"))
    status, text, _ = answered(asked("/api/v1/denoise", owner="alice"))
    (record,) = json.loads(text)
    assert status == 200
    assert record["audio_url"].startswith(f"{HOST}/live/v1/dl/{job.download_token}/")
    assert record["original_audio_url"].startswith(f"{HOST}/live/api/v1/originals/")


def test_where_no_stream_is_possible_the_present_state_is_the_answer(deployed: Service) -> None:
    job = submit_denoise(deployed, owner="alice")
    status, text, headers = answered(asked(f"/api/v1/denoise/{job.job_id}/progress", owner="alice"))
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    waiting = '{"stage":"processing","pct":0.0,"message":"Waiting to start"}'
    assert text == f"data: {waiting}\n\n"


def test_the_last_event_is_replayed_there_too(deployed: Service) -> None:
    job = denoised(deployed, submit_denoise(deployed, owner="alice"))
    _, text, _ = answered(asked(f"/api/v1/denoise/{job.job_id}/progress", owner="alice"))
    assert json.loads(text.removeprefix("data: "))["stage"] == "done"
