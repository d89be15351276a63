"""Which addresses that users give may be called at all.

The decision is ssrfguard's: it knows the registries of special addresses and
what the prefixes that carry an IPv4 address inside lead to, both of which
`ipaddress` gets wrong. What can be told without a network is told here, when a
job is asked for; where a name leads is told by `clearstem.guarded`, when the
connection is made. Free of HTTP clients, so that functions start fast.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import unquote, urlsplit

from ssrfguard import Policy, SSRFGuardError

from clearstem import media
from clearstem.errors import MissingFile, UrlRefused

MOST_REDIRECTS: Final = 5
_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
# S3 presigns about 1 KB, with session credentials 2 KB.
_LONGEST_URL: Final = 8192
_UNNAMED: Final = "recording"


@dataclass(frozen=True, slots=True)
class Answered:
    """What an address answered to a POST; its body is not looked at.

    Attributes
    ----------
    retry_after : str or None
        The header of that name, as it came.
    """

    status: int
    retry_after: str | None = None


@cache
def policy(*, allow_loopback: bool) -> Policy:
    """What may be called: public hosts by ``https`` on its own port, nothing in the authority.

    One port, since a client that calls any is a port scanner that anyone may
    aim; addresses of object stores name none. With `allow_loopback` also ``http``,
    and this machine on every port.
    """
    if not allow_loopback:
        return Policy(
            allowed_schemes=frozenset({"https"}),
            allowed_ports=frozenset({443}),
            max_redirects=MOST_REDIRECTS,
            max_url_length=_LONGEST_URL,
        )
    return Policy(
        allowed_networks=_LOOPBACK,  # type: ignore[arg-type]  # it parses text; its type says parsed
        allowed_ports=frozenset(range(1, 1 << 16)),
        max_redirects=MOST_REDIRECTS,
        max_url_length=_LONGEST_URL,
    )


def check_address(url: str, *, allow_loopback: bool) -> None:
    """Refuse an address for its form, or for the literal IP address in it.

    Raises
    ------
    UrlRefused
        The message says why, and does not repeat the address.
    """
    allowed = policy(allow_loopback=allow_loopback)
    if not url.isprintable():
        # Halves of surrogate pairs among them, which nothing can send or store.
        raise UrlRefused("the address has control characters, or such as are no text")
    try:
        allowed.check_url(url)
    except SSRFGuardError:
        # Not chained: its message has the address, whose query may be a signature.
        raise UrlRefused(_why_not(url, allowed)) from None


def file_name_of(url: str) -> str:
    """The name that the path of an address ends in, fit to be stored and shown."""
    try:
        return media.file_name(unquote(urlsplit(url).path.rpartition("/")[2]))
    except (ValueError, MissingFile):
        return _UNNAMED


def _why_not(url: str, allowed: Policy) -> str:
    """In words, why the policy has refused an address; it decides nothing."""
    if len(url) > allowed.max_url_length:
        return f"the address has {len(url)} characters; the limit is {allowed.max_url_length}"
    try:
        parts = urlsplit(url)
        scheme, user, port = parts.scheme.lower(), parts.username, parts.port
    except ValueError:
        return "the address is not a valid URL"
    if scheme not in allowed.allowed_schemes:
        accepted = " or ".join(sorted(allowed.allowed_schemes))
        return f"the address must begin with {accepted}://, not with {scheme[:20] or 'nothing'!r}"
    if user is not None:
        return "the address must not carry a user name or a password"
    if port is not None and port not in allowed.allowed_ports:
        accepted = ", ".join(str(number) for number in sorted(allowed.allowed_ports))
        return f"the address must not name port {port} (accepted: {accepted})"
    return "the address does not lead to a public host"
