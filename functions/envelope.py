"""What every HTTP answer carries: a request id, the API's version, security headers.

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

from functions.dialects.pipeline import API_VERSION
from functions.security import HEADERS, STRICT_TRANSPORT
from functions.telemetry import correlate

REQUEST_ID: Final = "X-Request-Id"
API_VERSION_HEADER: Final = "X-API-Version"
# What the Lambda Web Adapter says of the event that it made a request of.
_CONTEXT_HEADER: Final = "x-amzn-request-context"
_STATE: Final = "request_id"
_MORE: Final = "headers"
# Set by an application whose server only the Web Adapter talks to.
_ADAPTED: Final = "adapted"


class Envelope:
    """ASGI middleware that names a request and puts the headers on its answer.

    Headers that the answer has already are left as they are: a page of ours
    brings a content security policy of its own.

    Parameters
    ----------
    adapted : bool
        Whether only the Lambda Web Adapter can reach this server; then what it
        says of the call is believed.
    """

    def __init__(self, app: ASGIApp, *, adapted: bool = False) -> None:
        self._app = app
        self._adapted = adapted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state[_ADAPTED], state[_MORE] = self._adapted, {}
        state[_STATE] = request_id = _new_id(scope)

        async def enveloped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                headers[API_VERSION_HEADER] = API_VERSION
                for name, values in scope["state"][_MORE].items():
                    headers[name] = ", ".join(values)
                for name, value in _security(scope).items():
                    headers.setdefault(name, value)
            await send(message)

        with correlate(request_id):
            await self._app(scope, receive, enveloped)


def request_id_of(scope: Scope) -> str:
    """The id of a request that came through the envelope."""
    return str(scope["state"][_STATE])


def add_header(scope: Scope, name: str, value: str) -> None:
    """Have the answer to a request carry a value more, whatever the answer will be."""
    scope["state"][_MORE].setdefault(name, []).append(value)


def gateway_context(scope: Scope) -> Mapping[str, object]:
    """What API Gateway says of the call, by way of Mangum or the Web Adapter; else nothing."""
    event = scope.get("aws.event") or {}
    if "requestContext" in event:
        return dict(event["requestContext"])
    if not scope["state"][_ADAPTED]:
        return {}
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
