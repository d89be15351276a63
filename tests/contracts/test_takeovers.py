"""What a request had made when its answer could not be kept: the next try finds it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from fastapi.testclient import TestClient

from clearstem.service import Service
from functions.rest import create_app
from tests.submitted import wav

KEY = {"Idempotency-Key": "k1"}
# Of a size that comes in parts.
LARGE = 150 * 2**20


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def twice(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a call whose answer is not kept, and the same again; the second answer."""
    from clearstem.idempotency import IdempotencyTable

    def unreachable(*_: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://dynamodb")

    def call(post: Callable[[], Any]) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(IdempotencyTable, "keep", unreachable)
            assert post().status_code == 503
        answer = post()
        assert answer.status_code == 200, answer.text
        assert "idempotency-replayed" not in answer.headers
        assert post().json() == answer.json()
        return answer.json()

    return call


def held(service: Service, owner: str = "local") -> int:
    """The bytes that an owner's uploads count for."""
    return service.jobs.quotas.used(owner, month=f"{service.now():%Y-%m}").stored_bytes


def test_a_webhook_is_registered_once(api: TestClient, twice: Callable[..., Any]) -> None:
    body = {"url": "https://hooks.example.org/"}
    made = twice(lambda: api.post("/webhooks", json=body, headers=KEY))
    (only,) = api.get("/webhooks").json()["webhooks"]
    assert only["webhook_id"] == made["webhook_id"]
    assert api.get(f"/webhooks/{made['webhook_id']}").json()["secret"] == made["secret"]


@pytest.mark.parametrize("registered", [True, False])
def test_a_secret_is_rotated_once_and_the_one_in_use_signs_on(
    api: TestClient, service: Service, twice: Callable[..., Any], registered: bool
) -> None:
    webhook_id = "callbacks"
    if registered:
        body = {"url": "https://hooks.example.org/"}
        webhook_id = api.post("/webhooks", json=body).json()["webhook_id"]
    in_use = api.get(f"/webhooks/{webhook_id}").json()["secret"]
    path = f"/webhooks/{webhook_id}/rotate"
    rotated = twice(lambda: api.post(path, headers=KEY))["secret"]
    endpoints = service.endpoints
    secrets = (
        endpoints.secrets_of(endpoints.get(webhook_id, owner="local"))
        if registered
        else endpoints.callback_secrets("local")
    )
    assert secrets.active(at=service.now()) == (rotated, in_use)
    assert api.post(path).json()["secret"] != rotated


@pytest.mark.parametrize("size_bytes", [1000, LARGE])
def test_an_announced_upload_counts_once(
    api: TestClient, service: Service, twice: Callable[..., Any], size_bytes: int
) -> None:
    body = {"file_name": "a.wav", "size_bytes": size_bytes}
    made = twice(lambda: api.post("/uploads", json=body, headers=KEY))
    assert held(service) == size_bytes
    assert service.uploads.get(made["upload_id"], owner="local").held_bytes == size_bytes
    begun = service.store.client.list_multipart_uploads(Bucket=service.settings.uploads_bucket)
    assert len(begun.get("Uploads", [])) == (size_bytes == LARGE)


def test_in_the_audo_dialect_an_upload_is_stored_and_counted_once(
    api: TestClient, service: Service, twice: Callable[..., Any]
) -> None:
    key = service.accounts.create_key("ada", at=service.now())[0]
    headers, sent = {"x-api-key": key, **KEY}, wav()
    made = twice(lambda: api.post("/v1/upload", files={"file": ("a.wav", sent)}, headers=headers))
    assert held(service, "ada") == len(sent)
    upload = service.uploads.get(made["fileId"], owner="ada")
    assert service.store.stat(upload.location).size_bytes == len(sent)
    stored = service.store.client.list_objects_v2(Bucket=service.settings.uploads_bucket)
    assert [each["Key"] for each in stored["Contents"]] == [upload.location.key]
