"""Requests that are sent again: done once, answered alike, in every way that they can fail."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from fastapi.testclient import TestClient

from clearstem.client import AsyncClient
from clearstem.client.blocking_io import BlockingIo, run
from clearstem.facts import Location
from clearstem.idempotency import Claim
from clearstem.jobs import JobState
from clearstem.service import Service
from functions.rest import create_app
from tests.serving import served
from tests.submitted import wav


class Clock:
    """The service's own clock, which the test may move on."""

    def __init__(self, service: Service) -> None:
        self._now = service.now
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return self._now() + self.ahead


@pytest.fixture
def clock(service: Service) -> Clock:
    return Clock(service)


@pytest.fixture
def core(service: Service, clock: Clock) -> Service:
    return replace(service, now=clock)


@pytest.fixture
def api(core: Service) -> Iterator[TestClient]:
    with TestClient(create_app(core), raise_server_exceptions=False) as client:
        yield client


def unreachable(*_: object) -> None:
    raise EndpointConnectionError(endpoint_url="https://dynamodb")


def process(api: TestClient, key: str = "k1", *, content: bytes = b"", **fields: str) -> Any:
    return api.post(
        "/process",
        files={"file": ("song.wav", content or wav())},
        data=fields,
        headers={"Idempotency-Key": key},
    )


def job_ids(api: TestClient) -> list[str]:
    return [job["job_id"] for job in api.get("/jobs").json()["jobs"]]


def test_a_recording_that_is_sent_again_makes_no_second_job(api: TestClient) -> None:
    first = process(api, engine="spectral")
    # httpx draws a new boundary for each form.
    again = process(api, engine="spectral")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert job_ids(api) == [first.json()["job_id"]]


@pytest.mark.parametrize(
    "other",
    [
        {"content": wav(401)},
        {"engine": "spectral"},
        {"format": "flac"},
    ],
)
def test_the_same_key_with_another_body_is_a_conflict(
    api: TestClient, other: dict[str, Any]
) -> None:
    process(api)
    answer = process(api, **other)
    assert answer.status_code == 409
    assert "Idempotency-Key" in answer.json()["detail"]
    assert "retry-after" not in answer.headers
    assert len(job_ids(api)) == 1


def test_the_same_key_on_another_route_is_a_conflict(api: TestClient) -> None:
    process(api)
    answer = api.post("/uploads", json={"file_name": "a.wav"}, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/uploads", {"file_name": "song.wav"}),
        ("/webhooks", {"url": "https://hooks.example.org/"}),
        ("/tickets", {}),
    ],
)
def test_every_post_that_makes_something_makes_it_once(
    api: TestClient, path: str, body: dict[str, str]
) -> None:
    headers = {"Idempotency-Key": "k1"}
    first, again = (api.post(path, json=body, headers=headers) for _ in range(2))
    assert first.status_code == 200, first.text
    assert (again.status_code, again.json()) == (200, first.json())


def test_a_job_of_an_upload_is_made_once(api: TestClient, core: Service) -> None:
    upload = core.intake.announce(owner="local", file_name="b.wav")
    with core.intake.writer(upload) as writer:
        writer.write(wav())
    body, headers = {"upload_id": upload.upload_id}, {"Idempotency-Key": "k1"}
    first, again = (api.post("/jobs", json=body, headers=headers) for _ in range(2))
    assert again.json() == first.json()
    assert job_ids(api) == [first.json()["job_id"]]
    without = [api.post("/jobs", json=body).json()["job_id"] for _ in range(2)]
    assert len({*without, first.json()["job_id"]}) == 3


def test_keys_are_an_owners_own(core: Service) -> None:
    keyed = replace(core, settings=replace(core.settings, keyless_owner=""))
    made = {}
    with TestClient(create_app(keyed)) as api:
        for owner in ("ada", "bob"):
            text, _ = core.accounts.create_key(owner, at=core.now())
            headers = {"x-api-key": text, "Idempotency-Key": "k1"}
            answer = api.post("/process", files={"file": ("a.wav", wav())}, headers=headers)
            made[owner] = answer.json()["job_id"]
        refused = api.post("/process", headers={"Idempotency-Key": "k1"})
        assert (refused.status_code, refused.json()["name"]) == (401, "Clearstem.Unauthorized")
    assert made["ada"] != made["bob"]


