"""Errors as answers: whatever goes wrong in a route, in the words of the dialect spoken to."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from clearstem.errors import (
    BackendUnavailable,
    ClearstemError,
    Contention,
    InvalidRequest,
    KeyReused,
    RangeOutside,
    TooManyRequests,
)
from functions import dialects
from functions.dialects import problems
from functions.envelope import request_id_of

# What pydantic calls the ends of a range, and what a problem does.
_BOUNDS: Final = {
    "ge": "minimum",
    "gt": "above",
    "le": "maximum",
    "lt": "below",
    "min_length": "min_length",
    "max_length": "max_length",
    "pattern": "pattern",
}
_SHOWN_CHARACTERS: Final = 80


def add_handlers(app: FastAPI) -> None:
    """Have an application answer errors; `functions.faults` sees to those that nobody expected."""
    app.add_exception_handler(ClearstemError, told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(ClientDisconnect, _gone)


class EchoingJson(JSONResponse):
    """JSON that repeats whatever a caller wrote, half of a surrogate pair included."""

    def render(self, content: object) -> bytes:
        """The body; such a half, which UTF-8 has no bytes for, as JSON's own escape of it."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode(errors="backslashreplace")


def answered(request: Request, error: ClearstemError) -> Response:
    """An error in the words of the dialect that was spoken to."""
    dialect = dialects.dialect_of(request.url.path)
    status, body = dialects.PROBLEMS[dialect](error)
    return _problem(request, body, status=status, headers=_headers(error))


def _problem(
    request: Request, body: dialects.Body, *, status: int, headers: Mapping[str, str]
) -> Response:
    """A dialect's body as an answer; a problem document tells this occurrence from all others."""
    if dialects.dialect_of(request.url.path) != dialects.DEFAULT:
        return EchoingJson(body, status_code=status, headers=headers)
    document = dict(body) | {"instance": f"urn:uuid:{request_id_of(request.scope)}"}
    return EchoingJson(
        document, status_code=status, headers=headers, media_type=problems.MEDIA_TYPE
    )


def _headers(error: ClearstemError) -> dict[str, str]:
    if isinstance(error, TooManyRequests):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, KeyReused) and error.retry_after_s is not None:
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, Contention | BackendUnavailable):
        return {"Retry-After": "1"}
    if isinstance(error, RangeOutside):
        return {"Content-Range": f"bytes */{error.size_bytes}"}
    return {}


async def told(request: Request, error: Exception) -> Response:
    """An error of ours in the words of the dialect that was spoken to."""
    if not isinstance(error, ClearstemError):
        raise error
    return answered(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    """The first thing wrong, in one sentence, never a list."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
    facts: dict[str, object] = {"field": where or "body"}
    if isinstance(first.get("input"), str | int):
        value = first["input"]
        facts["value"] = value[:_SHOWN_CHARACTERS] if isinstance(value, str) else value
    bounds = first.get("ctx") or {}
    accepted = {told: bounds[name] for name, told in _BOUNDS.items() if name in bounds}
    if accepted:
        facts["accepted"] = accepted
    return answered(request, InvalidRequest(f"{where or 'body'}: {first['msg']}", facts=facts))


async def _plain(request: Request, error: Exception) -> Response:
    """What the framework refuses: a path or a method that is not there, a body too long."""
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    if error.status_code < HTTPStatus.BAD_REQUEST:
        return Response(status_code=error.status_code, headers=headers)
    plainly = dialects.PLAIN_PROBLEMS[dialects.dialect_of(request.url.path)]
    body = plainly(error.status_code, error.detail)
    return _problem(request, body, status=error.status_code, headers=headers)


async def _gone(_: Request, __: Exception) -> Response:
    """The client left while it was sending: nobody reads this answer."""
    return Response(status_code=400)
