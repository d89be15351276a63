"""Port 8000: what stands in front of the services, as CloudFront does on AWS.

HTTP goes to the FastAPI application in this process, so uploads of half a gigabyte and event
streams meet none of API Gateway's limits. ``/v1/wss/…`` goes to the WebSocket API, which knows no
paths, with the path's meaning as its query string.

Which pages may use it: a foreign Origin may read, as the public API's CORS allows everybody to,
but it may not change anything and may not open a WebSocket. Without a key the caller is the local
user, and a page of somebody else's must not spend that trust. Origins can be allowed one by one.
"""

import asyncio
import importlib.resources
import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from starlette.staticfiles import StaticFiles
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from infra.local.guard import (
    AsgiApp,
    Receive,
    Refusal,
    Scope,
    Send,
    guarded,
    headers_of,
    refuse,
)

_DOCS_ASSETS = "docs/assets"

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ROUTES = (
    (re.compile(r"/v1/wss/?"), None),
    (re.compile(rf"/v1/wss/job/({_UUID})"), "pipeline"),
    (re.compile(rf"/v1/wss/remove-noise/({_UUID})/status"), "audo"),
)
# What CloudFront passes on of a handshake and somebody behind it reads.
_PASSED_ON = ("x-api-key", "authorization", "user-agent")
_FRAME_LIMIT_BYTES = 128 * 1024  # API Gateway quotas: WebSocket message payload
_HANDSHAKE_S = 15.0
# Codes that say what happened but never travel in a frame: RFC 6455, 7.4.1.
_NO_STATUS, _ABNORMAL, _NORMAL, _INTERNAL_ERROR = 1005, 1006, 1000, 1011


@dataclass(frozen=True, slots=True)
class WebSocketTarget:
    """Where the WebSocket API is: ``ws://host/_aws/execute-api/api/stage``."""

    url: str


def create_edge(
    http: AsgiApp, *, websockets: WebSocketTarget, allowed_origins: Collection[str] = ()
) -> AsgiApp:
    """The application of the edge: `http` for requests, a bridge for WebSockets."""

    async def edge(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _bridge(scope, receive, send, websockets)
        else:
            await http(scope, receive, send)

    return guarded(edge, allowed_origins=allowed_origins, guarded_reads=False)


def query_of(path: str, query: str) -> str | None:
    """The WebSocket API's query string for an address at the edge; None if there is no such path.

    The path's job and dialect count, whatever the caller's own `query` says.
    """
    for pattern, dialect in _ROUTES:
        match = pattern.fullmatch(path)
        if match is None:
            continue
        asked = parse_qsl(query, keep_blank_values=True)
        if dialect is None:
            return urlencode(asked)
        named = [("job_id", match[1]), ("dialect", dialect)]
        return urlencode(named + [pair for pair in asked if pair[0] not in ("job_id", "dialect")])
    return None


async def _bridge(scope: Scope, receive: Receive, send: Send, target: WebSocketTarget) -> None:
    """Open the socket behind first, so that its refusal is the caller's; then copy both ways."""
    await receive()  # websocket.connect
    query = query_of(scope["path"], scope["query_string"].decode("latin-1"))
    if query is None:
        await _refuse_handshake(scope, send, Refusal(404, "There is no such WebSocket"))
        return
    try:
        behind = await _connect(scope, f"{target.url}?{query}")
    except InvalidStatus as exc:
        status = exc.response.status_code
        await _refuse_handshake(scope, send, Refusal(status, "The WebSocket was refused"))
        return
    except (OSError, TimeoutError, WebSocketException):
        await _refuse_handshake(scope, send, Refusal(502, "The WebSocket API does not answer"))
        return
    async with behind:
        await send({"type": "websocket.accept", "subprotocol": behind.subprotocol})
        await _copy_both_ways(behind, receive, send)


async def _connect(scope: Scope, url: str) -> ClientConnection:
    headers = headers_of(scope)
    return await connect(
        url,
        additional_headers={name: headers[name] for name in _PASSED_ON if name in headers},
        subprotocols=[Subprotocol(name) for name in scope.get("subprotocols", ())] or None,
        user_agent_header=None,
        open_timeout=_HANDSHAKE_S,
        ping_interval=None,
        max_size=_FRAME_LIMIT_BYTES,
        proxy=None,
    )


async def _refuse_handshake(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Answer the handshake with an HTTP status where the server can, else close it (403)."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await refuse(scope, send, refusal)
        return
    start = {"type": "websocket.http.response.start", "status": refusal.status, "headers": []}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": refusal.message.encode()})


async def _copy_both_ways(behind: ClientConnection, receive: Receive, send: Send) -> None:
    upwards = asyncio.create_task(_from_caller(receive, behind))
    downwards = asyncio.create_task(_to_caller(behind, send))
    await asyncio.wait({upwards, downwards}, return_when=asyncio.FIRST_COMPLETED)
    for task in (upwards, downwards):
        task.cancel()
    await asyncio.gather(upwards, downwards, return_exceptions=True)


async def _from_caller(receive: Receive, behind: ClientConnection) -> None:
    """Copy messages until the caller leaves; then close with the caller's code."""
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            await behind.close(_sendable(message.get("code")), message.get("reason") or "")
            return
        text = message.get("text")
        await behind.send(text if text is not None else message["bytes"])


async def _to_caller(behind: ClientConnection, send: Send) -> None:
    """Copy messages until the API closes; then close with its code."""
    try:
        async for message in behind:
            kind = "text" if isinstance(message, str) else "bytes"
            await send({"type": "websocket.send", kind: message})
    except ConnectionClosed:
        pass  # an abnormal end, told by the code below
    code, reason = behind.close_code, behind.close_reason
    await send({"type": "websocket.close", "code": _sendable(code), "reason": reason or ""})


def _sendable(code: int | None) -> int:
    """A close code that may be sent, for one that was seen."""
    if code in (None, _NO_STATUS):
        return _NORMAL
    return _INTERNAL_ERROR if code == _ABNORMAL else int(code or _NORMAL)


def create_http_app() -> AsgiApp:
    """The FastAPI application over the service that this process's environment describes."""
    from clearstem.service import Service
    from functions.rest import create_app

    app = create_app(Service.from_env(), docs_assets=_DOCS_ASSETS)
    # The page must work on a machine that reaches no CDN.
    files = importlib.resources.files("fastapi_offline") / "static"
    app.mount(f"/{_DOCS_ASSETS}", StaticFiles(directory=str(files)))
    return app