def test_an_answer_is_given_again_to_nobody_who_may_not_have_it(core: Service) -> None:
    from clearstem.scopes import Scope

    keys = {
        scope: core.accounts.create_key("ada", at=core.now(), scopes=(scope,))[0]
        for scope in (Scope.ADMIN, Scope.WRITE)
    }
    body = {"url": "https://hooks.example.org/"}
    with TestClient(create_app(core)) as api:
        for scope, status in ((Scope.ADMIN, 200), (Scope.WRITE, 403)):
            headers = {"x-api-key": keys[scope], "Idempotency-Key": "k1"}
            assert api.post("/webhooks", json=body, headers=headers).status_code == status


def test_a_day_later_a_key_is_free_again(api: TestClient, clock: Clock) -> None:
    first = process(api).json()["job_id"]
    clock.ahead = timedelta(hours=23, minutes=59)
    assert process(api).json()["job_id"] == first
    clock.ahead = timedelta(hours=24, minutes=1)
    assert process(api, engine="spectral").json()["job_id"] != first


def test_a_refusal_leaves_the_key_free(api: TestClient) -> None:
    assert process(api, content=b"this is no sound at all").status_code == 400
    assert process(api).status_code == 200


@pytest.mark.parametrize("key", ["", "k" * 256, "k\t1"])
def test_a_key_that_is_none_is_refused(api: TestClient, key: str) -> None:
    assert process(api, key).status_code == 400
    assert job_ids(api) == []


def test_while_the_first_is_under_way_the_second_is_told_to_come_back(
    api: TestClient, core: Service
) -> None:
    claim = core.idempotency.claim("k1", owner="local", new_id=core.new_id(), at=core.now())
    assert isinstance(claim, Claim)
    answer = process(api)
    assert answer.status_code == 409
    assert int(answer.headers["retry-after"]) >= 1
    assert job_ids(api) == []


def test_many_at_once_make_one_job(core: Service) -> None:
    gate = threading.Barrier(6)

    def send(_: int) -> Any:
        with TestClient(create_app(core)) as api:
            gate.wait()
            return process(api)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 409}
    assert statuses.count(200) >= 1
    with TestClient(create_app(core)) as api:
        assert len(job_ids(api)) == 1
        assert process(api).json()["job_id"] == job_ids(api)[0]


