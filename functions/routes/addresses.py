"""Where this host answers, as its callers see it: what absolute links begin with."""

from typing import Final

from fastapi import Request

from functions.envelope import gateway_context
from functions.routes.rates import by_edge

# What the distribution's function writes the caller's Host into (`infra/host_function.js`).
HOST: Final = "x-clearstem-host"


async def base_url(request: Request) -> str:
    """Scheme, host and, where API Gateway was called itself, the stage; no slash at the end.

    The distribution's own name counts where it proved itself: behind it API
    Gateway hears no other Host than its own, and a link to that would go past the
    distribution's domain and its web ACL. Without proof the header is anybody's.
    """
    host = request.headers.get(HOST)
    if host and await by_edge(request):
        # The distribution answers by TLS alone, and puts the stage before the path itself.
        return f"https://{host}"
    # It goes back to the caller alone, so his own headers may tell it.
    return str(request.base_url).rstrip("/") + _stage(request)


def _stage(request: Request) -> str:
    """What API Gateway took off the path before it passed the call on."""
    outside = gateway_context(request.scope).get("path")
    inside = request.url.path
    if not isinstance(outside, str) or not outside.endswith(inside):
        return ""
    return outside.removesuffix(inside)
