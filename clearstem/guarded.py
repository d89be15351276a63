"""The one client for every address that a user gives.

Whoever may name an address for a server to call can make it call the services
around it: credentials at 169.254.169.254, databases behind the firewall. So
nothing else in clearstem calls users' addresses. ssrfguard looks a name up
once, checks every answer and connects to an address that it checked, so a
record that changes between the check and the connection (DNS rebinding)
changes nothing; each hop of a redirect goes the same way. This module adds
what a hostile peer could still do: send without end, answer what was not asked
for; that he keeps nobody waiting for ever, `clearstem.deadline` sees to.

Messages of errors never repeat an address, whose query may be a signature, and
never say where a name leads.
"""

import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Final

import httpcore
import httpx
from ssrfguard import BlockedAddressError, Resolver, SSRFGuardError, TooManyRedirectsError
from ssrfguard.httpx import Client, SafeTransport

from clearstem.addresses import MOST_REDIRECTS, Answered, check_address, policy
from clearstem.deadline import Deadline, TimedBackend
from clearstem.errors import UrlFailed, UrlRefused, UrlUnreachable
from clearstem.settings import Settings

_CONNECT_S: Final = 10.0
_BLOCK_BYTES: Final = 256 * 1024
# Asked again a little later, these may answer otherwise.
_PASSING: Final = frozenset({408, 425, 429, *range(500, 600)})
# Of a Content-Length: what 64 bits hold, and h11's bound.
_LENGTH_DIGITS: Final = 20
_PAGES: Final = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an address is answering with.

    Attributes
    ----------
    url : str
        Where the answer came from, after redirects.
    content_type : str
        As the answer says; empty where it says none.
    file_name : str or None
        The name in its Content-Disposition, as it came.
    size_bytes : int or None
        As announced.
    chunks : iterator of bytes
        The body, in pieces as they come.
    """

    url: str
    content_type: str
    file_name: str | None
    size_bytes: int | None
    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class GuardedClient:
    """Fetches from users' addresses and puts to them.

    Attributes
    ----------
    allow_loopback : bool
        See `clearstem.addresses.policy`.
    total_s, idle_s : float
        Most time for one transfer, lookups and redirects included; most time without a byte.
    resolver : callable or None
        Stands in for ``socket.getaddrinfo``; what it answers is checked.
    tls : ssl.SSLContext or None
        What certificates are checked against; None: the usual authorities.
    """

    allow_loopback: bool = False
    total_s: float = 900.0
    idle_s: float = 30.0
    resolver: Resolver | None = None
    tls: ssl.SSLContext | None = None
    monotonic: Callable[[], float] = field(default=time.monotonic)

    @classmethod
    def of(cls, settings: Settings) -> "GuardedClient":
        """The client that a deployment's settings describe."""
        return cls(
            allow_loopback=settings.url_allow_loopback,
            total_s=settings.url_total_s,
            idle_s=settings.url_idle_s,
        )

    @contextmanager
    def fetch(self, url: str, *, max_bytes: int) -> Iterator[Fetched]:
        """Ask an address for a recording; its bytes come while the context is open.

        Raises
        ------
        UrlRefused
            The address, or one that it leads to, is not public.
        UrlFailed
            It answers an error, a web page or too much, or takes too long.
        UrlUnreachable
            It does not answer, or breaks off.
        """
        with self._calling(url) as client, client.stream("GET", url) as answer:
            _check_answer(answer, max_bytes=max_bytes)
            yield Fetched(
                url=str(answer.url),
                content_type=answer.headers.get("content-type", ""),
                file_name=_disposed_name(answer.headers.get("content-disposition", "")),
                size_bytes=_announced(answer),
                chunks=_limited(answer.iter_raw(), max_bytes=max_bytes),
            )

    def put(self, url: str, path: Path, *, content_type: str) -> None:
        """Send a file to an address, with its length, never in chunks.

        A redirect that keeps the method is followed with the body sent anew,
        which is how S3 answers for a bucket that is young.

        Raises
        ------
        UrlRefused, UrlFailed, UrlUnreachable
            As `fetch` does; what was sent by then may have arrived or not.
        """
        headers = {"Content-Type": content_type, "Content-Length": str(path.stat().st_size)}
        with self._calling(url) as client:
            for _ in range(MOST_REDIRECTS + 1):
                # The answer's body is not read: nothing says that it ends.
                with client.stream(
                    "PUT", url, content=_blocks(path), headers=headers, follow_redirects=False
                ) as answer:
                    moved = answer.next_request
                    if moved is None or moved.method != "PUT":
                        _check_status(answer)
                        return
                    url = str(moved.url)
        raise UrlFailed(_too_many_redirects())

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        """Send a body to an address; the answer as it is, a redirect among them.

        Of the answer nothing but the head is read, so no receiver can hold the
        caller up or break off what it took already.

        Raises
        ------
        UrlRefused, UrlFailed, UrlUnreachable
            As `fetch` does; the body may have arrived or not.
        """
        with (
            self._calling(url) as client,
            client.stream(
                "POST", url, content=body, headers=dict(headers), follow_redirects=False
            ) as answer,
        ):
            return Answered(answer.status_code, answer.headers.get("retry-after"))

    @contextmanager
    def _calling(self, url: str) -> Iterator[Client]:
        """A client for one transfer, whose errors are told in our own words."""
        check_address(url, allow_loopback=self.allow_loopback)
        deadline = Deadline(self.monotonic() + self.total_s, self.total_s, self.monotonic)
        try:
            with self._client(deadline) as client:
                yield client
        except TooManyRedirectsError:
            raise UrlFailed(_too_many_redirects()) from None
        except BlockedAddressError:
            raise UrlRefused("the address does not lead to a public host") from None
        except (SSRFGuardError, httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise UrlRefused("the address redirects to one that is not called") from None
        except httpx.TimeoutException as exc:
            deadline.left()
            raise UrlUnreachable(_silence(exc, idle_s=self.idle_s)) from exc
        except httpx.TransportError as exc:
            raise UrlUnreachable(_fault(exc)) from exc

    def _client(self, deadline: Deadline) -> Client:
        # It logs every request with its whole address at INFO.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        allowed = policy(allow_loopback=self.allow_loopback)
        resolver = self.resolver or socket.getaddrinfo
        tls = self.tls or httpx.create_ssl_context(trust_env=False)
        backend = TimedBackend(allowed, resolver, deadline)
        transport = SafeTransport(policy=allowed, resolver=resolver, verify=tls, trust_env=False)
        # As ssrfguard itself builds it, with the clock around its backend.
        transport._pool = httpcore.ConnectionPool(ssl_context=tls, network_backend=backend)
        return Client(
            transport=transport,
            # A proxy would look names up by itself.
            trust_env=False,
            follow_redirects=True,
            timeout=httpx.Timeout(self.idle_s, connect=min(_CONNECT_S, self.idle_s)),
            # Compressed, a small answer could unpack to any size.
            headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "clearstem"},
        )


