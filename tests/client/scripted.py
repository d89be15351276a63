"""A server on a real socket that answers what a test says, and notes what it was asked."""

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.serving import served

Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Asked:
    """One request, as it came in."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Says:
    """An answer; with `cut_after`, the line breaks after so many bytes of its body."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    async def send(self, send: Send) -> None:
        headers = {"content-length": str(len(self.content)), **self.headers}
        await send(_start(self.status, headers))
        if self.cut_after is None:
            await send({"type": "http.response.body", "body": self.content})
            return
        part = self.content[: self.cut_after]
        await send({"type": "http.response.body", "body": part, "more_body": True})
        raise ConnectionResetError


@dataclass(frozen=True)
class Streams:
    """An event stream of these events' numbers, which ends then."""

    numbers: Iterable[int]

    async def send(self, send: Send) -> None:
        await send(_start(200, {"content-type": "text/event-stream; charset=utf-8"}))
        for number in self.numbers:
            text = f"id: {number}\nevent: job.progress\ndata: {{}}\n\n".encode()
            await send({"type": "http.response.body", "body": text, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@dataclass(frozen=True)
class Frames:
    """A WebSocket that sends these documents, and then closes, or stays silent."""

    documents: Iterable[Any]
    then_silent: bool = False


Reply = Says | Streams | Callable[[Asked], Says]


class Scripted:
    """The server: its script by method and path; the last answer of each repeats itself."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.sockets: list[Frames] = []
        self.handshakes = 0
        self._script: dict[tuple[str, str], list[Reply]] = defaultdict(list)

    def on(self, method: str, path: str, *replies: Reply) -> None:
        self._script[method, path] += replies

    def of(self, method: str, path: str) -> list[Asked]:
        return [asked for asked in self.asked if (asked.method, asked.path) == (method, path)]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._speak(receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = scope["query_string"].decode()
        asked = Asked(scope["method"], scope["path"], query, headers, body)
        self.asked.append(asked)
        script = self._script[asked.method, asked.path]
        if not script:
            await Says(404, {"detail": f"the script has no {asked.method} {asked.path}"}).send(send)
            return
        reply = script.pop(0) if len(script) > 1 else script[0]
        made = reply(asked) if not isinstance(reply, Says | Streams) else reply
        try:
            await made.send(send)
        except ConnectionResetError:
            return  # without the end of its body: the server breaks the line

    async def _speak(self, receive: Any, send: Any) -> None:
        await receive()
        self.handshakes += 1
        if not self.sockets:
            await send({"type": "websocket.close"})  # the handshake is answered 403
            return
        frames = self.sockets.pop(0) if len(self.sockets) > 1 else self.sockets[0]
        await send({"type": "websocket.accept"})
        for document in frames.documents:
            await send({"type": "websocket.send", "text": json.dumps(document)})
        while frames.then_silent and (await receive())["type"] != "websocket.disconnect":
            pass
        if not frames.then_silent:
            await send({"type": "websocket.close", "code": 1001})


@contextmanager
def scripted() -> Iterator[Scripted]:
    """A scripted server that runs."""
    server = Scripted()
    with served(server) as url:  # type: ignore[arg-type]
        server.url = url
        yield server


def _start(status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}
