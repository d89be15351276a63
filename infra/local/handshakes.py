"""What API Gateway answers to a WebSocket handshake that a function refuses.

MiniStack answers 500 where an authorizer says "Unauthorized", and 403 whatever ``$connect``
answers. API Gateway answers 401, and what ``$connect`` does; clients tell a wrong key from a wrong
job by that. Sources: API Gateway developer guide, "Create an API Gateway REQUEST authorizer Lambda
function" and "Manage connected users and client apps: $connect and $disconnect routes".
"""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from infra.local import selfcheck
from infra.local.guard import Receive, Scope, Send

_AUTHORIZER_THREAD = "ministack-apigw-authorizer"
_UNAUTHORIZED = "Unauthorized"

Refusal = tuple[int, str] | None
Authorized = tuple[Refusal, dict[str, Any] | None]


@dataclass(slots=True)
class _Handshake:
    """What is known of the handshake under way."""

    unauthorized: bool = False
    refused_with: int | None = None
    accepted: bool = False


_current: ContextVar[_Handshake | None] = ContextVar("handshake", default=None)


def install() -> None:
    """Extend MiniStack's WebSocket APIs."""
    selfcheck.replace("ministack.services.apigateway:run_reentrant", _noting_errors)
    selfcheck.replace("ministack.services.apigateway:_authorize_ws_connect", _telling_401)
    selfcheck.replace("ministack.services.apigateway:_invoke_ws_lambda", _noting_refusals)
    selfcheck.replace("ministack.services.apigateway:handle_websocket", _answering)


def _noting_errors(run: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def run_reentrant(
        function: Any, *args: Any, thread_name: str = "", **options: Any
    ) -> Any:
        named = {"thread_name": thread_name} if thread_name else {}
        result = await run(function, *args, **named, **options)
        handshake = _current.get()
        if handshake is not None and thread_name == _AUTHORIZER_THREAD:
            handshake.unauthorized = _error_message(result) == _UNAUTHORIZED
        return result

    return run_reentrant


def _error_message(result: object) -> object:
    body = result.get("body") if isinstance(result, Mapping) else None
    return body.get("errorMessage") if isinstance(body, Mapping) else None


def _telling_401(
    authorize: Callable[..., Awaitable[Authorized]],
) -> Callable[..., Awaitable[Authorized]]:
    async def authorize_ws_connect(*args: Any, **options: Any) -> Authorized:
        refusal, context = await authorize(*args, **options)
        handshake = _current.get()
        if refusal is not None and handshake is not None and handshake.unauthorized:
            return (401, _UNAUTHORIZED), None
        return refusal, context

    return authorize_ws_connect


def _noting_refusals(invoke: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def invoke_ws_lambda(*args: Any, **options: Any) -> Any:
        answer = await invoke(*args, **options)
        handshake = _current.get()
        if handshake is not None and not handshake.accepted and isinstance(answer, Mapping):
            status = int(answer.get("statusCode", 200))
            handshake.refused_with = None if 200 <= status < 300 else status
        return answer

    return invoke_ws_lambda


def _answering(handle: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def handle_websocket(
        scope: Scope, receive: Receive, send: Send, *args: Any, **options: Any
    ) -> None:
        handshake = _Handshake()
        _current.set(handshake)
        can_answer = "websocket.http.response" in (scope.get("extensions") or {})

        async def answer(message: Any) -> None:
            handshake.accepted |= message["type"] == "websocket.accept"
            refused = message["type"] == "websocket.close" and not handshake.accepted
            if refused and can_answer and handshake.refused_with is not None:
                start = {"type": "websocket.http.response.start", "headers": []}
                await send({**start, "status": handshake.refused_with})
                await send({"type": "websocket.http.response.body", "body": b""})
            else:
                await send(message)

        await handle(scope, receive, answer, *args, **options)

    return handle_websocket