def test_a_server_that_dies_before_it_kept_its_answer_makes_no_second_job(
    api: TestClient, core: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearstem.idempotency import IdempotencyTable

    def die(*_: object) -> None:
        raise RuntimeError("the power went")

    with monkeypatch.context() as patched:
        for step in ("keep", "abandon"):
            patched.setattr(IdempotencyTable, step, die)
        assert process(api).status_code == 500
    (made,) = job_ids(api)
    assert process(api).status_code == 409  # it may still be under way
    clock.ahead = timedelta(seconds=61)
    again = process(api)
    assert (again.status_code, again.json()["job_id"]) == (200, made)
    assert job_ids(api) == [made]


def test_an_answer_that_could_not_be_kept_is_found_by_the_next_try_at_once(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearstem.idempotency import IdempotencyTable

    with monkeypatch.context() as patched:
        patched.setattr(IdempotencyTable, "keep", unreachable)
        assert process(api).status_code == 503
    (made,) = job_ids(api)
    again = process(api)
    assert (again.status_code, again.json()["job_id"]) == (200, made)
    assert job_ids(api) == [made]


def test_the_client_outwaits_a_claim_whose_server_died(
    core: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearstem.idempotency import IdempotencyTable

    upload_id = recordings(core, 1)[0]["upload_id"]
    keep, deaths = IdempotencyTable.keep, iter((unreachable, unreachable))

    def dying(table: IdempotencyTable, *given: Any) -> None:
        next(deaths, keep)(table, *given)

    class Patient(BlockingIo):
        """Waits as long as it is told, by the service's clock."""

        async def sleep(self, seconds: float) -> None:
            clock.ahead += timedelta(seconds=seconds)

    monkeypatch.setattr(IdempotencyTable, "keep", dying)
    monkeypatch.setattr(IdempotencyTable, "abandon", unreachable)
    with served(create_app(core)) as url:
        client = AsyncClient(url, io=Patient())
        job = run(client.submit(upload_id))
        run(client.aclose())
    assert timedelta(seconds=60) < clock.ahead < timedelta(minutes=5)
    assert [made.job_id for made in core.jobs.history("local", limit=10).jobs] == [job["job_id"]]


def test_a_job_that_could_not_be_started_is_started_by_the_next_try(
    core: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearstem.executions import Executions

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Step Functions does not answer")

    with TestClient(create_app(core), raise_server_exceptions=False) as api:
        with monkeypatch.context() as patched:
            patched.setattr(Executions, "start", refuse)
            assert process(api).status_code == 500
        (made,) = job_ids(api)
        assert core.jobs.get(made).state is JobState.FAILED
        again = process(api)
        assert (again.status_code, again.json()["job_id"]) == (200, made)
        assert core.jobs.get(made).state is not JobState.FAILED
        assert job_ids(api) == [made]


def test_in_the_audo_dialect_an_upload_and_its_job_are_made_once(
    api: TestClient, core: Service
) -> None:
    key = core.accounts.create_key("ada", at=core.now())[0]
    headers = {"x-api-key": key, "Idempotency-Key": "k1"}
    sent = [
        api.post("/v1/upload", files={"file": ("a.wav", wav())}, headers=headers) for _ in range(2)
    ]
    assert sent[0].status_code == 200, sent[0].text
    assert sent[0].json() == sent[1].json()
    asked = {"input": sent[0].json()["fileId"], "outputExtension": None, "autoVolume": False}
    headers["Idempotency-Key"] = "k2"
    made = [api.post("/v1/remove-noise", json=asked, headers=headers) for _ in range(2)]
    assert made[0].json() == made[1].json() != {}
    assert len(core.jobs.history("ada", limit=10).jobs) == 1
    other = api.post("/v1/remove-noise", json={**asked, "autoVolume": True}, headers=headers)
    assert (other.status_code, list(other.json())) == (409, ["detail"])


def test_in_the_munsit_dialect_a_recording_is_taken_once(api: TestClient, core: Service) -> None:
    key = core.accounts.create_key("ada", at=core.now())[0]
    headers = {"x-api-key": key, "Idempotency-Key": "k1"}

    def send(content: bytes) -> Any:
        form = {"audio": ("a.wav", content)}
        return api.post("/api/v1/denoise", files=form, headers=headers)

    first, again = send(wav()), send(wav())
    assert first.status_code == 200, first.text
    assert first.json() == again.json()
    assert len(core.jobs.history("ada", limit=10).jobs) == 1
    other = send(wav(401))
    assert other.status_code == 409
    assert set(other.json()) == {"errorCode", "errorMessage"}


def recordings(core: Service, count: int) -> list[dict[str, str]]:
    """Jobs to ask for, each of a recording of its own."""
    uploads = [core.intake.announce(owner="local", file_name=f"{n}.wav") for n in range(count)]
    for number, upload in enumerate(uploads):
        with core.intake.writer(upload) as writer:
            writer.write(wav(400 + number))
    return [{"upload_id": upload.upload_id} for upload in uploads]


def test_a_batch_of_which_aws_let_one_fail_is_completed_by_the_same_key(
    api: TestClient, core: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearstem.track_store import TrackStore

    jobs, stat = recordings(core, 3), TrackStore.stat

    def faulty(store: TrackStore, location: Location) -> Any:
        if jobs[1]["upload_id"] in location.key:
            raise EndpointConnectionError(endpoint_url="https://s3")
        return stat(store, location)

    def send() -> Any:
        headers = {"Idempotency-Key": "k1"}
        return api.post("/jobs/batch", json={"jobs": jobs}, headers=headers).json()["results"]

    with monkeypatch.context() as patched:
        patched.setattr(TrackStore, "stat", faulty)
        first = send()
    assert [result["status"] for result in first] == [200, 503, 200]
    problem = first[1]["problem"]
    assert (problem["name"], problem["status"]) == ("Clearstem.BackendUnavailable", 503)
    assert problem["detail"] == first[1]["detail"]
    again = send()
    assert [result["status"] for result in again] == [200, 200, 200]
    made = [result["job"]["job_id"] for result in again]
    assert [made[0], made[2]] == [first[0]["job"]["job_id"], first[2]["job"]["job_id"]]
    assert sorted(job_ids(api)) == sorted(made)
    assert send() == again


def test_a_batch_that_is_tried_again_after_a_crash_makes_no_job_twice(
    api: TestClient, core: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearstem.idempotency import IdempotencyTable

    def die(*_: object) -> None:
        raise RuntimeError("the power went")

    jobs = recordings(core, 8)
    headers = {"Idempotency-Key": "k1"}
    with monkeypatch.context() as patched:
        patched.setattr(IdempotencyTable, "keep", die)
        assert api.post("/jobs/batch", json={"jobs": jobs}, headers=headers).status_code == 500
    clock.ahead = timedelta(seconds=61)
    again = api.post("/jobs/batch", json={"jobs": jobs}, headers=headers).json()["results"]
    assert [result["job"]["file_name"] for result in again] == [f"{n}.wav" for n in range(8)]
    assert len(job_ids(api)) == 8
