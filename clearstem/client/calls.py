"""What the protocol asks of the outside: calls, streams, sockets, waits, work on files.

`Io` is all that the client's logic knows of the world. One implementation
blocks, one runs on asyncio; whatever is decided is decided above it, once.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

from clearstem.client.errors import FileChanged, UnexpectedAnswer

Result = TypeVar("Result")

_SECRETS: Final = frozenset({"x-api-key", "authorization"})
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_PIECE_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Bytes of a file, to be sent as they are read.

    Attributes
    ----------
    first : int
        Offset of the first byte.
    size_bytes : int
        How many there are.
    """

    path: Path
    first: int
    size_bytes: int

    def read(self, done: int) -> bytes:
        """The next piece, when so many bytes were read before; empty at the end.

        Raises
        ------
        FileChanged
            The file ends before the slice does.
        """
        wanted = min(_PIECE_BYTES, self.size_bytes - done)
        with self.path.open("rb") as file:
            file.seek(self.first + done)
            piece = file.read(wanted)
        if len(piece) < wanted:
            raise FileChanged(f"{self.path} became shorter while it was sent")
        return piece


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request.

    Attributes
    ----------
    silence_s : float
        How long the other side may say nothing.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: tuple[tuple[str, str], ...] = ()
    content: bytes | FileSlice | None = None
    silence_s: float = 60.0

    def moved(self, status: int, headers: Mapping[str, str]) -> "Call | None":
        """The call that an answer leads a GET on to; None where it leads nowhere.

        The key stays behind where another host is called: a link into storage
        carries its own permission.

        Raises
        ------
        UnexpectedAnswer
            It leads to something that is no address.
        """
        location = headers.get("location")
        if status not in _MOVED or location is None or self.method != "GET":
            return None
        try:
            url = urljoin(self.url, location)
        except ValueError as exc:
            raise UnexpectedAnswer(f"{origin(self.url)} leads to no address: {exc}") from exc
        kept = dict(self.headers)
        if origin(url) != origin(self.url):
            kept = {name: text for name, text in kept.items() if name.lower() not in _SECRETS}
        return replace(self, url=url, headers=kept, params=())


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that is whole.

    Attributes
    ----------
    headers : mapping
        By lower-case name.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Streamed(Protocol):
    """An HTTP answer whose body is still coming."""

    @property
    def status(self) -> int:
        """The answer's status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name."""

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes, as it was sent."""


class Socket(Protocol):
    """An open WebSocket."""

    async def receive(self, *, within_s: float) -> str | bytes | None:
        """The next message; None once it is closed. `TimeoutError` where none came in time."""


class Io(Protocol):
    """The world, as far as a client deals with it."""

    async def exchange(self, call: Call) -> Answer:
        """Make a call; `Unreachable` where no whole answer comes."""

    def stream(self, call: Call) -> AbstractAsyncContextManager[Streamed]:
        """Make a call and read its answer as it comes; `Unreachable` as of `exchange`."""

    def socket(self, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Socket]:
        """Open a WebSocket; `Refused` by the handshake's status, or `Unreachable`."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def offload(self, work: Callable[[], Result]) -> Result:
        """Do something that blocks, such as work on files, without holding others up."""

    async def close(self) -> None:
        """Give the connections up."""


def origin(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def is_error(status: int) -> bool:
    """Whether a status tells anything but success; a redirect that is not followed is none."""
    return status >= HTTPStatus.MULTIPLE_CHOICES
