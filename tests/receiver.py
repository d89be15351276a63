"""A receiver of webhooks on the loopback: it answers as it is told, and remembers everything."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

from tests.described import assert_described

HANG_UP = 0


@dataclass(frozen=True)
class Message:
    """A POST that came whole."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> dict[str, Any]:
        """The document, if the signature is good; it has to be in the AsyncAPI document."""
        document: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        assert_described(("webhooks",), document, **self.headers)
        return document


@dataclass
class Receiver:
    """What came, and how the next messages are answered.

    Attributes
    ----------
    answers : list of (status, headers)
        For the first message of each of the next events, in order; everything else is answered
        204. So no event meets two of them: before its third try lie five minutes.
        `HANG_UP` for a status: the connection ends without an answer.
    slow_s : float
        How long it takes to answer anything.
    """

    url: str
    messages: list[Message] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    slow_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, message: Message) -> tuple[int, dict[str, str]]:
        """Remember a message; how it is answered."""
        with self._lock:
            again = any(message.event_id == known.event_id for known in self.messages)
            self.messages.append(message)
            return self.answers.pop(0) if self.answers and not again else (204, {})

    def kinds(self, secret: str) -> list[str]:
        return [str(message.verified(secret)["type"]) for message in self.messages]

    def has(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.messages) >= count


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen on a free port; paths choose how the receiver misbehaves."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    known = Receiver(f"http://127.0.0.1:{server.server_port}")
    server.known = known  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.close_connection = True
        known: Receiver = self.server.known  # type: ignore[attr-defined]
        size = int(self.headers["Content-Length"])
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.path == "/hang-up":
            known.answer(Message(self.path, headers, self.rfile.read(size // 2)))
            return
        status, extra = known.answer(Message(self.path, headers, self.rfile.read(size)))
        time.sleep(known.slow_s)
        if status == HANG_UP:
            return
        try:
            self._answer(status, extra)
        except OSError:
            return  # nobody waited for it

    def _answer(self, status: int, extra: dict[str, str]) -> None:
        self.send_response(status)
        cut = self.path == "/cut-body"
        size = {"Content-Length": "1000" if cut else "0"}
        for name, value in {**size, **extra, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        if cut:
            self.wfile.write(b"half")

    def log_message(self, *_: object) -> None:
        pass
