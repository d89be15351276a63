"""A caller beyond his rate, in the words of each dialect."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from clearstem.errors import TooManyRequests
from clearstem.service import Service
from functions import dialects
from functions.rest import create_app
from functions.routes.calls import CurrentCall

START = datetime(2026, 11, 21, tzinfo=UTC)
# A path of each dialect whose route only says who is calling.
_PATHS = ("/probe", "/v1/probe", "/api/v1/probe")
PROBES = {dialects.dialect_of(path): path for path in reversed(_PATHS)}
REFUSAL = "more than 0.25 requests a second; try again in 4 s"
UPLOADS = ("/upload", "/upload/probe.wav", "/v1/upload")


class Clock:
    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limited(service: Service, clock: Clock) -> Service:
    """A service that lets an owner call twice, and once more every four seconds."""
    settings = replace(service.settings, rate_per_s=0.25, rate_burst=2)
    return replace(service, settings=settings, now=clock)


@pytest.fixture
def api(limited: Service) -> Iterator[TestClient]:
    probes = APIRouter()

    async def probe(call: CurrentCall) -> str:
        return call.owner

    for path in (*PROBES.values(), *UPLOADS):
        probes.add_api_route(path, probe, methods=["PATCH"])
    app = create_app(limited)
    app.include_router(probes)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.headers["x-api-key"] = limited.accounts.create_key("ada", at=START)[0]
        yield client


def test_every_dialect_has_its_probe() -> None:
    assert set(PROBES) == set(dialects.PROBLEMS)


@pytest.mark.parametrize("dialect", PROBES)
def test_a_caller_beyond_his_rate_is_told_when_to_come_back(api: TestClient, dialect: str) -> None:
    path = PROBES[dialect]
    assert [api.patch(path).status_code for _ in range(2)] == [200, 200]
    refused = api.patch(path)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "4")
    _, body = dialects.PROBLEMS[dialect](TooManyRequests(REFUSAL, retry_after_s=4))
    assert body.items() <= refused.json().items()
    assert REFUSAL in body.values()


def test_whoever_waits_as_long_as_he_was_told_is_served(api: TestClient, clock: Clock) -> None:
    answers = [api.get("/jobs") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    clock.at += timedelta(seconds=int(answers[-1].headers["Retry-After"]))
    assert api.get("/jobs").status_code == 200


def test_all_dialects_draw_on_the_same_tokens(api: TestClient) -> None:
    assert [api.patch(PROBES[name]).status_code for name in ("pipeline", "audo")] == [200, 200]
    assert api.get("/jobs").status_code == 429


@pytest.mark.parametrize("path", UPLOADS)
def test_an_upload_is_never_told_to_come_back(api: TestClient, path: str) -> None:
    for _ in range(3):
        api.get("/jobs")
    assert api.get("/jobs").status_code == 429
    assert [api.patch(path).status_code for _ in range(5)] == [200] * 5


def test_a_wrong_key_takes_nobodys_tokens(api: TestClient) -> None:
    for _ in range(5):
        assert api.get("/jobs", headers={"x-api-key": "cs_wrong"}).status_code == 401
    assert api.get("/jobs").status_code == 200


def test_without_a_rate_nobody_is_refused(service: Service) -> None:
    with TestClient(create_app(service)) as client:
        assert {client.get("/jobs").status_code for _ in range(20)} == {200}
