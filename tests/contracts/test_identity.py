"""Who may see what: keys, keyless deployments, other owners' jobs."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from clearstem.service import Service
from functions.rest import create_app
from tests.problems import refusal
from tests.submitted import finish, submit, wav

REFUSED = "Invalid or missing API key"


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    settings = replace(service.settings, keyless_owner="")
    with TestClient(create_app(replace(service, settings=settings))) as client:
        yield client


@pytest.fixture
def key(service: Service) -> dict[str, str]:
    text, _ = service.accounts.create_key("alice", at=service.now())
    return {"x-api-key": text}


@pytest.mark.parametrize("path", ["/jobs", "/job/x", "/job/x/outputs", "/download/x/main"])
@pytest.mark.parametrize("headers", [{}, {"x-api-key": ""}, {"x-api-key": "cs_wrong"}])
def test_without_a_good_key_everything_is_a_401(
    api: TestClient, path: str, headers: dict[str, str]
) -> None:
    answer = api.get(path, headers=headers)
    assert refusal(answer) == (401, REFUSED)


def test_a_file_is_not_looked_at_without_a_key(api: TestClient) -> None:
    answer = api.post("/process", files={"file": ("a.aac", b"")})
    assert refusal(answer) == (401, REFUSED)


def test_health_and_configuration_need_no_key(api: TestClient) -> None:
    assert api.get("/health").status_code == 200
    assert api.get("/config").status_code == 200


def test_a_key_makes_jobs_of_its_owner(
    api: TestClient, service: Service, key: dict[str, str]
) -> None:
    answer = api.post("/process", files={"file": ("a.wav", wav())}, headers=key)
    assert service.jobs.get(answer.json()["job_id"]).owner == "alice"


def test_a_revoked_key_is_refused_at_once(
    api: TestClient, service: Service, key: dict[str, str]
) -> None:
    assert api.get("/jobs", headers=key).status_code == 200
    prefix = service.accounts.keys("alice")[0].prefix
    service.accounts.revoke("alice", prefix=prefix, at=service.now())
    assert api.get("/jobs", headers=key).status_code == 401


def test_a_wrong_key_is_refused_even_where_none_is_needed(service: Service) -> None:
    with TestClient(create_app(service)) as keyless:
        assert keyless.get("/jobs").status_code == 200
        answer = keyless.get("/jobs", headers={"x-api-key": "cs_wrong"})
    assert refusal(answer) == (401, REFUSED)


def test_another_owners_job_is_as_unknown_as_none(
    api: TestClient, service: Service, key: dict[str, str]
) -> None:
    job = finish(service, submit(service, owner="bob"))
    for path in ("/job/{}", "/job/{}/outputs", "/download/{}/main", "/download/{}/all"):
        answer = api.get(path.format(job.job_id), headers=key)
        assert refusal(answer) == (404, "Job not found")
    assert api.get("/jobs", headers=key).json()["jobs"] == []


def test_another_owners_upload_is_as_unknown_as_none(
    api: TestClient, service: Service, key: dict[str, str]
) -> None:
    upload = service.intake.announce(owner="bob", file_name="a.wav")
    answer = api.post("/jobs", json={"upload_id": upload.upload_id}, headers=key)
    assert answer.status_code == 404
