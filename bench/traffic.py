"""Bytes that a process moves to and from S3, counted where botocore sends its requests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.httpsession import URLLib3Session

# Services other than S3 name the operation in this header.
_OPERATION = "X-Amz-Target"


@dataclass(slots=True)
class Traffic:
    """Bytes of objects' content, without headers.

    Attributes
    ----------
    read, written : int
        What came out of storage, and what went there; what was tried again counts again.
    """

    read: int = 0
    written: int = 0


@contextmanager
def counted() -> Iterator[Traffic]:
    """Count what every client of this process moves while the context is open."""
    traffic, send = Traffic(), URLLib3Session.send

    def counting(self: URLLib3Session, request: Any) -> Any:
        answer = send(self, request)
        if _OPERATION not in request.headers:
            if request.method == "GET":
                traffic.read += int(answer.headers.get("Content-Length") or 0)
            else:
                traffic.written += _length(request.headers)
        return answer

    URLLib3Session.send = counting  # type: ignore[method-assign] # for as long as is counted
    try:
        yield traffic
    finally:
        URLLib3Session.send = send  # type: ignore[method-assign]


def _length(headers: Any) -> int:
    """Bytes of a request's content; sent in chunks with a checksum, it has a header of its own."""
    return int(headers.get("X-Amz-Decoded-Content-Length") or headers.get("Content-Length") or 0)
