"""The API behind the Lambda Web Adapter: whom it believes, and where it says that it is."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from clearstem.service import Service
from functions.rest import create_app
from tests.fakes import recorded
from tests.submitted import finish, submit


@pytest.fixture
def core(service: Service) -> Service:
    return replace(service, settings=replace(service.settings, keyless_owner=""))


@pytest.fixture
def app(core: Service) -> FastAPI:
    return create_app(core, adapted=True)


@pytest.fixture
def streaming(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def told(owner: str | None) -> dict[str, str]:
    """The header by which the adapter tells of an event's context."""
    context: dict[str, Any] = dict(recorded("rest_health")["requestContext"])
    if owner is not None:
        context["authorizer"] = {"principalId": owner, "owner": owner, "scopes": "jobs:read"}
    return {"x-amzn-request-context": json.dumps(context)}


def test_a_ticket_that_the_authorizer_took_opens_the_stream_it_was_given_for(
    core: Service, streaming: TestClient
) -> None:
    job = finish(core, submit(core, owner="ada"))
    ticket = core.entry_tickets.issue("ada", at=core.now())
    core.entry_tickets.redeem(ticket, at=core.now())
    path, query = f"/job/{job.job_id}/events", {"ticket": ticket}
    answer = streaming.get(path, params=query, headers=told("ada"))
    assert answer.status_code == 200
    assert answer.json()["events"]
    assert streaming.get(path, params=query, headers=told("eve")).status_code == 404


def test_whom_the_authorizer_let_through_without_a_name_is_nobody(
    core: Service, streaming: TestClient
) -> None:
    job = submit(core, owner="ada")
    assert streaming.get(f"/job/{job.job_id}/events", headers=told(None)).status_code == 401


def test_a_ticket_by_which_the_authorizer_knew_nobody_is_not_used_again(
    core: Service, streaming: TestClient
) -> None:
    job = finish(core, submit(core, owner="ada"))
    ticket = core.entry_tickets.issue("ada", at=core.now())
    context = {**recorded("rest_health")["requestContext"], "authorizer": {"principalId": "-"}}
    answer = streaming.get(
        f"/api/v1/denoise/{job.job_id}/progress",
        params={"ticket": ticket},
        headers={"x-amzn-request-context": json.dumps(context)},
    )
    assert (answer.status_code, answer.json()["errorCode"]) == (401, "40101")
    # The role of this function may delete no ticket.
    assert core.entry_tickets.redeem(ticket, at=core.now()).owner == "ada"


def test_the_adapters_own_look_needs_no_context(streaming: TestClient) -> None:
    assert streaming.get("/health", headers={"x-amzn-request-context": "null"}).status_code == 200
    assert streaming.get("/health").status_code == 200


def test_where_there_is_no_adapter_its_header_says_nothing(core: Service) -> None:
    job = submit(core, owner="ada")
    with TestClient(create_app(core)) as plain:
        answer = plain.get(f"/job/{job.job_id}/events", headers=told("ada"))
    assert answer.status_code == 401
