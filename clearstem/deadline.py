"""Connections to users' addresses whose every wait ends at one deadline.

The clocks of a client, and of ssrfguard under it, are for one wait each: one
read or write, one address of a name; a lookup has none at all. Who runs the
other end, and the name's own server, decide how many such waits there are: a
byte of a header now and then, a name with four addresses that drop every
packet. Here all of them are taken out of one time, and the addresses of a name
share what is left of it, so that one that is dead does not use up another's.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

import httpcore
from ssrfguard import Address, Policy, Resolver, Target, resolve
from ssrfguard.httpx import SafeBackend

from clearstem.errors import UrlFailed

# What the resolver's own retries take; without this it could wait for minutes.
_LOOKUP_S: Final = 15.0
# What TLS puts into one record: a peer that takes a little now and then is noticed between two.
_PIECE_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a transfer has to be over.

    Attributes
    ----------
    at : float
        By `monotonic`'s clock, in seconds.
    total_s : float
        What was allowed in all, for the message.
    """

    at: float
    total_s: float
    monotonic: Callable[[], float]

    def left(self) -> float:
        """Seconds until then; `UrlFailed` if there are none."""
        left = self.at - self.monotonic()
        if left <= 0:
            raise UrlFailed(f"the address took longer than {self.total_s:g} s")
        return left

    def within(self, timeout: float | None) -> float:
        """A timeout that does not pass the deadline."""
        return self.left() if timeout is None else min(timeout, self.left())


@dataclass(frozen=True, slots=True)
class TimedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses, and ends every wait at the deadline.

    Attributes
    ----------
    policy : ssrfguard.Policy
        What may be reached, and how many of a name's addresses are tried.
    resolver : callable
        Looks names up, as ``socket.getaddrinfo`` does; what it answers is checked.
    """

    policy: Policy
    resolver: Resolver
    deadline: Deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of a name that answers in its share of the time left."""
        addresses = self._addresses(host, port)
        failures: list[Exception] = []
        for untried in range(len(addresses), 0, -1):
            pinned = SafeBackend(policy=self.policy, resolver=_only(addresses[-untried]))
            within = self.deadline.left() / untried
            within = within if timeout is None else min(timeout, within)
            try:
                stream = pinned.connect_tcp(host, port, within, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failures.append(exc)
            else:
                return _TimedStream(stream, self.deadline)
        # A refusal says more than silence.
        raise min(failures, key=lambda failure: isinstance(failure, httpcore.ConnectTimeout))

    def _addresses(self, host: str, port: int) -> tuple[Address, ...]:
        """Those of a name that are tried; all of them are checked, by one lookup."""
        target = Target(scheme="tcp", host=host, port=port, host_as_written=host)
        lookup = _prompt(self.resolver, self.deadline.within(_LOOKUP_S))
        try:
            found = resolve(target, policy=self.policy, resolver=lookup)
        except OSError as exc:
            raise httpcore.ConnectError(str(exc)) from exc
        return found[: self.policy.max_connection_attempts]


class _TimedStream(httpcore.NetworkStream):
    """A connection of which every wait ends at the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there."""
        return self._stream.read(max_bytes, self._deadline.within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it, a piece after the other."""
        for first in range(0, len(buffer), _PIECE_BYTES):
            piece = buffer[first : first + _PIECE_BYTES]
            self._stream.write(piece, self._deadline.within(timeout))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Shake hands for the name that httpcore gives, which is the address's own."""
        within = self._deadline.within(timeout)
        stream = self._stream.start_tls(ssl_context, server_hostname, within)
        return _TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """What the connection knows of itself."""
        return self._stream.get_extra_info(info)


def _only(address: Address) -> Resolver:
    """A resolver that knows one address, looked up and checked before."""
    row = (address.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address.sockaddr)
    return lambda *_: [row]


def _prompt(lookup: Resolver, within_s: float) -> Resolver:
    """A resolver that gives up: a name's own server decides how long a lookup takes."""

    def ask(*question: Any) -> Iterable[Any]:
        answered: Future[Iterable[Any]] = Future()

        def work() -> None:
            try:
                answered.set_result(list(lookup(*question)))
            except Exception as exc:  # noqa: BLE001 - told to the thread that waits
                answered.set_exception(exc)

        threading.Thread(target=work, daemon=True).start()
        try:
            return answered.result(within_s)
        except TimeoutError as exc:
            raise socket.gaierror(socket.EAI_AGAIN, f"no answer in {within_s:g} s") from exc

    return ask