def _check_answer(answer: httpx.Response, *, max_bytes: int) -> None:
    _check_status(answer)
    if answer.status_code != httpx.codes.OK:
        raise UrlFailed(f"the address answered {answer.status_code}, without a recording")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise UrlFailed("the address answered with compressed content, which was not asked for")
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() in _PAGES:
        raise UrlFailed("the address answered with a web page (HTML), not with a recording")
    size = _announced(answer)
    if size is not None and size > max_bytes:
        raise UrlFailed(_too_large(max_bytes))


def _check_status(answer: httpx.Response) -> None:
    if answer.status_code in _PASSING:
        raise UrlUnreachable(f"the address answered {answer.status_code}")
    if not answer.is_success:
        raise UrlFailed(f"the address answered {answer.status_code}")


def _announced(answer: httpx.Response) -> int | None:
    length = answer.headers.get("content-length", "")
    # Python refuses to read numbers of thousands of digits.
    return int(length) if length.isdecimal() and len(length) <= _LENGTH_DIGITS else None


def _disposed_name(header: str) -> str | None:
    """The file name of a Content-Disposition header (RFC 6266), of either spelling."""
    message = Message()
    message["Content-Disposition"] = header
    try:
        return message.get_filename()
    except (TypeError, ValueError, LookupError):
        # What the standard library raises for continuations that do not count up, a NUL in
        # the charset or an unknown one: the header tells no name, which is no failure.
        return None


def _limited(chunks: Iterator[bytes], *, max_bytes: int) -> Iterator[bytes]:
    taken = 0
    for chunk in chunks:
        taken += len(chunk)
        if taken > max_bytes:
            raise UrlFailed(_too_large(max_bytes))
        yield chunk


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _too_large(max_bytes: int) -> str:
    return f"the address has more than {max_bytes} bytes, the limit"


def _too_many_redirects() -> str:
    return f"the address redirects more than {MOST_REDIRECTS} times"


def _silence(exc: httpx.TimeoutException, *, idle_s: float) -> str:
    if isinstance(exc, httpx.ConnectTimeout):
        return "the address does not answer"
    return f"the address sent or took nothing for {idle_s:g} s"


def _fault(exc: httpx.TransportError) -> str:
    if not isinstance(exc, httpx.ConnectError):
        return "the address broke off the connection"
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return "the host name of the address does not resolve"
        if isinstance(cause, ssl.SSLError):
            return "the address has no certificate that can be trusted"
        # httpcore re-raises `from None`: the context alone still knows.
        cause = cause.__cause__ or cause.__context__
    return "the address refuses connections"
