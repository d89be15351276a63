"""What both drivers share of httpx and websockets: arguments, and the names of failures."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import httpx
from websockets.exceptions import InvalidStatus, WebSocketException

from clearstem.client.calls import Call, origin
from clearstem.client.errors import UnexpectedAnswer, Unreachable, refusal
from clearstem.client.retrying import retry_after_s

CONNECT_S: Final = 15.0
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
# Where httpx asks no proxy, whatever the environment says: a proxy's own loopback is another one.
DIRECTLY: Final = {f"all://{f'[{host}]' if ':' in host else host}": None for host in _LOOPBACK}


def proxy_to(url: str) -> Literal[True] | None:
    """As websockets takes it: the environment's proxy, but none to this machine."""
    return None if urlsplit(url).hostname in _LOOPBACK else True


def arguments(call: Call) -> dict[str, Any]:
    """A call as httpx takes it, but for its content."""
    return {
        "method": call.method,
        "url": call.url,
        "headers": dict(call.headers),
        "params": list(call.params) or None,
        "timeout": httpx.Timeout(call.silence_s, connect=CONNECT_S),
    }


def lower(headers: httpx.Headers) -> Mapping[str, str]:
    """Headers by lower-case name."""
    return {name.lower(): value for name, value in headers.items()}


@contextmanager
def unreachable(url: str) -> Iterator[None]:
    """Turn what goes wrong with an HTTP call into `Unreachable`, or `UnexpectedAnswer`.

    Errors of files pass, so that a full disk is not taken for a broken line.
    """
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as exc:
        raise UnexpectedAnswer(f"it leads to an address that is none: {exc}") from exc
    except httpx.RequestError as exc:
        raise Unreachable(origin(url), str(exc) or type(exc).__name__) from exc


@contextmanager
def handshake(url: str) -> Iterator[None]:
    """Turn a WebSocket that does not open into `Refused` or `Unreachable`."""
    try:
        yield
    except InvalidStatus as exc:
        answer = exc.response
        headers = {name.lower(): value for name, value in answer.headers.raw_items()}
        wait_s = retry_after_s(headers.get("retry-after"), now=datetime.now(UTC))
        raise refusal(
            answer.status_code, headers, bytes(answer.body or b""), retry_after_s=wait_s
        ) from exc
    except (WebSocketException, OSError) as exc:
        raise Unreachable(origin(url), str(exc) or type(exc).__name__) from exc
