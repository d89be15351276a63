"""API Gateway's front door on the emulator: its payload quota, and whose API a URL means.

MiniStack looks for a REST API in the caller's account, which it knows from AWS credentials. Callers
of an API have none, so it would only ever find the APIs of the default account.
"""

from collections.abc import Mapping

from ministack.core.responses import set_request_account_id
from ministack.services import apigateway, apigateway_v1

from infra.local.guard import AsgiApp, Receive, Refusal, Scope, Send

_PREFIX = "/_aws/execute-api/"
_LIMIT_BYTES = 10 * 1024 * 1024  # API Gateway quotas: payload size of REST and HTTP APIs


def refuse_long_payload(scope: Scope, headers: Mapping[str, str]) -> Refusal | None:
    """413 for a body that API Gateway would not take; it learns that from Content-Length."""
    through_gateway = scope["path"].startswith(_PREFIX) or (
        ".execute-api." in headers.get("host", "")
    )
    length = headers.get("content-length", "")
    if through_gateway and length.isdigit() and int(length) > _LIMIT_BYTES:
        return Refusal(413, "Request Too Long")
    return None


def in_account_of_api(app: AsgiApp) -> AsgiApp:
    """`app` with requests to an API set to the account that owns the API."""

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if path.startswith(_PREFIX):
            owner = _owner(path.removeprefix(_PREFIX).partition("/")[0])
            if owner is not None:
                set_request_account_id(owner)
        await app(scope, receive, send)

    return routed


def as_by_tls(app: AsgiApp) -> AsgiApp:
    """`app` told that its requests came by TLS, as a load balancer in front would tell it.

    The template's buckets and queues deny what came without, and on the loopback there is none.
    """

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"] = [*scope["headers"], (b"x-forwarded-proto", b"https")]
        await app(scope, receive, send)

    return served


def _owner(api_id: str) -> str | None:
    for store in (apigateway_v1._rest_apis, apigateway._apis):
        for account, _, known_id in list(store._data):
            if known_id == api_id:
                return str(account)
    return None
