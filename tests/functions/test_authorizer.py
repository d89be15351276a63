"""The authorizer with tokens, scopes and tickets, as API Gateway calls it."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from clearstem.errors import Unauthorized
from clearstem.scopes import Scope
from clearstem.service import Service
from functions import authorizer, rest
from tests.fakes import Invocation, recorded
from tests.forged import FORGED
from tests.issuer import AUDIENCE, ISSUER, Issuer


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    issuer = Issuer()
    issuer.rsa("rsa")
    issuer.ec("ec")
    return issuer


@pytest.fixture
def trusting(
    deployed: Service, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """A deployment that takes the issuer's tokens, and asks it for its keys by HTTP."""

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = issuer.document()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("CLEARSTEM_OIDC_ISSUER", ISSUER)
    monkeypatch.setenv("CLEARSTEM_OIDC_AUDIENCE", AUDIENCE)
    monkeypatch.setenv("CLEARSTEM_OIDC_JWKS_URL", f"http://127.0.0.1:{server.server_port}/keys")
    yield deployed
    server.shutdown()
    server.server_close()
    thread.join()


def asked(name: str, **changes: Any) -> dict[str, Any]:
    event = {**recorded(name), **changes}
    event["headers"] = changes.get("headers", {})
    return event


def authorized(event: dict[str, Any]) -> dict[str, Any]:
    return authorizer.handler(event, Invocation())


def effect(answer: dict[str, Any]) -> str:
    return str(answer["policyDocument"]["Statement"][0]["Effect"])


def test_a_token_passes_with_its_owner_and_scopes(trusting: Service, issuer: Issuer) -> None:
    headers = {"authorization": f"bearer {issuer.token('ec', sub='ada')}"}
    answer = authorized(asked("authorizer_rest", headers=headers))
    assert effect(answer) == "Allow"
    assert answer["context"] == {"owner": "ada", "scopes": "jobs:read jobs:write"}


@pytest.mark.parametrize("kind", FORGED)
def test_a_token_that_is_not_good_is_a_401(trusting: Service, issuer: Issuer, kind: str) -> None:
    headers = {"Authorization": f"Bearer {FORGED[kind](issuer)}"}
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        authorized(asked("authorizer_rest", headers=headers))


def test_the_api_holds_a_call_to_the_scopes_that_the_authorizer_found(deployed: Service) -> None:
    event = recorded("rest_process")
    event["requestContext"]["authorizer"]["scopes"] = "jobs:read"
    assert rest.handler(event, Invocation())["statusCode"] == 403


def test_a_ticket_opens_one_socket_and_then_no_other(deployed: Service) -> None:
    ticket = deployed.entry_tickets.issue("ada", at=deployed.now())
    event = asked("authorizer_websocket", queryStringParameters={"ticket": ticket})
    assert authorized(event)["context"] == {"owner": "ada", "scopes": "jobs:read"}
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        authorized(event)


def test_of_many_that_use_a_ticket_at_once_one_gets_in(deployed: Service) -> None:
    ticket = deployed.entry_tickets.issue("ada", at=deployed.now())

    def redeem(_: int) -> bool:
        try:
            deployed.entry_tickets.redeem(ticket, at=deployed.now())
        except Unauthorized:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(redeem, range(8))) == 1


def test_a_ticket_is_good_for_a_minute(deployed: Service) -> None:
    ticket = deployed.entry_tickets.issue("ada", at=deployed.now())
    with pytest.raises(Unauthorized):
        deployed.entry_tickets.redeem(ticket, at=deployed.now() + timedelta(seconds=60))


def test_a_key_that_may_not_look_opens_no_socket(deployed: Service) -> None:
    text, _ = deployed.accounts.create_key("ada", at=deployed.now(), scopes=(Scope.WRITE,))
    event = asked("authorizer_websocket", headers={"x-api-key": text})
    assert effect(authorized(event)) == "Deny"


def test_a_ticket_is_nothing_to_a_call_that_is_no_stream(deployed: Service) -> None:
    ticket = deployed.entry_tickets.issue("ada", at=deployed.now())
    event = asked("authorizer_rest", queryStringParameters={"ticket": ticket})
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        authorized(event)
    stream = {**event, "path": "/job/x/events", "httpMethod": "GET"}
    assert authorized(stream)["context"]["scopes"] == "jobs:read"


def test_half_a_configuration_takes_no_tokens(service: Service) -> None:
    from clearstem.service import _tokens

    whole = replace(
        service.settings, oidc_issuer=ISSUER, oidc_audience=AUDIENCE, oidc_jwks_url="https://x.org"
    )
    assert _tokens(whole) is not None
    for missing in ("oidc_issuer", "oidc_audience", "oidc_jwks_url"):
        assert _tokens(replace(whole, **{missing: ""})) is None
