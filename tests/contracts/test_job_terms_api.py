"""What jobs are given and found by over HTTP: labels, retention, batches, filtered lists."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from clearstem.service import Service
from functions.rest import create_app
from tests.problems import refusal
from tests.submitted import advance, failed, finish, submit, uploaded, wav


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service)) as client:
        yield client


def test_a_job_bears_its_labels_and_the_time_of_its_end(api: TestClient, service: Service) -> None:
    body = {"upload_id": uploaded(service), "labels": {"album": "Demos"}, "retention_hours": 2}
    job = api.post("/jobs", json=body).json()
    assert job["labels"] == {"album": "Demos"}
    created, expires = (datetime.fromisoformat(job[k]) for k in ("created_at", "expires_at"))
    assert expires - created == timedelta(hours=2)
    path = f"/job/{job['job_id']}"
    assert api.patch(path, json={"labels": {"take": "2"}}).json()["expires_at"] is not None
    amended = api.patch(path, json={"retention_hours": None}).json()
    assert (amended["labels"], amended["expires_at"]) == ({"take": "2"}, None)
    assert api.get(path).json() == amended


def test_a_job_of_every_dialect_may_be_labelled_and_kept(api: TestClient, service: Service) -> None:
    headers = {"x-api-key": service.accounts.create_key("local", at=service.now())[0]}
    form = {"labels": '{"take": "2"}', "retention_hours": "3"}
    native = api.post("/process", files={"file": ("a.wav", wav())}, data=form).json()["job_id"]
    munsit = api.post(
        "/api/v1/denoise", files={"audio": ("a.wav", wav())}, data=form, headers=headers
    ).json()["jobId"]
    body = {"labels": {"take": "2"}, "retention_hours": 3}
    sent = api.post("/v1/upload", files={"file": ("a.wav", wav())}, headers=headers).json()
    audo = [
        api.post("/v1/remove-noise", json={"input": source, **body}, headers=headers).json()[
            "jobId"
        ]
        for source in (sent["fileId"], "https://example.org/talk.wav")
    ]
    for job_id in (native, munsit, *audo):
        job = service.jobs.get(job_id)
        assert dict(job.labels) == {"take": "2"}
        assert job.expires_at == job.created_at + timedelta(hours=3)
    listed = api.get("/jobs", params={"label": "take:2"}).json()["jobs"]
    assert {job["job_id"] for job in listed} == {native, munsit, *audo}


def test_terms_that_are_none_are_refused_in_each_dialects_words(
    api: TestClient, service: Service
) -> None:
    headers = {"x-api-key": service.accounts.create_key("local", at=service.now())[0]}
    form = {"labels": "take:2"}
    native = api.post("/process", files={"file": ("a.wav", wav())}, data=form)
    munsit = api.post(
        "/api/v1/denoise", files={"audio": ("a.wav", wav())}, data=form, headers=headers
    )
    audo = api.post("/v1/remove-noise", json={"input": "x", **form}, headers=headers)
    sentence = "labels 'take:2' is not a JSON object"
    assert refusal(native) == (400, sentence)
    assert munsit.json() == {"errorCode": "40001", "errorMessage": sentence}
    assert (audo.status_code, audo.json()) == (422, {"detail": sentence})
    assert api.get("/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    "terms",
    [
        {"labels": {f"n{n}": "x" for n in range(17)}},
        {"labels": {"a b": "x"}},
        {"labels": {"a": ""}},
        {"labels": {"a": "x" * 257}},
        {"labels": {"a": "line\nbreak"}},
        {"retention_hours": 0.5},
        {"retention_hours": 1e9},
    ],
)
def test_labels_and_times_out_of_range_are_a_400(
    api: TestClient, service: Service, terms: dict[str, Any]
) -> None:
    answer = api.post("/jobs", json={"upload_id": uploaded(service), **terms})
    assert answer.status_code == 400, answer.json()
    job = submit(service)
    assert api.patch(f"/job/{job.job_id}", json=terms).status_code == 400


def test_a_batch_tells_of_each_job_by_itself(api: TestClient, service: Service) -> None:
    good, other = uploaded(service), uploaded(service)
    asked = [
        {"upload_id": good},
        {"upload_id": str(uuid4())},
        {"upload_id": other, "target_lufs": 99},
        {"upload_id": other, "labels": {"n": "4"}},
    ]
    results = api.post("/jobs/batch", json={"jobs": asked}).json()["results"]
    assert [result["status"] for result in results] == [200, 404, 400, 200]
    assert [result["job"] is None for result in results] == [False, True, True, False]
    assert results[3]["job"]["labels"] == {"n": "4"}
    assert "target_lufs" in results[2]["detail"] or "99" in results[2]["detail"]
    assert len(api.get("/jobs").json()["jobs"]) == 2


@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_of_none_or_too_many_is_a_400(api: TestClient, count: int) -> None:
    answer = api.post("/jobs/batch", json={"jobs": [{"upload_id": "x"}] * count})
    assert answer.status_code == 400


def test_jobs_are_listed_by_status_recipe_label_and_time(api: TestClient, service: Service) -> None:
    waiting = submit(service)
    ended = finish(service, submit(service))
    labelled = submit(service)
    api.patch(f"/job/{labelled.job_id}", json={"labels": {"a": "1:2", "b": "x"}})

    def listed(**query: Any) -> list[str]:
        return [job["job_id"] for job in api.get("/jobs", params=query).json()["jobs"]]

    assert listed(status="completed") == listed(status="succeeded") == [ended.job_id]
    assert listed(status="processing") == [labelled.job_id, waiting.job_id]
    assert listed(recipe="denoise") == []
    assert listed(label="a:1:2") == listed(label=["a:1:2", "b:x"]) == [labelled.job_id]
    assert listed(label=["a:1:2", "b:y"]) == []
    assert listed(since=ended.created_at.isoformat()) == [labelled.job_id, ended.job_id]
    assert listed(until=ended.created_at.isoformat()) == [waiting.job_id]


def test_a_list_by_status_holds_the_jobs_that_show_it(api: TestClient, service: Service) -> None:
    submit(service)
    advance(service, submit(service), fraction=0.5)
    finish(service, submit(service))
    failed(service)
    service.control.cancel(submit(service).job_id)
    jobs = api.get("/jobs").json()["jobs"]
    for status in {job["status"] for job in jobs}:
        shown = [job["job_id"] for job in jobs if job["status"] == status]
        listed = api.get("/jobs", params={"status": status}).json()["jobs"]
        assert [job["job_id"] for job in listed] == shown
    (cancelled,) = api.get("/jobs?status=cancelled").json()["jobs"]
    assert cancelled["error"]["name"] == "Clearstem.Cancelled"


def test_pages_of_a_filtered_list_give_every_job_once(api: TestClient, service: Service) -> None:
    jobs = [submit(service) for _ in range(6)]
    for job in jobs[::2]:
        service.control.cancel(job.job_id)
    seen: list[str] = []
    query: dict[str, Any] = {"status": "cancelled", "limit": 1}
    while True:
        page = api.get("/jobs", params=query).json()
        seen += [job["job_id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == [job.job_id for job in jobs[::2]][::-1]


@pytest.mark.parametrize("query", ["status=x", "recipe=x", "label=x", "since=x"])
def test_a_filter_that_is_none_is_a_400(api: TestClient, query: str) -> None:
    assert api.get(f"/jobs?{query}").status_code == 400


def test_an_owner_settles_how_long_jobs_to_come_are_kept(api: TestClient, service: Service) -> None:
    assert api.get("/retention").json() == {"retention_hours": None}
    before = submit(service)
    settled = {"retention_hours": 1.5}
    assert api.put("/retention", json=settled).json() == settled == api.get("/retention").json()
    job, others = submit(service), submit(service, owner="eve")
    assert job.expires_at == job.created_at + timedelta(hours=1.5)
    assert service.jobs.get(before.job_id).expires_at is others.expires_at is None
    own = api.post("/jobs", json={"upload_id": uploaded(service), "retention_hours": 9}).json()
    created, expires = (datetime.fromisoformat(own[k]) for k in ("created_at", "expires_at"))
    assert expires - created == timedelta(hours=9)
    assert api.put("/retention", json={"retention_hours": None}).status_code == 200
    assert submit(service).expires_at is None


@pytest.mark.parametrize("hours", [0, 0.99, -5, 8761, "x"])
def test_a_retention_out_of_range_is_a_400(api: TestClient, hours: object) -> None:
    answer = api.put("/retention", json={"retention_hours": hours})
    assert answer.status_code == 400
    assert api.get("/retention").json() == {"retention_hours": None}
