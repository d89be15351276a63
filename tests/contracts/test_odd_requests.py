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


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
@pytest.mark.parametrize("name", ["since", "until"])
def test_a_time_that_utc_has_no_year_for_is_a_400(api: TestClient, name: str, moment: str) -> None:
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


@pytest.mark.parametrize("told", [DIGITS, "10000000000"])
def test_a_last_event_beyond_all_is_told_how_far_numbers_go(
    api: TestClient, service: Service, told: str
) -> None:
    path = f"/job/{submit(service, owner='ada').job_id}/events"
    headers = {"Accept": "text/event-stream", "Last-Event-ID": told}
    answer = api.get(path, headers=headers)
    assert refusal(answer)[0] == 400
    assert answer.json()["accepted"] == {"minimum": 0, "maximum": 9_999_999_998}
    assert api.get(path, params={"after": told}, headers=headers).status_code == 400


def test_a_range_of_thousands_of_digits_is_behind_every_end(
    api: TestClient, service: Service
) -> None:
    job = finish(service, submit(service, owner="ada"))
    answer = api.get(f"/download/{job.job_id}/main", headers={"Range": f"bytes={DIGITS}-"})
    assert refusal(answer)[0] == 416


@pytest.mark.parametrize(
    ("path", "status"), [("/process", 400), ("/v1/upload", 422), ("/api/v1/denoise", 400)]
)
def test_a_length_of_thousands_of_digits_is_no_announcement(
    api: TestClient, path: str, status: int
) -> None:
    headers = {"Content-Length": DIGITS, "Content-Type": "multipart/form-data; boundary=x"}
    assert api.post(path, content=b"--x--\r\n", headers=headers).status_code == status


BODIES = [
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


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_a_body_that_nothing_can_be_made_of_is_refused_in_the_dialects_words(
    api: TestClient, service: Service, path: str, body: dict[str, Any]
) -> None:
    answer = sent(api, "POST", path, body)
    assert 400 <= answer.status_code < 500, answer.text
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


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/job/{}", {"labels": {"a": HALF}}),
        ("PATCH", "/job/{}", {"labels": {HALF: "a"}}),
        ("PUT", "/retention", {"retention_hours": HALF}),
        ("POST", "/webhooks", {"url": HOOK + HALF}),
        ("POST", "/webhooks", {"url": HOOK, "events": [HALF]}),
    ],
)
def test_what_an_owner_settles_is_text_that_can_be_stored(
    service: Service, method: str, path: str, body: dict[str, Any]
) -> None:
    job = submit(service)
    with TestClient(create_app(service), raise_server_exceptions=False) as api:
        answer = sent(api, method, path.format(job.job_id), body)
    assert refusal(answer)[0] == 400
    assert service.jobs.get(job.job_id) == job
    assert service.endpoints.registered("local") == ()


def test_an_event_of_a_name_that_is_no_text_is_sent_to_nobody(service: Service) -> None:
    with TestClient(create_app(service), raise_server_exceptions=False) as api:
        webhook_id = sent(api, "POST", "/webhooks", {"url": HOOK}).json()["webhook_id"]
        path = f"/webhooks/{webhook_id}/redeliver"
        assert refusal(sent(api, "POST", path, {"event_id": HALF}))[0] == 400


@pytest.mark.parametrize("name", ["x" * 3000, "é" * 600, HALF.encode(errors="surrogatepass")])
def test_a_name_that_no_key_can_hold_is_of_nothing(service: Service, name: str | bytes) -> None:
    quoted = name if isinstance(name, str) else "%ED%A0%80"
    paths = [
        ("GET", f"/job/{quoted}"),
        ("GET", f"/uploads/{quoted}/parts"),
        ("GET", f"/webhooks/{quoted}"),
        ("DELETE", f"/webhooks/{quoted}"),
        ("POST", f"/webhooks/{quoted}/rotate"),
        ("GET", f"/webhooks/{quoted}/deliveries"),
        ("GET", f"/problems/{quoted}"),
        ("GET", f"/download/{uuid4()}/{quoted}"),
    ]
    with TestClient(create_app(service), raise_server_exceptions=False) as api:
        for method, path in paths:
            assert refusal(api.request(method, path))[0] == 404, path
