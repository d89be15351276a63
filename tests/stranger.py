"""A server that is none of ours, for what must never come there."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest

from tests.loopback import served

# As a user may have set them, of whom no address on this machine is excepted.
PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@dataclass
class Stranger:
    """Where it is, and the first line of each request that came there."""

    url: str
    asked: list[bytes] = field(default_factory=list)


class _Noting(BaseHTTPRequestHandler):
    def handle_one_request(self) -> None:
        self.server.known.asked.append(self.rfile.readline())  # type: ignore[attr-defined]
        self.close_connection = True


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with served(_Noting, lambda port: Stranger(f"http://127.0.0.1:{port}")) as stranger:
        yield stranger


@pytest.fixture
def proxy(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    """The stranger as the proxy of all that is not `corp`."""
    for name in PROXIES:
        monkeypatch.setenv(name, stranger.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "corp")
    return stranger
