"""Stand-ins for what surrounds a function: its invocation, and the sockets it talks to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.described import SOCKETS, assert_described

EVENTS = Path(__file__).parents[1] / "events"
JOB_ID = "3f1c2d4e-5a6b-4c7d-8e9f-0a1b2c3d4e5f"  # the recorded events are of this job


def recorded(name: str) -> dict[str, Any]:
    """The event recorded in ``events/``."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


class Invocation:
    """What Lambda tells a handler of the invocation."""

    function_name = "function-under-test"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:function-under-test"
    aws_request_id = "1b0c7e86-2f5e-4d8f-9a57-0f9a4f1f1c3e"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


def call(handler: Callable[..., Any], event: dict[str, Any]) -> Any:
    """What a handler answers to an event."""
    return handler(event, Invocation())


@dataclass
class Sockets:
    """API Gateway's connection management API, as far as a push uses it.

    Attributes
    ----------
    frames : list of (connection id, text)
        What was sent, in order.
    gone : dict
        By connection id: how many more times it is answered 410.
    closed : list of str
        Connections that were hung up.
    """

    url: str
    frames: list[tuple[str, str]] = field(default_factory=list)
    gone: dict[str, int] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)

    def documents(self, connection_id: str) -> list[dict[str, Any]]:
        return [json.loads(text) for to, text in self.frames if to == connection_id]


def unpushed(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Which jobs' watchers were not told, by the log, and for what."""
    told: list[Any] = [each for each in caplog.records if each.message == "snapshot not pushed"]
    return [(each.job_id, each.error) for each in told]


@contextmanager
def serving_sockets() -> Iterator[Sockets]:
    """Serve the API on a free port; whatever is sent has to be in the AsyncAPI document."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Management)
    server.sockets = Sockets(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets  # type: ignore[attr-defined]
        for _, text in server.sockets.frames:  # type: ignore[attr-defined]
            assert_described(SOCKETS, json.loads(text))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Management(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self._is_there():
            self._sockets.frames.append((self._connection, text))
            self._answer(200)

    def do_DELETE(self) -> None:
        if self._is_there():
            self._sockets.closed.append(self._connection)
            self._answer(204)

    def log_message(self, *_: object) -> None:
        pass

    @property
    def _sockets(self) -> Sockets:
        return self.server.sockets  # type: ignore[attr-defined]

    @property
    def _connection(self) -> str:
        return unquote(self.path.rpartition("/")[2])

    def _is_there(self) -> bool:
        left = self._sockets.gone.get(self._connection, 0)
        if left:
            self._sockets.gone[self._connection] = left - 1
            self._answer(410)
        return not left

    def _answer(self, status: int) -> None:
        self.send_response(status)
        if status == 410:
            self.send_header("x-amzn-ErrorType", "GoneException")
        self.send_header("Content-Length", "0")
        self.end_headers()
