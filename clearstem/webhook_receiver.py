"""A sample receiver of webhooks: it verifies what comes and tells of it.

What every receiver has to do is `Inbox.take`: verify the very bytes that came,
before anything else is done with them; remember ids, since an event may come
more than once; answer quickly, and work afterwards.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Final

from clearstem.client import MessageDocument, NotGenuine, verify

# A manifest of nine tracks has 6 KB.
_LARGEST_BYTES: Final = 1 << 20
_SLOWEST_S: Final = 15


@dataclass(frozen=True, slots=True)
class Received:
    """A message that came.

    Attributes
    ----------
    document : MessageDocument or None
        What it says; None where its signature is not good.
    repeated : bool
        Whether it came before.
    """

    event_id: str
    document: MessageDocument | None
    repeated: bool = False


@dataclass(slots=True)
class Inbox:
    """Verifies messages and knows which came before; used by several threads."""

    secret: str
    _seen: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def take(self, body: bytes, headers: Mapping[str, str]) -> Received:
        """Look at a message."""
        event_id = headers.get("webhook-id", "")
        try:
            document = verify(body, headers, secret=self.secret)
        except NotGenuine:
            return Received(event_id, None)
        with self._lock:
            repeated = event_id in self._seen
            self._seen.add(event_id)
        return Received(event_id, document, repeated=repeated)


@contextmanager
def receiver(
    inbox: Inbox, *, port: int, told: Callable[[Received], None]
) -> Iterator[ThreadingHTTPServer]:
    """A server on the loopback, not yet serving; 0 takes any free port.

    Parameters
    ----------
    told : callable
        Is told of each message, from the thread that took it.
    """
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(inbox, told))
    server.daemon_threads = True
    try:
        yield server
    finally:
        server.server_close()


def _handler(inbox: Inbox, told: Callable[[Received], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SLOWEST_S

        def do_POST(self) -> None:
            size = self.headers.get("Content-Length", "")
            if not size.isdecimal() or int(size) > _LARGEST_BYTES:
                self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            received = inbox.take(self.rfile.read(int(size)), headers)
            good = received.document is not None
            self._answer(HTTPStatus.NO_CONTENT if good else HTTPStatus.UNAUTHORIZED)
            told(received)

        def log_message(self, *_: object) -> None:
            """Nothing: `told` tells what is worth it."""

        def _answer(self, status: HTTPStatus) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler
