"""Faults that no route expected, answered before they go on to the server."""

from typing import Any, Final

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearstem.errors import BackendUnavailable, ClearstemError
from functions.answers import answered
from functions.telemetry import logger

_FAULT: Final = "Internal server error"
_UNAVAILABLE: Final = "storage or the queue does not answer at the moment; try again"
# What AWS says where it is asked too much, or by two at once. botocore tried again in vain.
_ASKED_TOO_MUCH: Final = frozenset(
    {
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_OF_AWS: Final = 500


class Faults:
    """ASGI middleware that answers a fault of ours before it goes on to the server.

    Starlette's own stands outside of all middleware, so its answer would lack
    whatever headers those add, CORS among them, and a page could not read it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as exc:
            logger().error("request failed", path=scope["path"], exc_info=exc)
            if not begun:
                await answered(Request(scope), _told_of(exc))(scope, receive, send)
            raise


def _told_of(fault: Exception) -> ClearstemError:
    """What the caller is told: whether trying again may help, and nothing of ours."""
    return BackendUnavailable(_UNAVAILABLE) if _is_passing(fault) else ClearstemError(_FAULT)


def _is_passing(fault: Exception) -> bool:
    if not isinstance(fault, ClientError):
        return isinstance(fault, ConnectionError | HTTPClientError)
    told: Any = fault.response
    # Of a transaction that is cancelled, the reasons alone say why; each part has one.
    codes = {told["Error"]["Code"], *(each["Code"] for each in told.get("CancellationReasons", ()))}
    status = told.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= _OF_AWS or not codes.isdisjoint(_ASKED_TOO_MUCH)
