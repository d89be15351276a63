"""Bytes that a process moves to and from S3, counted where botocore sends its requests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
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
    traffic, send, lock = Traffic(), URLLib3Session.send, Lock()

    def counting(self: URLLib3Session, request: Any) -> Any:
        answer = send(self, request)
        if _OPERATION not in request.headers:
            is_read = request.method == "GET"
            size = _length(answer.headers if is_read else request.headers)
            with lock:  # boto3 sends the parts of a large object from several threads
                if is_read:
                    traffic.read += size
                else:
                    traffic.written += size
        return answer

    URLLib3Session.send = counting  # type: ignore[method-assign] # for as long as is counted
    try:
        yield traffic
    finally:
        URLLib3Session.send = send  # type: ignore[method-assign]


def _length(headers: Any) -> int:
    """Bytes of content; sent in chunks with a checksum, they have a header of their own."""
    return int(headers.get("X-Amz-Decoded-Content-Length") or headers.get("Content-Length") or 0)
