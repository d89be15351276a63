"""Conditional writes whose answer is lost: botocore sends them again, and they meet themselves."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from clearstem.errors import KeyReused, Unauthorized
from clearstem.idempotency import Claim
from clearstem.service import Service
from clearstem.webhook_endpoints import Endpoint
from clearstem.webhook_secrets import Secrets, new_secret

_WRITES = ("put_item", "update_item", "delete_item")


class Repeating:
    """A client of DynamoDB each of whose writes arrives twice; the second answer is told."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name not in _WRITES:
            return call

        def twice(**given: Any) -> Any:
            call(**given)
            return call(**given)

        return twice


@pytest.fixture
def repeating(service: Service) -> Service:
    return replace(service, jobs=replace(service.jobs, client=Repeating(service.jobs.client)))


def test_a_claim_that_meets_itself_is_made(service: Service, repeating: Service) -> None:
    at = service.now()
    first = repeating.idempotency.claim("k1", owner="ada", new_id=service.new_id(), at=at)
    assert isinstance(first, Claim)
    with pytest.raises(KeyReused):
        repeating.idempotency.claim("k1", owner="ada", new_id=service.new_id(), at=at)
    later = at + timedelta(seconds=61)
    over = repeating.idempotency.claim("k1", owner="ada", new_id=service.new_id(), at=later)
    assert isinstance(over, Claim)
    assert over.reserved == first.reserved != over.claim_id
    with pytest.raises(KeyReused):
        service.idempotency.claim("k1", owner="ada", new_id=service.new_id(), at=later)


def test_a_ticket_that_meets_its_own_use_opens_the_door_once(
    service: Service, repeating: Service
) -> None:
    ticket = service.entry_tickets.issue("ada", at=service.now())
    assert repeating.entry_tickets.redeem(ticket, at=service.now()).owner == "ada"
    for again in (repeating, service):
        with pytest.raises(Unauthorized):
            again.entry_tickets.redeem(ticket, at=service.now())


def test_a_rotation_that_meets_itself_is_told(service: Service, repeating: Service) -> None:
    at, in_use = service.now(), Secrets(new_secret())
    made = Endpoint("w-1", "ada", "https://hooks.example.org/", at, secrets=in_use)
    assert repeating.endpoints.register(made) == made
    signing = {"w-1": in_use, "callbacks": repeating.endpoints.callback_secrets("ada")}
    for webhook_id, before in signing.items():
        rotated = repeating.endpoints.rotate(webhook_id, owner="ada", rotation="r-1", at=at)
        assert rotated.active(at=at) == (rotated.current, before.current)
