"""Where this host answers, as its callers see it: what absolute links begin with."""

from fastapi import Request

from functions.envelope import gateway_context


def base_url(request: Request) -> str:
    """Scheme, host and, behind API Gateway, the stage; without a slash at the end.

    It goes back to the caller alone, so his own headers may tell it.
    """
    return str(request.base_url).rstrip("/") + _stage(request)


def _stage(request: Request) -> str:
    """What API Gateway took off the path before it passed the call on."""
    outside = gateway_context(request.scope).get("path")
    inside = request.url.path
    if not isinstance(outside, str) or not outside.endswith(inside):
        return ""
    return outside.removesuffix(inside)
