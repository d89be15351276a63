"""A server that misbehaves in every way a user's address can, one way a path."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from tests.loopback import served

# A RIFF header and a second of silence at 8 kHz: enough for a look at the head.
RECORDING = b"RIFF\xa4\x3e\x00\x00WAVEfmt " + bytes(16_000)


@dataclass(frozen=True)
class Put:
    """A PUT that came whole."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HostileServer:
    """What was asked of the server, and how often it is still to fail.

    Attributes
    ----------
    failures : int
        Requests under ``/flaky`` that are still answered 503.
    """

    port: int
    host: str = "127.0.0.1"
    asked: list[str] = field(default_factory=list)
    puts: list[Put] = field(default_factory=list)
    failures: int = 0

    def url(self, path: str, *, host: str | None = None) -> str:
        return f"http://{host or self.host}:{self.port}{path}"


def hostile_server(
    host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None
) -> AbstractContextManager[HostileServer]:
    """Serve on a free port of the loopback."""
    return served(_Handler, lambda at: HostileServer(at, host), host=host, port=port, tls=tls)


@contextmanager
def black_holes(*hosts: str, port: int = 0) -> Iterator[int]:
    """Addresses of the loopback that drop every packet, as a firewall does; their port.

    Linux drops what asks for a connection while the queue of those not accepted yet is full.
    """
    with ExitStack() as opened:
        for host in hosts:
            hole = opened.enter_context(socket.socket())
            hole.bind((host, port))
            hole.listen(0)
            port = hole.getsockname()[1]
            for _ in range(2):
                filling = opened.enter_context(socket.socket())
                filling.setblocking(False)
                with suppress(BlockingIOError):
                    filling.connect((host, port))
        yield port


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        self._known.asked.append(self.path)
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        try:
            self._get(unquote(urlsplit(self.path).path), query)
        except OSError:
            return  # it hung up, which is what most of this is for

    def do_PUT(self) -> None:
        self.close_connection = True
        self._known.asked.append(self.path)
        path = urlsplit(self.path).path
        size = int(self.headers.get("Content-Length", 0))
        if path == "/close":
            self.rfile.read(min(size, 1000))
            return
        body = self.rfile.read(size)
        self._known.puts.append(Put(self.path, dict(self.headers.items()), body))
        if path.startswith("/moved/"):
            kept = 307 if path.endswith("307") else 303
            self._answer(kept, headers={"Location": "/taken"})
        else:
            self._answer(self._status(path))

    def log_message(self, *_: object) -> None:
        pass

    @property
    def _known(self) -> HostileServer:
        return self.server.known  # type: ignore[attr-defined, no-any-return]

    def _status(self, path: str) -> int:
        if path.startswith("/flaky"):
            self._known.failures -= 1
            return 503 if self._known.failures >= 0 else 200
        last = path.rpartition("/")[2]
        return int(last) if last.isdecimal() else 200

    def _get(self, path: str, query: dict[str, str]) -> None:
        match path.split("/")[1]:
            case "redirect":
                self._answer(302, headers={"Location": query["to"]})
            case "loop":
                self._answer(302, headers={"Location": "/loop"})
            case "hops":
                left = int(path.rpartition("/")[2])
                self._answer(302, headers={"Location": f"/hops/{left - 1}"} if left else {})
            case "page":
                self._answer(200, b"<!doctype html><p>Sign in", {"Content-Type": "text/html"})
            case "gzip":
                self._answer(200, RECORDING, {"Content-Encoding": "gzip"})
            case "announced":
                self._begin(200, {"Content-Length": str(10**12)})
            case "cut":
                self._begin(200, {"Content-Length": str(len(RECORDING))})
                self.wfile.write(RECORDING[:1000])
            case "endless":
                self._begin(200, {})
                self.wfile.write(RECORDING)
                while True:
                    self.wfile.write(bytes(65_536))
            case "silent":
                time.sleep(5)
            case "slow-body":
                self._begin(200, {"Content-Length": str(len(RECORDING))})
                self._drip(RECORDING)
            case "slow-headers":
                self._drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + bytes(1000))
            case "empty":
                self._answer(200)
            case "text":
                self._answer(200, b"These are words, and nobody could listen to them. " * 4)
            case _:
                self._recording(path, query)

    def _recording(self, path: str, query: dict[str, str]) -> None:
        headers = {"Content-Type": query.get("type", "application/octet-stream")}
        if "name" in query:
            headers["Content-Disposition"] = query["name"]
        status = self._status(path)
        self._answer(status, RECORDING if status == 200 else b"no", headers)

    def _drip(self, data: bytes) -> None:
        for position in range(len(data)):
            self.wfile.write(data[position : position + 1])
            time.sleep(0.05)

    def _answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self._begin(status, {"Content-Length": str(len(body)), **(headers or {})})
        self.wfile.write(body)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
