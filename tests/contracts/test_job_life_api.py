"""The course of a job over HTTP: its log, its cancellation, its retry, its deletion."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.testclient import TestClient

from clearstem.service import Service
from functions.rest import create_app
from tests.described import assert_described
from tests.problems import refusal
from tests.submitted import advance, failed, finish, submit


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service)) as client:
        yield client


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
        gone = api.get(f"/job/{job.job_id}{path}")
        assert refusal(gone) == (410, f"the job was deleted at {receipt.json()['deleted_at']}")
        assert gone.json()["receipt"] == receipt.json()
        described = api.get("/openapi.json").json()
        answers = described["paths"][f"/job/{{job_id}}{path}"]["get"]["responses"]
        ((_, content),) = answers["410"]["content"].items()
        document = content["schema"]["$ref"].rpartition("/")[2]
        assert "receipt" in described["components"]["schemas"][document]["required"]
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
        assert refusal(answer) == (404, "Job not found")
    assert service.jobs.get(others.job_id) == others


def test_the_receipt_of_another_owners_job_is_not_shown(api: TestClient, service: Service) -> None:
    job = finish(service, submit(service))
    api.delete(f"/job/{job.job_id}")
    key, _ = service.accounts.create_key("eve", at=service.now())
    for method in ("GET", "DELETE"):
        answer = api.request(method, f"/job/{job.job_id}", headers={"x-api-key": key})
        assert refusal(answer) == (404, "Job not found")
    assert api.get("/jobs/deleted", headers={"x-api-key": key}).json()["receipts"] == []


def test_deleted_jobs_are_listed_by_their_receipts_page_after_page(
    api: TestClient, service: Service
) -> None:
    jobs = [finish(service, submit(service)) for _ in range(3)]
    receipts = [api.delete(f"/job/{job.job_id}").json() for job in jobs]
    submit(service)
    seen: list[Any] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = api.get("/jobs/deleted", params=query).json()
        seen += page["receipts"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == receipts[::-1]
    cursor = api.get("/jobs/deleted", params={"limit": 1}).json()["next_cursor"]
    # A cursor of one list is no place in another.
    assert api.get("/jobs", params={"cursor": cursor}).status_code == 400
    refused = api.get("/jobs", params={"status": "deleted"})
    assert refusal(refused)[1].endswith("at GET /jobs/deleted")


def test_the_other_dialects_know_no_deleted_job(api: TestClient, service: Service) -> None:
    job = finish(service, submit(service))
    api.delete(f"/job/{job.job_id}")
    key, _ = service.accounts.create_key("local", at=service.now())
    for path in (f"/v1/remove-noise/{job.job_id}/status", f"/api/v1/denoise/{job.job_id}/progress"):
        assert api.get(path, headers={"x-api-key": key}).status_code == 404


def test_the_examples_have_the_fields_of_real_documents(api: TestClient, service: Service) -> None:
    from functions.routes import job_examples

    job = finish(service, submit(service))
    page = api.get(f"/job/{job.job_id}/events").json()
    assert list(job_examples.EVENTS) == list(page)
    assert list(job_examples.EVENTS["events"][0]) == list(page["events"][0])
    assert list(job_examples.RECEIPT) == list(api.delete(f"/job/{job.job_id}").json())


STREAM = {"Accept": "text/event-stream"}


def streamed(text: str) -> list[dict[str, Any]]:
    """The events of a stream that has ended, each with the id and the name it came under."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    fields = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    for each in fields:
        headers = {"id": int(each["id"]), "event": each["event"]}
        assert_described(("jobEvents",), json.loads(each["data"]), **headers)
    return [{"id": f["id"], "name": f["event"], **json.loads(f["data"])} for f in fields]


def test_the_stream_of_a_finished_job_is_its_whole_log(api: TestClient, service: Service) -> None:
    job = finish(service, submit(service))
    answer = api.get(f"/job/{job.job_id}/events", headers=STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = streamed(answer.text)
    assert [{k: e[k] for k in e if k not in ("id", "name")} for e in told] == api.get(
        f"/job/{job.job_id}/events"
    ).json()["events"]
    assert all((e["id"], e["name"]) == (str(e["number"]), e["type"]) for e in told)


def test_a_stream_goes_on_behind_the_last_event_that_was_seen(
    api: TestClient, service: Service
) -> None:
    job = finish(service, submit(service))
    for seen in range(job.logged):
        answer = api.get(
            f"/job/{job.job_id}/events", headers={**STREAM, "Last-Event-ID": str(seen)}
        )
        assert [e["number"] for e in streamed(answer.text)] == list(range(seen + 1, job.logged + 1))


def test_who_has_seen_all_of_a_finished_job_is_told_to_come_back_no_more(
    api: TestClient, service: Service
) -> None:
    job = finish(service, submit(service))
    seen = {**STREAM, "Last-Event-ID": str(job.logged)}
    assert api.get(f"/job/{job.job_id}/events", headers=seen).status_code == 204


@pytest.mark.parametrize("told", ["x", "-1", "1.5", "1;2"])
def test_a_last_event_that_is_no_number_is_a_400(
    api: TestClient, service: Service, told: str
) -> None:
    headers = {**STREAM, "Last-Event-ID": told}
    answer = api.get(f"/job/{submit(service).job_id}/events", headers=headers)
    assert answer.status_code == 400


def test_a_stream_tells_what_happens_while_it_is_open(service: Service) -> None:
    job = submit(service)

    def work() -> None:
        advance(service, job, fraction=0.5)
        finish(service, job)

    async def watch() -> str:
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            asked = asyncio.create_task(client.get(f"/job/{job.job_id}/events", headers=STREAM))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(work)
            return (await asked).text

    told = [event["type"] for event in streamed(asyncio.run(watch()))]
    assert told[0] == "job.queued" and told[-1] == "job.succeeded"
    assert len(told) == service.jobs.get(job.job_id).logged


def test_a_stream_ends_with_the_jobs_deletion(service: Service) -> None:
    job = submit(service)

    async def watch() -> str:
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            asked = asyncio.create_task(client.get(f"/job/{job.job_id}/events", headers=STREAM))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(service.removal.delete, job.job_id)
            return (await asyncio.wait_for(asked, 20)).text

    assert streamed(asyncio.run(watch()))[0]["type"] == "job.queued"
