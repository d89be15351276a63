"""Bearer tokens on the running twin: at its edge, and at the gateway with its authorizer."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from clearstem.twin import running_twin
from infra.local.deploy import Target, stack_outputs
from tests.forged import FORGED
from tests.issuer import AUDIENCE, ISSUER, Issuer
from tests.twin import Launched


@contextmanager
def publishing(issuer: Issuer) -> Iterator[str]:
    """The address at which an issuer's keys are served."""

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
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    made = Issuer()
    made.rsa("rsa")
    made.ec("ec")
    return made


@pytest.fixture(scope="module")
def trusting(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A twin that takes the issuer's tokens, and nobody without key or token."""
    with publishing(issuer) as keys:
        state = tmp_path_factory.mktemp("trusting") / "state"
        launched = Launched(state, "--require-key", "--oidc", ISSUER, AUDIENCE, keys)
        yield launched
        launched.stop()


@pytest.fixture(scope="module")
def gateway(trusting: Launched) -> str:
    """Where the template's own REST API answers."""
    endpoint = running_twin(trusting.state).environment["AWS_ENDPOINT_URL"]
    api = stack_outputs(Target(endpoint))["RestApiId"]
    return f"{endpoint}/_aws/execute-api/{api}/live"


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}".strip()}


# What a client of each dialect reads; API Gateway has one body for all of them.
REFUSED: dict[str, Any] = {
    "/jobs": lambda body: body["status"] == 401 and body["detail"],
    "/v1/apiKey/test": lambda body: body["detail"].startswith("Invalid"),
    "/api/v1/denoise": lambda body: body["errorCode"] == "40101",
}


def test_a_token_makes_a_job_that_its_subject_alone_sees(
    trusting: Launched, gateway: str, issuer: Issuer, song_file: Path
) -> None:
    mine, other = (bearing(issuer.token("ec", sub=name)) for name in ("ada", "eve"))
    with song_file.open("rb") as song:
        made = httpx.post(f"{trusting.url}/process", files={"file": song}, headers=mine, timeout=30)
    assert made.status_code == 200, made.text
    job = f"/job/{made.json()['job_id']}"
    for at in (trusting.url, gateway):
        assert httpx.get(at + job, headers=mine, timeout=30).status_code == 200
        assert httpx.get(at + job, headers=other, timeout=30).status_code == 404


@pytest.mark.parametrize("kind", FORGED)
def test_a_token_that_is_not_good_is_a_401_in_the_words_of_each_dialect(
    trusting: Launched, gateway: str, issuer: Issuer, kind: str
) -> None:
    headers = bearing(FORGED[kind](issuer))
    for at in (trusting.url, gateway):
        for path, worded in REFUSED.items():
            # The emulated gateway runs no images, and Munsit's GET is the streaming function's.
            method = "POST" if path == "/api/v1/denoise" else "GET"
            answer = httpx.request(method, at + path, headers=headers, timeout=30)
            assert answer.status_code == 401, (at, path, answer.text)
            assert worded(answer.json()), (at, path, answer.text)


def test_a_socket_opens_by_a_ticket_once(
    trusting: Launched, issuer: Issuer, song_file: Path
) -> None:
    mine = bearing(issuer.token("rsa", sub="ada"))
    with song_file.open("rb") as song:
        made = httpx.post(f"{trusting.url}/process", files={"file": song}, headers=mine, timeout=30)
    ticket = httpx.post(f"{trusting.url}/tickets", headers=mine).json()["ticket"]
    job_id = made.json()["job_id"]
    address = f"{trusting.url.replace('http', 'ws')}/v1/wss/job/{job_id}?ticket={ticket}"
    with connect(address) as socket:
        assert job_id in str(socket.recv(timeout=30))
    with pytest.raises(InvalidStatus) as refused, connect(address):
        pass
    assert refused.value.response.status_code in (401, 403)
