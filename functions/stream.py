"""The HTTP API where an answer outlasts, or outgrows, what a buffered one may.

The same application as ``functions.rest``, behind a server of its own: in a
container with the Lambda Web Adapter, which hands its bytes on as they come.
API Gateway sends it event streams and archives, and nothing else.

What API Gateway says of a call, its authorizer's finding included, the adapter
puts into a header, in the place of whatever the caller wrote there. Here, where
nothing but the adapter reaches the server, it is believed; it has to be, since
a ticket that the authorizer took is used up.
"""

import json
from typing import Final

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from functions import wiring
from functions.rest import create_app

_CONTEXT_HEADER: Final = "x-amzn-request-context"


def app() -> FastAPI:
    """The application; uvicorn calls this once per process."""
    served = create_app(wiring.service())
    served.add_middleware(BehindAdapter)
    return served


class BehindAdapter:
    """ASGI middleware that gives a request the context of its event, as Mangum does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        told = Headers(scope=scope).get(_CONTEXT_HEADER) if scope["type"] == "http" else None
        if told is not None:
            # Not one of API Gateway, as the adapter's own look at /health: null.
            context = json.loads(told) or {}
            scope = {**scope, "aws.event": {"requestContext": context}}
        await self._app(scope, receive, send)
