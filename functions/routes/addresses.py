"""Where this host answers, as its callers see it: what absolute links begin with."""

import json
from typing import Any, Final

from fastapi import Request

# What the Lambda Web Adapter says of the event that it made a request of.
_CONTEXT_HEADER: Final = "x-amzn-request-context"


def base_url(request: Request) -> str:
    """Scheme, host and, behind API Gateway, the stage; without a slash at the end.

    It goes back to the caller alone, so his own headers may tell it.
    """
    return str(request.base_url).rstrip("/") + _stage(request)


def _stage(request: Request) -> str:
    """What API Gateway took off the path before it passed the call on."""
    outside = _context(request).get("path")
    inside = request.url.path
    if not isinstance(outside, str) or not outside.endswith(inside):
        return ""
    return outside.removesuffix(inside)


def _context(request: Request) -> dict[str, Any]:
    event: dict[str, Any] = request.scope.get("aws.event") or {}
    if "requestContext" in event:
        return dict(event["requestContext"])
    try:
        found = json.loads(request.headers.get(_CONTEXT_HEADER, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
