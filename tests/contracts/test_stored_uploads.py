"""Uploads count for their owner's stored bytes, whichever way they come, until they end."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from clearstem.facts import Location
from clearstem.service import Service
from functions.rest import create_app
from tests.problems import refusal
from tests.readme import answers
from tests.submitted import wav

OWNER = "ada"
SIZE = len(wav())


@pytest.fixture
def limited(service: Service) -> Service:
    """An owner who may store three recordings, in a service that takes two at once."""
    service.jobs.quotas.settle(OWNER, stored_bytes=3 * SIZE)
    return replace(service, settings=replace(service.settings, max_upload_bytes=2 * SIZE))


@pytest.fixture
def api(limited: Service) -> Iterator[TestClient]:
    key, _ = limited.accounts.create_key(OWNER, at=limited.now())
    with TestClient(create_app(limited), headers={"x-api-key": key}) as client:
        yield client


def stored(api: TestClient) -> int:
    return int(api.get("/usage").json()["stored_bytes"]["used"])


def announced(api: TestClient, **known: Any) -> dict[str, Any]:
    answer = api.post("/uploads", json={"file_name": "a.wav", **known})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def sent(api: TestClient) -> str:
    room = announced(api, size_bytes=SIZE)
    put = room["put"]
    assert httpx.put(put["url"], content=wav(), headers=put["headers"]).status_code == 200
    return str(room["upload_id"])


def lying(service: Service) -> int:
    """How many recordings there are, replaced and covered ones among them."""
    return len(service.store.places.below(Location(service.settings.uploads_bucket, "")))


def later(service: Service, **passed: float) -> Service:
    now = service.now() + timedelta(**passed)
    return replace(service, now=lambda: now)


def test_no_link_is_given_for_what_may_not_be_stored(api: TestClient) -> None:
    for _ in range(3):
        announced(api, size_bytes=SIZE)
    refused = api.post("/uploads", json={"file_name": "a.wav", "size_bytes": 1})
    status, sentence = refusal(refused)
    assert (status, sentence.startswith(f"{3 * SIZE} of {3 * SIZE} bytes are used")) == (403, True)
    told = refused.json()
    assert (told["limit"], told["value"], told["used"]) == ("stored_bytes", 3 * SIZE, 3 * SIZE)
    by_curl = api.put("/upload/a.wav", content=b"?")
    assert refusal(by_curl)[0] == 403
    assert stored(api) == 3 * SIZE


def test_the_refusal_that_the_readme_shows_is_a_real_one(service: Service) -> None:
    service.jobs.quotas.settle("local", stored_bytes=10**9)
    status, headers, body = answers()[1]
    with TestClient(create_app(service)) as client:
        for size_bytes in (480_000_000, 480_000_000):
            announced(client, size_bytes=size_bytes)
        asked = {"file_name": "a.wav", "size_bytes": 50_000_000}
        refused = client.post("/uploads", json=asked)
    told = {**refused.json(), "instance": body["instance"]}  # the one thing that is never the same
    assert (refused.status_code, told) == (status, body)
    assert {name: refused.headers[name] for name in headers} == headers


def test_what_became_a_job_is_counted_once(api: TestClient) -> None:
    upload_id = sent(api)
    assert stored(api) == SIZE
    for number in (1, 2):
        assert api.post("/jobs", json={"upload_id": upload_id}).status_code == 200
        assert stored(api) == number * SIZE  # each job that works on it counts it


def test_a_size_that_nobody_tells_counts_as_the_largest_where_bytes_are_limited(
    api: TestClient, limited: Service
) -> None:
    room = announced(api)
    assert stored(api) == limited.settings.max_upload_bytes
    put = room["put"]
    httpx.put(put["url"], content=wav(), headers=put["headers"]).raise_for_status()
    assert api.post("/jobs", json={"upload_id": room["upload_id"]}).status_code == 200
    assert stored(api) == SIZE
    limited.jobs.quotas.settle(OWNER, stored_bytes=None)
    announced(api)
    assert stored(api) == SIZE


def test_a_put_by_curl_counts_by_its_announced_length(api: TestClient) -> None:
    answer = api.put("/upload/a.wav", content=wav(), follow_redirects=False)
    assert answer.status_code == 307
    assert stored(api) == SIZE


@pytest.mark.parametrize(
    ("path", "field", "status"),
    [("/process", "file", 403), ("/v1/upload", "file", 400), ("/api/v1/denoise", "audio", 403)],
)
def test_a_form_that_does_not_fit_is_not_kept(
    api: TestClient, limited: Service, path: str, field: str, status: int
) -> None:
    sent(api)
    announced(api, size_bytes=int(1.5 * SIZE))
    before = lying(limited)
    assert api.post(path, files={field: ("a.wav", wav())}).status_code == status
    assert (lying(limited), stored(api)) == (before, int(2.5 * SIZE))


def test_a_recording_whose_job_is_refused_for_another_reason_is_not_kept_either(
    api: TestClient, limited: Service
) -> None:
    limited.jobs.quotas.settle(OWNER, unfinished_jobs=1)
    assert api.post("/process", files={"file": ("a.wav", wav())}).status_code == 200
    assert api.post("/process", files={"file": ("a.wav", wav())}).status_code == 429
    assert lying(limited) == 1


def test_an_upload_of_an_audo_client_counts_until_it_is_a_job(api: TestClient) -> None:
    file_id = api.post("/v1/upload", files={"file": ("a.wav", wav())}).json()["fileId"]
    assert stored(api) == SIZE
    assert api.post("/v1/remove-noise", json={"input": file_id}).status_code == 200
    assert stored(api) == SIZE


def test_uploads_of_which_nobody_made_a_job_end_after_a_week(
    api: TestClient, limited: Service
) -> None:
    unused, used = sent(api), sent(api)
    assert api.post("/jobs", json={"upload_id": used}).status_code == 200
    assert list(later(limited, days=6.9).unclaimed.sweep()) == []
    assert list(later(limited, days=7.1).unclaimed.sweep()) == [unused]
    assert (lying(limited), stored(api)) == (1, SIZE)
    assert api.post("/jobs", json={"upload_id": unused}).status_code == 404
    assert list(later(limited, days=8).unclaimed.sweep()) == []


def test_an_upload_thrown_away_counts_as_long_as_its_link_takes_a_recording(
    api: TestClient, limited: Service
) -> None:
    upload_id = sent(api)
    assert [api.delete(f"/uploads/{upload_id}").status_code for _ in range(2)] == [204, 204]
    assert (lying(limited), stored(api)) == (0, SIZE)
    assert list(later(limited, minutes=59).unclaimed.sweep()) == []
    assert list(later(limited, minutes=61).unclaimed.sweep()) == [upload_id]
    assert stored(api) == 0


def test_what_a_job_works_on_is_not_thrown_away(api: TestClient, limited: Service) -> None:
    upload_id = sent(api)
    assert api.post("/jobs", json={"upload_id": upload_id}).status_code == 200
    assert api.delete(f"/uploads/{upload_id}").status_code == 204
    assert (lying(limited), stored(api)) == (1, SIZE)


def test_an_upload_that_cannot_be_ended_keeps_no_other_from_it(
    api: TestClient, limited: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sent(api), sent(api)
    after = later(limited, days=8).unclaimed
    erase = type(after)._erase

    def faulty(self: Any, upload: Any) -> None:
        if upload.upload_id == first:
            raise OSError("storage is away")
        erase(self, upload)

    monkeypatch.setattr(type(after), "_erase", faulty)
    ended = []
    with pytest.raises(ExceptionGroup, match="1 uploads could not be ended"):
        ended += list(after.sweep())
    assert stored(api) == 0
    assert lying(limited) == 1
    assert limited.uploads.get(second, owner=OWNER).held_bytes == 0
