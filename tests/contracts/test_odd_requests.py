"""What nobody sends by accident: numbers, times and texts that no storage and no language takes."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.testclient import TestClient

from clearstem.service import Service
from functions.rest import create_app
from tests.problems import refusal
from tests.submitted import finish, submit

# More digits than Python turns into a number.
DIGITS = "9" * 5000
# A half of a surrogate pair, as JSON can write it and UTF-8 cannot.
HALF = "\ud800"
HOOK = "https://hooks.example.org/"
EARLY, LATE = "2026-01-01T00:00:00", "2026-01-02T00:00:00"


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    key, _ = service.accounts.create_key("ada", at=service.now())
    app = create_app(service)
    with TestClient(app, headers={"x-api-key": key}, raise_server_exceptions=False) as client:
        yield client


def sent(api: TestClient, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
    """The answer to a JSON body; httpx would write no half of a surrogate pair."""
    headers = {"Content-Type": "application/json"}
    return api.request(method, path, content=json.dumps(body), headers=headers)


def test_a_time_that_ends_before_it_begins_is_told_with_both_ends(api: TestClient) -> None:
    answer = api.get("/jobs", params={"since": LATE, "until": EARLY})
    assert refusal(answer)[0] == 400
    told = answer.json()
    assert (told["field"], told["value"]) == ("until", f"{EARLY}+00:00")
    assert told["accepted"] == {"minimum": f"{LATE}+00:00"}
    assert api.get("/jobs", params={"since": LATE, "until": LATE}).json()["jobs"] == []


def test_a_time_that_utc_has_no_year_for_is_a_400(api: TestClient) -> None:
    for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        for name in ("since", "until"):
            answer = api.get("/jobs", params={name: moment})
            assert refusal(answer)[0] == 400
            assert (answer.json()["field"], answer.json()["value"]) == (name, moment)


def test_a_cursor_goes_with_the_times_that_it_was_given_out_for(
    api: TestClient, service: Service
) -> None:
    oldest, middle, newest = [submit(service, owner="ada") for _ in range(3)]
    cursor = api.get("/jobs?limit=2").json()["next_cursor"]
    for excluding in (
        {"since": newest.created_at.isoformat()},
        {"until": oldest.created_at.isoformat()},
    ):
        answer = api.get("/jobs", params={"cursor": cursor, **excluding})
        assert refusal(answer)[0] == 400
        assert "cursor" in answer.json()["detail"]
    within = {"cursor": cursor, "since": oldest.created_at.isoformat()}
    (left,) = api.get("/jobs", params=within).json()["jobs"]
    assert left["job_id"] == oldest.job_id
    assert middle.created_at > oldest.created_at


def test_a_last_event_beyond_all_is_told_how_far_numbers_go(
    api: TestClient, service: Service
) -> None:
    path = f"/job/{submit(service, owner='ada').job_id}/events"
    streamed = {"Accept": "text/event-stream"}
    for told in (DIGITS, "10000000000"):
        answer = api.get(path, headers={**streamed, "Last-Event-ID": told})
        assert refusal(answer)[0] == 400
        assert answer.json()["accepted"] == {"minimum": 0, "maximum": 9_999_999_998}
        assert api.get(path, params={"after": told}, headers=streamed).status_code == 400


def test_a_range_of_thousands_of_digits_is_behind_every_end(
    api: TestClient, service: Service
) -> None:
    job = finish(service, submit(service, owner="ada"))
    answer = api.get(f"/download/{job.job_id}/main", headers={"Range": f"bytes={DIGITS}-"})
    assert refusal(answer)[0] == 416


def test_a_length_of_thousands_of_digits_is_no_announcement(api: TestClient) -> None:
    headers = {"Content-Length": DIGITS, "Content-Type": "multipart/form-data; boundary=x"}
    for path, status in (("/process", 400), ("/v1/upload", 422), ("/api/v1/denoise", 400)):
        assert api.post(path, content=b"--x--\r\n", headers=headers).status_code == status


BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/jobs", {"upload_id": HALF}),
    ("/jobs", {"upload_id": "x", "recipe": HALF}),
    ("/jobs", {"upload_id": "x", "engine": HALF}),
    ("/jobs", {"upload_id": "x", "format": HALF}),
    ("/jobs", {"upload_id": "x", "callback_url": HOOK + HALF}),
    ("/jobs", {"upload_id": "x", "labels": {"a": HALF}}),
    ("/jobs", {"upload_id": "x", "labels": {HALF: "a"}}),
    ("/jobs", {"upload_id": "x", HALF: "a"}),
    ("/uploads", {"file_name": f"{HALF}.{HALF}"}),
    ("/uploads", {"file_name": "a.wav", "recipe": HALF}),
    ("/uploads", {"file_name": "a.wav", "sha256": HALF}),
    ("/v1/remove-noise", {"input": HALF}),
    ("/v1/remove-noise", {"input": HOOK + HALF}),
    ("/v1/remove-noise", {"input": HOOK, "output": HOOK + HALF}),
    ("/v1/remove-noise", {"input": HOOK, "callback_url": HOOK + HALF}),
    ("/v1/remove-noise", {"input": HOOK, "outputExtension": HALF}),
    ("/v1/remove-noise", {"input": HOOK, "autoVolume": HALF}),
    ("/v1/remove-noise", {"input": HOOK, "labels": {HALF: HALF}}),
    ("/v1/remove-noise", {"input": HOOK, "autoVolume": 10**400}),
    ("/v1/remove-noise", {"input": HOOK, "noiseReductionAmount": 10**400}),
    ("/jobs", {"upload_id": "x", "target_lufs": 10**400}),
    ("/jobs", {"upload_id": "x", "hpss_kernel": 10**400}),
    ("/jobs", {"upload_id": "x", "retention_hours": 10**400}),
    ("/uploads", {"file_name": "a.wav", "size_bytes": 10**400}),
]


def test_a_body_that_nothing_can_be_made_of_is_refused_in_the_dialects_words(
    api: TestClient, service: Service
) -> None:
    for path, body in BODIES:
        answer = sent(api, "POST", path, body)
        assert 400 <= answer.status_code < 500, (path, body)
        assert isinstance(answer.json()["detail"], str)
    assert service.jobs.history("ada", limit=1).jobs == ()


def test_one_of_a_batch_that_cannot_be_written_down_is_refused_alone(
    api: TestClient, service: Service
) -> None:
    jobs = [{"upload_id": "é" * 30}, {"upload_id": "x" * 5000}, {"upload_id": HALF}]
    jobs.append({"upload_id": "x", "recipe": HALF})
    answer = sent(api, "POST", "/jobs/batch", {"jobs": jobs})
    assert [result["status"] for result in answer.json()["results"]] == [404, 404, 404, 400]
    assert answer.json()["results"][3]["problem"]["value"] == HALF


SETTLED: list[tuple[str, str, dict[str, Any]]] = [
    ("PATCH", "/job/{}", {"labels": {"a": HALF}}),
    ("PATCH", "/job/{}", {"labels": {HALF: "a"}}),
    ("PUT", "/retention", {"retention_hours": HALF}),
    ("POST", "/webhooks", {"url": HOOK + HALF}),
    ("POST", "/webhooks", {"url": HOOK, "events": [HALF]}),
]


def test_what_an_owner_settles_is_text_that_can_be_stored(
    api: TestClient, service: Service
) -> None:
    job = submit(service, owner="ada")
    for method, path, body in SETTLED:
        assert refusal(sent(api, method, path.format(job.job_id), body))[0] == 400
    assert service.jobs.get(job.job_id) == job
    assert service.endpoints.registered("ada") == ()


def test_an_event_of_a_name_that_is_no_text_is_sent_to_nobody(api: TestClient) -> None:
    webhook_id = sent(api, "POST", "/webhooks", {"url": HOOK}).json()["webhook_id"]
    answer = sent(api, "POST", f"/webhooks/{webhook_id}/redeliver", {"event_id": HALF})
    assert refusal(answer)[0] == 400


# The last one is a half of a surrogate pair as no UTF-8 has it.
NAMES = ("x" * 3000, "é" * 600, "%ED%A0%80")
NAMED = [
    ("GET", "/job/{}"),
    ("GET", "/uploads/{}/parts"),
    ("GET", "/webhooks/{}"),
    ("DELETE", "/webhooks/{}"),
    ("POST", "/webhooks/{}/rotate"),
    ("GET", "/webhooks/{}/deliveries"),
    ("GET", "/problems/{}"),
    ("GET", f"/download/{uuid4()}/{{}}"),
]


def test_a_name_that_no_key_can_hold_is_of_nothing(api: TestClient) -> None:
    for name in NAMES:
        for method, path in NAMED:
            assert refusal(api.request(method, path.format(name)))[0] == 404, (path, name)
