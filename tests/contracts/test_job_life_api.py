"""The course of a job over HTTP: its log, its cancellation, its retry, its deletion."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from clearstem.facts import Failure
from clearstem.jobs import Job
from clearstem.recipes import SEPARATION
from clearstem.service import Service
from functions.rest import create_app
from tests.submitted import advance, finish, submit


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service)) as client:
        yield client


def failed(service: Service) -> Job:
    job, at = advance(service, submit(service), fraction=0.5), service.now()
    failure = Failure(SEPARATION, "Clearstem.NoAudio", "no frames")
    return service.jobs.change(job.job_id, lambda j: j.fail(failure, at=at))


def test_the_log_of_a_finished_job_counts_from_one_to_its_success(
    api: TestClient, service: Service
) -> None:
    job = finish(service, advance(service, submit(service), fraction=0.1))
    page = api.get(f"/job/{job.job_id}/events").json()
    assert [event["number"] for event in page["events"]] == list(range(1, page["last"] + 1))
    types = [event["type"] for event in page["events"]]
    assert types[:3] == ["job.queued", "job.started", "job.stage.started"]
    assert types.count("job.stage.completed") == 4
    assert types[-1] == "job.succeeded"
    assert (page["events"][-1]["percent"], page["more"]) == (100.0, False)


def test_pages_of_the_log_follow_each_other(api: TestClient, service: Service) -> None:
    job = finish(service, submit(service))
    path, whole = f"/job/{job.job_id}/events", []
    page = api.get(path, params={"limit": 3}).json()
    while page["events"]:
        whole += page["events"]
        page = api.get(path, params={"limit": 3, "after": page["last"]}).json()
    assert whole == api.get(path).json()["events"]


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "limit=0", "limit=101", "after=9999999999"]
)
def test_a_bad_place_in_the_log_is_a_400(api: TestClient, service: Service, query: str) -> None:
    answer = api.get(f"/job/{submit(service).job_id}/events?{query}")
    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


def test_a_cancelled_job_says_so_however_often_it_is_cancelled(
    api: TestClient, service: Service
) -> None:
    job = advance(service, submit(service), fraction=0.4)
    answers = [api.post(f"/job/{job.job_id}/cancel") for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    document = answers[0].json()
    assert (document["status"], document["error"]["name"]) == ("failed", "Clearstem.Cancelled")
    log = api.get(f"/job/{job.job_id}/events").json()["events"]
    assert [e["type"] for e in log].count("job.cancelled") == 1


def test_what_succeeded_cannot_be_cancelled_any_more(api: TestClient, service: Service) -> None:
    job = finish(service, submit(service))
    answer = api.post(f"/job/{job.job_id}/cancel")
    assert answer.status_code == 409
    assert "succeeded" in answer.json()["detail"]
    assert api.get(f"/job/{job.job_id}").json()["status"] == "completed"


def test_a_failed_job_is_taken_up_again_once(api: TestClient, service: Service) -> None:
    job = failed(service)
    answer = api.post(f"/job/{job.job_id}/retry")
    assert answer.status_code == 200
    document = answer.json()
    assert (document["status"], document["attempt"], document["error"]) == ("processing", 2, None)
    assert [stage["status"] for stage in document["stages"]] == ["pending"] * 4
    again = api.post(f"/job/{job.job_id}/retry")
    assert (again.status_code, "only a failed job" in again.json()["detail"]) == (409, True)


def test_a_deleted_job_is_gone_and_its_receipt_stays(api: TestClient, service: Service) -> None:
    job = finish(service, submit(service))
    receipt = api.delete(f"/job/{job.job_id}")
    assert receipt.status_code == 200
    assert receipt.json()["files"] == 10
    assert receipt.json()["state"] == "succeeded"
    assert api.delete(f"/job/{job.job_id}").json() == receipt.json()
    for path in ("", "/outputs", "/events"):
        assert api.get(f"/job/{job.job_id}{path}").status_code == 404
    assert api.get(f"/download/{job.job_id}/main").status_code == 404
    assert api.get("/jobs").json()["jobs"] == []


def test_a_job_that_is_not_over_is_cancelled_by_its_deletion(
    api: TestClient, service: Service
) -> None:
    job = advance(service, submit(service), fraction=0.4)
    assert api.delete(f"/job/{job.job_id}").json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")],
)
def test_nobody_reaches_a_job_of_another_owner(
    api: TestClient, service: Service, method: str, path: str
) -> None:
    others = failed(service)
    key, _ = service.accounts.create_key("eve", at=service.now())
    for job_id in (others.job_id, str(uuid4()), "not-an-id"):
        answer = api.request(method, f"/job/{job_id}{path}", headers={"x-api-key": key})
        assert (answer.status_code, answer.json()) == (404, {"detail": "Job not found"})
    assert service.jobs.get(others.job_id) == others


def test_the_receipt_of_another_owners_job_is_not_shown(api: TestClient, service: Service) -> None:
    job = finish(service, submit(service))
    api.delete(f"/job/{job.job_id}")
    key, _ = service.accounts.create_key("eve", at=service.now())
    answer = api.delete(f"/job/{job.job_id}", headers={"x-api-key": key})
    assert answer.status_code == 404


def test_the_examples_have_the_fields_of_real_documents(api: TestClient, service: Service) -> None:
    from functions.routes import job_examples

    job = finish(service, submit(service))
    page = api.get(f"/job/{job.job_id}/events").json()
    assert list(job_examples.EVENTS) == list(page)
    assert list(job_examples.EVENTS["events"][0]) == list(page["events"][0])
    assert list(job_examples.RECEIPT) == list(api.delete(f"/job/{job.job_id}").json())
