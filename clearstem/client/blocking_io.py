"""The driver that blocks, and what runs the client's coroutines on it."""

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from clearstem.client.calls import Answer, Call, FileSlice, Result, Socket, Streamed
from clearstem.client.wire import (
    CONNECT_S,
    DIRECTLY,
    arguments,
    handshake,
    lower,
    proxy_to,
    unreachable,
)


def run(work: Coroutine[object, None, Result]) -> Result:
    """What a coroutine over `BlockingIo` returns or raises.

    It never waits for a loop, since all that it awaits has blocked until it was
    done: sent once, it is at its end.
    """
    try:
        work.send(None)
    except StopIteration as done:
        result: Result = done.value
        return result
    work.close()
    raise RuntimeError("it waits for an event loop, and there is none")


def iterate(items: AsyncIterator[Result]) -> Iterator[Result]:
    """The items of an asynchronous iterator over `BlockingIo`."""

    async def following() -> Result:
        return await anext(items)

    while True:
        try:
            item = run(following())
        except StopAsyncIteration:
            return
        yield item


class BlockingIo:
    """`Io` whose coroutines are done when they are first sent to."""

    def __init__(self) -> None:
        self._http = httpx.Client(follow_redirects=False, mounts=DIRECTLY)

    async def exchange(self, call: Call) -> Answer:
        """See `Io`."""
        with unreachable(call.url):
            answer = self._http.request(**arguments(call), content=_content(call))
            return Answer(answer.status_code, lower(answer.headers), answer.content)

    def stream(self, call: Call) -> AbstractAsyncContextManager[Streamed]:
        """See `Io`."""
        return self._streamed(call)

    def socket(self, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Socket]:
        """See `Io`."""
        return _connected(url, headers)

    async def sleep(self, seconds: float) -> None:
        """See `Io`."""
        time.sleep(seconds)

    async def offload(self, work: Callable[[], Result]) -> Result:
        """See `Io`."""
        return work()

    async def close(self) -> None:
        """See `Io`."""
        self._http.close()

    @asynccontextmanager
    async def _streamed(self, call: Call) -> AsyncIterator[Streamed]:
        with (
            unreachable(call.url),
            self._http.stream(**arguments(call), content=_content(call)) as answer,
        ):
            yield _Streamed(answer)


class _Streamed:
    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.headers = lower(answer.headers)
        self._answer = answer

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self._answer.iter_raw():
            yield piece


@dataclass(frozen=True, slots=True)
class _Socket:
    connection: ClientConnection

    async def receive(self, *, within_s: float) -> str | bytes | None:
        try:
            return self.connection.recv(timeout=within_s)
        except ConnectionClosed:
            return None


@asynccontextmanager
async def _connected(url: str, headers: Mapping[str, str]) -> AsyncIterator[Socket]:
    with handshake(url):
        connection = connect(
            url, additional_headers=dict(headers), open_timeout=CONNECT_S, proxy=proxy_to(url)
        )
    with connection:
        yield _Socket(connection)


def _content(call: Call) -> bytes | Iterator[bytes] | None:
    content = call.content
    return _read(content) if isinstance(content, FileSlice) else content


def _read(content: FileSlice) -> Iterator[bytes]:
    done = 0
    while piece := content.read(done):
        done += len(piece)
        yield piece
