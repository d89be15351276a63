"""Webhooks through the API: registering, secrets, the log of deliveries, and callbacks of jobs."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from clearstem.job_events import EventKind, JobEvent
from clearstem.jobs import Job
from clearstem.service import Service
from functions.rest import create_app
from tests.submitted import submit, wav

URL = "https://hooks.example.org/clearstem"


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service)) as client:
        yield client


@pytest.fixture
def public(service: Service) -> Iterator[TestClient]:
    """The API of a deployment, which calls nothing but public hosts."""
    settings = replace(service.settings, webhook_allow_loopback=False)
    with TestClient(create_app(replace(service, settings=settings))) as client:
        yield client


def register(api: TestClient, **fields: object) -> dict[str, object]:
    answer = api.post("/webhooks", json={"url": URL, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def announced(service: Service) -> Job:
    """A job of which one event was announced."""
    job = submit(service)
    event = JobEvent(1, EventKind.QUEUED, service.now(), 1, 0.0)
    service.announcer.announce(job, event, body="{}")
    return job


def test_a_webhook_is_registered_shown_listed_and_removed(api: TestClient) -> None:
    made = register(api, events=["job.succeeded", "job.failed"])
    path = f"/webhooks/{made['webhook_id']}"
    assert api.get(path).json() == made
    listed = api.get("/webhooks").json()["webhooks"]
    assert listed == [
        {k: v for k, v in made.items() if k not in ("secret", "previous_secret_until")}
    ]
    assert api.delete(path).status_code == 204
    assert (api.get(path).status_code, api.get("/webhooks").json()) == (404, {"webhooks": []})


def test_a_kind_of_event_that_is_not_sent_is_refused(api: TestClient) -> None:
    answer = api.post("/webhooks", json={"url": URL, "events": ["job.progress"]})
    assert answer.status_code == 400
    assert "job.stage.completed" in answer.json()["detail"]


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://169.254.170.2/v2/credentials",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://user:secret@hooks.example.org/",
        "https://hooks.example.org:8443/",
        "file:///etc/passwd",
        "hooks.example.org",
        "",
    ],
)
def test_a_deployment_takes_no_address_that_is_not_called(public: TestClient, url: str) -> None:
    registered = public.post("/webhooks", json={"url": url})
    assert (registered.status_code, registered.json()["detail"][:13]) == (400, "callback_url:")
    if not url:
        return  # an empty field of a form is no address
    form = {"files": {"file": ("a.wav", wav())}, "data": {"callback_url": url}}
    sent = public.post("/process", **form)
    assert (sent.status_code, sent.json()["detail"][:13]) == (400, "callback_url:")
    assert public.get("/jobs").json()["jobs"] == []


def test_a_job_has_its_callback_from_the_form_and_from_json(
    api: TestClient, service: Service
) -> None:
    sent = api.post("/process", files={"file": ("a.wav", wav())}, data={"callback_url": URL}).json()
    assert service.jobs.get(sent["job_id"]).callback_url == URL
    upload = service.intake.announce(owner="local", file_name="b.wav")
    with service.intake.writer(upload) as writer:
        writer.write(wav())
    body = {"upload_id": upload.upload_id, "callback_url": URL}
    started = api.post("/jobs", json=body).json()
    assert service.jobs.get(started["job_id"]).callback_url == URL


def test_a_secret_is_rotated_and_the_one_before_stays_for_a_day(api: TestClient) -> None:
    made = register(api)
    for name, before in ((made["webhook_id"], made["secret"]), ("callbacks", None)):
        before = before or api.get(f"/webhooks/{name}").json()["secret"]
        rotated = api.post(f"/webhooks/{name}/rotate").json()
        assert rotated["secret"] != before
        assert rotated["previous_secret_until"] is not None
        assert api.get(f"/webhooks/{name}").json()["secret"] == rotated["secret"]


def test_deliveries_are_listed_and_sent_again(api: TestClient, service: Service) -> None:
    made = register(api)
    job = announced(service)
    path = f"/webhooks/{made['webhook_id']}"
    found = api.get(f"{path}/deliveries").json()["deliveries"]
    assert [entry["job_id"] for entry in found] == [job.job_id]
    assert (found[0]["status"], found[0]["attempts"]) == ("pending", 0)
    again = api.post(f"{path}/redeliver", json={"event_id": found[0]["event_id"]})
    assert (again.status_code, again.json()["status"]) == (200, "pending")
    missing = api.post(f"{path}/redeliver", json={"event_id": "evt_none_1"})
    assert missing.status_code == 404


def test_a_forged_cursor_reaches_no_other_owners_deliveries(
    api: TestClient, service: Service
) -> None:
    import base64

    made = register(api)
    forged = base64.urlsafe_b64encode(b"DELIVERY#other#2026#evt_1").decode()
    for cursor in (forged, "nonsense", "é"):
        answer = api.get(f"/webhooks/{made['webhook_id']}/deliveries", params={"cursor": cursor})
        assert answer.status_code == 400


def test_another_owners_webhooks_are_as_unknown_as_none(service: Service) -> None:
    keyed = replace(service, settings=replace(service.settings, keyless_owner=""))
    headers = [
        {"x-api-key": service.accounts.create_key(owner, at=service.now())[0]}
        for owner in ("alice", "bob")
    ]
    with TestClient(create_app(keyed)) as api:
        made = api.post("/webhooks", json={"url": URL}, headers=headers[0]).json()
        path = f"/webhooks/{made['webhook_id']}"
        assert api.get(path, headers=headers[0]).status_code == 200
        for answer in (
            api.get(path, headers=headers[1]),
            api.delete(path, headers=headers[1]),
            api.post(f"{path}/rotate", headers=headers[1]),
            api.get(f"{path}/deliveries", headers=headers[1]),
            api.post(f"{path}/redeliver", json={"event_id": "e"}, headers=headers[1]),
        ):
            assert answer.status_code == 404
        assert api.get("/webhooks", headers=headers[1]).json() == {"webhooks": []}
        assert api.get("/webhooks").status_code == 401


def test_the_examples_have_the_fields_of_real_documents(api: TestClient, service: Service) -> None:
    from functions.routes import webhook_examples as examples

    made = register(api)
    assert list(examples.NEW_WEBHOOK) == list(made)
    announced(service)
    path = f"/webhooks/{made['webhook_id']}"
    assert list(examples.WEBHOOK) == list(api.get("/webhooks").json()["webhooks"][0])
    assert list(examples.DELIVERY) == list(api.get(f"{path}/deliveries").json()["deliveries"][0])
    assert list(examples.SECRET) == list(api.post(f"{path}/rotate").json())
    assert list(examples.TICKET) == list(api.post("/tickets").json())


def test_a_job_of_the_other_dialects_has_its_callback_too(
    api: TestClient, service: Service
) -> None:
    headers = {"x-api-key": service.accounts.create_key("ada", at=service.now())[0]}
    sent = api.post("/v1/upload", files={"file": ("a.wav", wav())}, headers=headers).json()
    asked = {"input": sent["fileId"], "callback_url": URL}
    audo = api.post("/v1/remove-noise", json=asked, headers=headers).json()["jobId"]
    form = {"files": {"audio": ("a.wav", wav())}, "data": {"callback_url": URL}}
    munsit = api.post("/api/v1/denoise", **form, headers=headers).json()["jobId"]
    assert [service.jobs.get(job).callback_url for job in (audo, munsit)] == [URL, URL]
