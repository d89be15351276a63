"""Counting calls: against an owner's rate, and a network address's where no key is asked or shown.

The answer of a call that was counted says what is left, by the header fields
of draft-ietf-httpapi-ratelimit-headers-10: ``RateLimit-Policy`` tells the
bucket and the seconds in which it fills, ``RateLimit`` what is in it and the
seconds until it is full. When the next call may come, where it is empty, is
``Retry-After``, which comes sooner.
"""

from ipaddress import IPv4Address, ip_address, ip_network
from typing import Final

from fastapi import Depends, Request

from clearstem.edge_proof import HEADER, EdgeProof
from clearstem.limits import Allowance, OwnRates, RateLimits
from clearstem.service import Service
from functions.blocking import Blocking
from functions.envelope import add_header, gateway_context

# What CloudFront and API Gateway write of those they took a call from: the last but one is
# whom CloudFront heard.
_FORWARDED: Final = "x-forwarded-for"
_HOPS: Final = 2
# A household, and any host that changes its address at will, has 64 bits of them.
_IPV6_PREFIX: Final = 64


async def count_call(request: Request, *, owner: str, keyless: bool) -> None:
    """Count a call and note what is left for its answer.

    Raises
    ------
    TooManyRequests
        There was nothing left.
    """
    if keyless:
        await count_address(request)
    await _count(request, owner, policy="owner", limits=await _limits_of(request, owner))


async def count_address(request: Request) -> None:
    """Count a call of nobody in particular by the network that it comes from.

    Raises
    ------
    TooManyRequests
        There was nothing left.
    """
    service: Service = request.app.state.service
    limits = service.keyless_limits
    if limits.per_s <= 0:
        return
    # No name of an owner has a colon.
    address = f"ip:{source_address(request, by_edge=await by_edge(request))}"
    await _count(request, address, policy="address", limits=limits)


# Of routes that ask for no key.
COUNTED_BY_ADDRESS: Final = Depends(count_address)


async def _limits_of(request: Request, owner: str) -> RateLimits:
    """The limits of an owner: his own where an operator has settled some."""
    service: Service = request.app.state.service
    blocking: Blocking = request.app.state.blocking
    own: OwnRates = request.app.state.own_rates
    limits = own.known(service.limits, owner)
    if limits is None:
        limits = await blocking.call(own.look_up, service.limits, owner)
    return limits


async def by_edge(request: Request) -> bool:
    """Whether the distribution passed the call on."""
    proof: EdgeProof = request.app.state.edge_proof
    blocking: Blocking = request.app.state.blocking
    shown = request.headers.get(HEADER, "")
    return bool(shown) and await blocking.call(proof.is_given, shown)


async def _count(request: Request, bucket: str, *, policy: str, limits: RateLimits) -> None:
    service: Service = request.app.state.service
    blocking: Blocking = request.app.state.blocking
    if limits.per_s <= 0:
        return
    at = service.now()
    allowance = await blocking.call(limits.count, bucket, at=at)
    if allowance is None:
        return
    _tell(request, allowance, policy=policy)
    if allowance.wait_s:
        raise limits.refusal(allowance, at=at)


def source_address(request: Request, *, by_edge: bool) -> str:
    """The network that a call comes from; an IPv6 one by its first 64 bits.

    API Gateway's word counts before the socket's, and the distribution's before
    that, if it proved itself: headers are anybody's to write.
    """
    headers = request.headers
    forwarded = [part.strip() for part in headers.get(_FORWARDED, "").split(",")]
    if by_edge and len(forwarded) >= _HOPS:
        return _network(forwarded[-_HOPS])
    identity = gateway_context(request.scope).get("identity")
    if isinstance(identity, dict) and identity.get("sourceIp"):
        return _network(str(identity["sourceIp"]))
    return _network(request.client.host if request.client else "")


def _network(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, _IPV6_PREFIX), strict=False))


def _tell(request: Request, allowance: Allowance, *, policy: str) -> None:
    name = f'"{policy}"'
    add_header(
        request.scope, "RateLimit-Policy", f"{name};q={allowance.quota};w={allowance.window_s}"
    )
    add_header(request.scope, "RateLimit", f"{name};r={allowance.remaining};t={allowance.reset_s}")
