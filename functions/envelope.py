"""What every HTTP answer carries, whoever makes it: a request id and security headers.

The id is API Gateway's where the call came through it, so that an answer, its
log lines and the gateway's access log name the call alike; else a fresh one.
A caller's own is not taken: it would be his to repeat.
"""

import json
import uuid
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from functions.security import HEADERS, STRICT_TRANSPORT
from functions.telemetry import correlate

REQUEST_ID: Final = "X-Request-Id"
# What the Lambda Web Adapter says of the event that it made a request of.
_CONTEXT_HEADER: Final = "x-amzn-request-context"
_STATE: Final = "request_id"


class Envelope:
    """ASGI middleware that names a request and puts the headers on its answer.

    Headers that the answer has already are left as they are: a page of ours
    brings a content security policy of its own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _new_id(scope)
        scope.setdefault("state", {})[_STATE] = request_id

        async def enveloped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                for name, value in _security(scope).items():
                    headers.setdefault(name, value)
            await send(message)

        with correlate(request_id):
            await self._app(scope, receive, enveloped)


def request_id_of(scope: Scope) -> str:
    """The id of a request that came through the envelope."""
    return str(scope["state"][_STATE])


def gateway_context(scope: Scope) -> Mapping[str, object]:
    """What API Gateway says of the call, by way of Mangum or the Web Adapter; else nothing."""
    event = scope.get("aws.event") or {}
    if "requestContext" in event:
        return dict(event["requestContext"])
    try:
        found = json.loads(Headers(scope=scope).get(_CONTEXT_HEADER, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _new_id(scope: Scope) -> str:
    try:
        return str(uuid.UUID(str(gateway_context(scope).get("requestId"))))
    except ValueError:
        return str(uuid.uuid4())


def _security(scope: Scope) -> Mapping[str, str]:
    # Browsers ignore it over http, and a proxy might cache it (RFC 6797, 7.2).
    return {**HEADERS, **STRICT_TRANSPORT} if scope["scheme"] == "https" else HEADERS
