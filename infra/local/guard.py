"""Who may talk to the twin: this machine, and no web page of somebody else's.

A server on localhost is within reach of every page that its user opens. A page can send requests
across origins, and by DNS rebinding it can become "same origin" with a name of its own. So the
Host has to be a loopback name, and an Origin, which browsers always send with requests that change
something, has to be a loopback one or listed. Programs send no Origin and are not concerned.
"""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is turned away, as an HTTP status and words."""

    status: int
    message: str


def is_loopback(host: str) -> bool:
    """Whether a Host header or the host of an origin names this machine.

    Names under ``.localhost`` do: no public server can have one (RFC 6761, 6.3).
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in _LOOPBACK or name.endswith(".localhost")


def judge(
    headers: Mapping[str, str],
    *,
    method: str,
    allowed_origins: Collection[str] = (),
    guarded_reads: bool = True,
) -> Refusal | None:
    """The refusal a request earns, or None.

    Parameters
    ----------
    headers
        By lower-case name.
    allowed_origins
        Origins besides loopback ones, as browsers write them (``https://example.org``). ``null``,
        which sandboxed pages and files send, counts only when it is listed.
    guarded_reads
        Whether an Origin also matters for GET, HEAD and OPTIONS. They change nothing, and what a
        foreign page may read of the answers is settled by CORS.
    """
    if not is_loopback(headers.get("host", "")):
        return Refusal(421, "This server only answers to localhost")
    origin = headers.get("origin")
    if origin is None or (not guarded_reads and method in _SAFE_METHODS):
        return None
    if origin in allowed_origins or (origin != "null" and is_loopback(urlsplit(origin).netloc)):
        return None
    return Refusal(403, f"Origin {origin} may not use this server")


def headers_of(scope: Scope) -> dict[str, str]:
    """A request's headers by lower-case name; the last of a repeated one."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Answer `refusal` to an HTTP request, or close a WebSocket before it opens."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    body = json.dumps({"message": refusal.message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def guarded(
    app: AsgiApp,
    *,
    allowed_origins: Collection[str] = (),
    guarded_reads: bool = True,
    check: Callable[[Scope, Mapping[str, str]], Refusal | None] = lambda scope, headers: None,
) -> AsgiApp:
    """`app` behind the guard; `check` may refuse what passed it."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = headers_of(scope)
            # A WebSocket is not bound by CORS, so its handshake counts as a change.
            method = scope.get("method", "WEBSOCKET")
            refusal = judge(
                headers,
                method=method,
                allowed_origins=allowed_origins,
                guarded_reads=guarded_reads,
            ) or check(scope, headers)
            if refusal is not None:
                await refuse(scope, send, refusal)
                return
        await app(scope, receive, send)

    return guard
