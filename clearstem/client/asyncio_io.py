"""The driver that runs on asyncio."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

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


class AsyncioIo:
    """`Io` on the running event loop."""

    def __init__(self) -> None:
        self._http = httpx.AsyncClient(follow_redirects=False, mounts=DIRECTLY)

    async def exchange(self, call: Call) -> Answer:
        """See `Io`."""
        with unreachable(call.url):
            answer = await self._http.request(**arguments(call), content=_content(call))
            return Answer(answer.status_code, lower(answer.headers), answer.content)

    def stream(self, call: Call) -> AbstractAsyncContextManager[Streamed]:
        """See `Io`."""
        return self._streamed(call)

    def socket(self, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Socket]:
        """See `Io`."""
        return _connected(url, headers)

    async def sleep(self, seconds: float) -> None:
        """See `Io`."""
        await asyncio.sleep(seconds)

    async def offload(self, work: Callable[[], Result]) -> Result:
        """See `Io`."""
        return await asyncio.to_thread(work)

    async def close(self) -> None:
        """See `Io`."""
        await self._http.aclose()

    @asynccontextmanager
    async def _streamed(self, call: Call) -> AsyncIterator[Streamed]:
        with unreachable(call.url):
            async with self._http.stream(**arguments(call), content=_content(call)) as answer:
                yield _Streamed(answer)


class _Streamed:
    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.headers = lower(answer.headers)
        self._answer = answer

    def pieces(self) -> AsyncIterator[bytes]:
        return self._answer.aiter_raw()


@dataclass(frozen=True, slots=True)
class _Socket:
    connection: ClientConnection

    async def receive(self, *, within_s: float) -> str | bytes | None:
        try:
            async with asyncio.timeout(within_s):
                return await self.connection.recv()
        except ConnectionClosed:
            return None


@asynccontextmanager
async def _connected(url: str, headers: Mapping[str, str]) -> AsyncIterator[Socket]:
    with handshake(url):
        connection = await connect(
            url, additional_headers=dict(headers), open_timeout=CONNECT_S, proxy=proxy_to(url)
        )
    async with connection:
        yield _Socket(connection)


def _content(call: Call) -> bytes | AsyncIterator[bytes] | None:
    content = call.content
    return _read(content) if isinstance(content, FileSlice) else content


async def _read(content: FileSlice) -> AsyncIterator[bytes]:
    done = 0
    while piece := await asyncio.to_thread(content.read, done):
        done += len(piece)
        yield piece
