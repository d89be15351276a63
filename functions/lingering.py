"""Answers to uploads that are refused before they have come in whole.

Many HTTP clients read no answer until they have sent all of the body; closing
the connection on them makes "413, the limit is 500 MB" look like a network
failure. So the answer goes out at once, and what still comes is read and
thrown away for a while, as web servers do ("lingering close"). A client that
asked by ``Expect: 100-continue`` or listens while it sends stops right there.
"""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Half a gigabyte comes in within a second locally, and within this at 20 MB/s.
_PATIENCE_S: Final = 30.0
_WITH_BODY: Final = ("POST", "PUT", "PATCH")


class Lingering:
    """ASGI middleware that reads a refused body to its end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        # Behind API Gateway the body is whole before the function runs.
        if scope["type"] != "http" or scope["method"] not in _WITH_BODY or "aws.event" in scope:
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        await self._app(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request and its answer, and whether more of the body is to come."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._more_to_come = True

    async def receive(self) -> Message:
        message = await self._receive()
        self._more_to_come = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last and self._more_to_come:
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while self._more_to_come:
                    await self.receive()
        except TimeoutError:
            return
