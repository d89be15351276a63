"""What absolute links begin with, in front of which host."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from clearstem.edge_proof import HEADER
from clearstem.service import Service
from functions.rest import create_app
from functions.routes.addresses import HOST
from tests.fakes import recorded
from tests.submitted import denoised, submit_denoise

GATEWAY = "https://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com"
OURS = "https://sound.example.com"
THROUGH_THE_EDGE = {HOST: "sound.example.com", HEADER: "open sesame"}


@pytest.fixture
def proven(service: Service) -> Service:
    """A service that knows the distribution's secret."""
    manager = service.client("secretsmanager")
    arn = manager.create_secret(Name="edge", SecretString="open sesame")["ARN"]
    return replace(service, settings=replace(service.settings, edge_secret_arn=arn))


@contextmanager
def gateway(service: Service, path: str, **headers: str) -> Iterator[TestClient]:
    """The API behind API Gateway and the Web Adapter, called by that path."""
    key, _ = service.accounts.create_key("alice", at=service.now())
    context = {**recorded("rest_health")["requestContext"], "path": f"/live{path}"}
    context["authorizer"] = {"owner": "alice", "scopes": "jobs:read"}
    told = {"x-amzn-request-context": json.dumps(context), "x-api-key": key}
    app = create_app(service, adapted=True)
    with TestClient(app, base_url=GATEWAY, headers={**told, **headers}) as client:
        yield client


def links(service: Service, **headers: str) -> list[str]:
    """All links of the Munsit dialect to a job: in the history, and in its last event."""
    job = denoised(service, submit_denoise(service, owner="alice"))
    history, progress = "/api/v1/denoise", f"/api/v1/denoise/{job.job_id}/progress"
    with gateway(service, history, **headers) as api:
        (record,) = api.get(history).json()
    with gateway(service, progress, **headers) as api:
        event = json.loads(api.get(progress).text.removeprefix("data: "))
    return [record["audio_url"], record["original_audio_url"], event["url"]]


def test_links_name_the_distribution_that_proves_itself(proven: Service) -> None:
    told = links(proven, **THROUGH_THE_EDGE)
    assert [link.split("/", 4)[:4] for link in told] == [
        [*OURS.split("/"), "v1"],
        [*OURS.split("/"), "api"],
        [*OURS.split("/"), "v1"],
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {HOST: "evil.example"},
        {HOST: "evil.example", HEADER: "guess"},
        {HOST: "evil.example", HEADER: ""},
        {HEADER: "open sesame"},
        {HEADER: "open sesame", HOST: ""},
    ],
)
def test_a_host_that_is_only_claimed_is_not_believed(
    proven: Service, headers: dict[str, str]
) -> None:
    assert all(link.startswith(f"{GATEWAY}/live/") for link in links(proven, **headers))


def test_where_there_is_no_secret_nothing_is_believed(service: Service) -> None:
    told = links(service, **THROUGH_THE_EDGE)
    assert all(link.startswith(f"{GATEWAY}/live/") for link in told)


def test_the_description_of_sockets_names_it_too(proven: Service) -> None:
    with gateway(proven, "/asyncapi.json", **THROUGH_THE_EDGE) as api:
        servers = api.get("/asyncapi.json").json()["servers"].values()
    hosts = {server["host"] for server in servers}
    # The other one is the receiver of webhooks.
    assert "sound.example.com" in hosts and "execute-api" not in str(hosts)
