"""The same asked again in each dialect, over the real core and an emulated AWS."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from clearstem import answering
from clearstem.jobs import Job, JobState
from clearstem.service import Service
from functions.rest import create_app
from tests.submitted import denoised, finish, wav

Submit = Callable[..., str]


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    key, _ = service.accounts.create_key("alice", at=service.now())
    with TestClient(create_app(service), headers={"x-api-key": key}) as client:
        yield client


@pytest.fixture
def other(service: Service) -> Iterator[TestClient]:
    key, _ = service.accounts.create_key("bob", at=service.now())
    with TestClient(create_app(service), headers={"x-api-key": key}) as client:
        yield client


def by_form(api: TestClient, **fields: Any) -> str:
    form = {name: str(value).lower() for name, value in fields.items()}
    files = {"file": ("talk.wav", wav())}
    return str(api.post("/process?recipe=denoise", files=files, data=form).json()["job_id"])


def by_json(api: TestClient, **fields: Any) -> str:
    """Through storage, by a link that is bound to the content."""
    digest = hashlib.sha256(wav()).digest()
    asked = {"file_name": "talk.wav", "recipe": "denoise"}
    known = {"size_bytes": len(wav()), "sha256": digest.hex()}
    room = api.post("/uploads", json={**asked, **known}).json()
    service: Service = api.app.state.service  # type: ignore[attr-defined]
    upload = service.uploads.get(room["upload_id"], owner="alice")
    service.store.client.put_object(
        Bucket=upload.location.bucket,
        Key=upload.location.key,
        Body=wav(),
        ChecksumSHA256=base64.b64encode(digest).decode(),
    )
    body = {"upload_id": room["upload_id"], "recipe": "denoise", **fields}
    return str(api.post("/jobs", json=body).json()["job_id"])


def by_audo(api: TestClient, **fields: Any) -> str:
    file_id = api.post("/v1/upload", files={"file": ("talk.wav", wav())}).json()["fileId"]
    return str(api.post("/v1/remove-noise", json={"input": file_id, **fields}).json()["jobId"])


def by_munsit(api: TestClient, **fields: Any) -> str:
    form = {name: str(value).lower() for name, value in fields.items()}
    files = {"audio": ("talk.wav", wav())}
    return str(api.post("/api/v1/denoise", files=files, data=form).json()["jobId"])


WAYS = (by_form, by_json, by_audo, by_munsit)


def made(service: Service, job_id: str) -> Job:
    return denoised(service, service.jobs.get(job_id))


@pytest.mark.parametrize("submit", [by_json, by_munsit])
def test_what_one_dialect_has_made_answers_every_one(
    api: TestClient, service: Service, submit: Submit
) -> None:
    first = made(service, submit(api))
    for again in WAYS:
        job = service.jobs.get(again(api))
        assert job.cached_from == first.job_id, again
        result = job.result
        assert result is not None
        assert b"".join(service.store.chunks(result.location)) == b"clean"


def test_each_dialect_has_a_way_round_the_cache(api: TestClient, service: Service) -> None:
    made(service, by_form(api))
    for submit in WAYS:
        assert service.jobs.get(submit(api, cache=False)).cached_from is None, submit
        assert service.jobs.get(submit(api, cache=True)).cached_from is not None, submit


def test_nobody_is_answered_with_what_another_has(
    api: TestClient, other: TestClient, service: Service
) -> None:
    made(service, by_form(api))
    for submit in (by_form, by_audo, by_munsit):
        assert service.jobs.get(submit(other)).cached_from is None, submit


def test_the_job_says_that_and_from_which_it_was_answered(
    api: TestClient, service: Service
) -> None:
    first = by_form(api)
    assert api.get(f"/job/{first}").json()["cache"] == {"hit": False, "job_id": None}
    made(service, first)
    files = {"file": ("other name.wav", wav())}
    job = api.post("/process?recipe=denoise", files=files).json()
    assert (job["status"], job["percent"]) == ("completed", 100)
    assert job["cache"] == {"hit": True, "job_id": first}
    assert job["file_name"] == "other name.wav"
    assert job["receipt"] == {"seconds": 0.0, "dollars": 0.0, "stages": []}
    assert {stage["status"] for stage in job["stages"]} == {"completed"}
    assert {stage["duration_seconds"] for stage in job["stages"]} == {None}
    assert api.get(job["outputs"]["clean"]).content == b"clean"
    assert api.get(f"/job/{job['job_id']}").json() == job


def test_published_clients_are_told_the_end_in_their_own_words(
    api: TestClient, service: Service
) -> None:
    made(service, by_audo(api))
    audo, munsit = by_audo(api), by_munsit(api)
    state = api.get(f"/v1/remove-noise/{audo}/status").json()
    assert state["state"] == "succeeded"
    assert api.get(f"/v1{state['downloadPath']}").content == b"clean"
    told = api.get(f"/api/v1/denoise/{munsit}/progress").text
    assert told.count("data: ") == 1 and '"stage":"done"' in told


def test_a_request_that_is_sent_again_is_the_same_answered_job(
    api: TestClient, service: Service
) -> None:
    made(service, by_form(api))
    once = {"Idempotency-Key": "take-7"}
    one, two = (
        api.post("/process?recipe=denoise", files={"file": ("a.wav", wav())}, headers=once)
        for _ in range(2)
    )
    assert one.json()["cache"]["hit"] and two.content == one.content
    assert two.headers["Idempotency-Replayed"] == "true"


def test_a_quote_says_that_the_answer_is_there(api: TestClient, service: Service) -> None:
    first = api.post("/process", files={"file": ("song.wav", wav())}).json()["job_id"]
    finish(service, service.jobs.get(first))
    upload_id = api.post("/v1/upload", files={"file": ("song.wav", wav())}).json()["fileId"]
    asked = {"upload_id": upload_id, "dry_run": True}
    quote = api.post("/jobs", json=asked).json()
    assert quote["cache"] == {"hit": True, "job_id": first}
    assert (quote["seconds"], quote["dollars"]) == (0.0, 0.0)
    quote = api.post("/jobs", json={**asked, "cache": False}).json()
    assert quote["cache"] == {"hit": False, "job_id": None}


@pytest.mark.parametrize(
    ("path", "name", "status"),
    [("/process?recipe=denoise", "file", 400), ("/api/v1/denoise", "audio", 400)],
)
def test_a_way_round_that_is_none_is_refused(
    api: TestClient, path: str, name: str, status: int
) -> None:
    answer = api.post(path, files={name: ("a.wav", wav())}, data={"cache": "maybe"})
    assert answer.status_code == status and "maybe" in answer.text


def test_audo_takes_true_or_false(api: TestClient) -> None:
    answer = api.post("/v1/remove-noise", json={"input": "f", "cache": "no"})
    assert (answer.status_code, "cache" in answer.json()["detail"]) == (422, True)


def test_jobs_of_a_batch_share_what_a_request_may_have_copied(
    api: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(service, by_json(api))
    monkeypatch.setattr(answering, "AT_ONCE_BYTES", 2 * len(b"clean") + 1)
    upload_id = first.source.location.key.split("/")[-2]
    for _ in range(2):  # each request anew
        asked = [{"upload_id": upload_id, "recipe": "denoise"}] * 3
        results = api.post("/jobs/batch", json={"jobs": asked}).json()["results"]
        jobs = [service.jobs.get(result["job"]["job_id"]) for result in results]
        assert sorted(job.cached_from or "" for job in jobs) == ["", first.job_id, first.job_id]
        assert {job.state for job in jobs if not job.cached_from} == {JobState.QUEUED}
