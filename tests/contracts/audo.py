"""The Audo dialect as a test speaks it: an owner's key, a client, and its three calls."""

from typing import Any

import httpx
from fastapi.testclient import TestClient

from clearstem.jobs import Job
from clearstem.service import Service
from functions.rest import create_app
from tests.submitted import wav

OWNER = "alice"
UNKNOWN = "5b0c7e86-2f5e-4d8f-9a57-0f9a4f1f1c3e"


def new_key(service: Service) -> str:
    text, _ = service.accounts.create_key(OWNER, at=service.now())
    return text


def client(service: Service, *, headers: dict[str, str] | None = None) -> TestClient:
    return TestClient(create_app(service), headers=headers, follow_redirects=False)


def sent(api: TestClient, name: str = "talk.wav", content: bytes | None = None, **query: str):
    files = {"file": (name, wav() if content is None else content)}
    return api.post("/v1/upload", files=files, params=query)


def asked(api: TestClient, **fields: Any) -> httpx.Response:
    return api.post("/v1/remove-noise", json=fields)


def state_of(api: TestClient, job: Job | str) -> dict[str, Any]:
    job_id = job if isinstance(job, str) else job.job_id
    answer = api.get(f"/v1/remove-noise/{job_id}/status")
    assert answer.status_code == 200, answer.text
    return answer.json()
