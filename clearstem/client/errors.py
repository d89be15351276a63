"""What goes wrong between a client and a server, one class per cause.

ClientError
├── Refused               the server answered no; status, name, message, request id
│   ├── BadRequest        400, 413, 415, 416, 422 and other 4xx
│   ├── NotAllowed        401, 402, 403
│   ├── NotFound          404, 410
│   ├── Conflict          409
│   ├── TooManyRequests   429
│   └── ServerFailed      5xx
├── Unreachable           no answer, or one that broke off
├── UnexpectedAnswer      an answer that is none of this API
├── FileChanged           a recording that was written to while it was sent
├── UploadStalled         storage takes no part of a recording any more
├── DamagedDownload       bytes that are not what the job says they are
└── NotGenuine            a webhook's message whose signature is not good
"""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from clearstem.errors import ClearstemError

# The service's own, then those of API Gateway, in front of it, and of S3.
_REQUEST_IDS: Final = ("x-request-id", "x-amzn-requestid", "apigw-requestid", "x-amz-request-id")
_SHOWN: Final = 80
_KNOWN: Final = frozenset(status.value for status in HTTPStatus)


class ClientError(ClearstemError):
    """A call that came to nothing."""


class Refused(ClientError):
    """The server answered that it will not; the message is its own, if it speaks this API.

    Attributes
    ----------
    status : int
        Of the HTTP answer.
    name : str
        The server's name of the cause, else HTTP's name of the status.
    message : str
        What the server says of it.
    request_id : str or None
        By which the operator finds the call in the logs.
    retry_after_s : float or None
        Seconds after which the server asks to be asked again.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        name: str,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class BadRequest(Refused):
    """The request is wrong and stays so."""


class NotAllowed(Refused):
    """No key, a wrong one, or one that may not do this."""


class NotFound(Refused):
    """Something that is not there, or not the caller's."""


class Conflict(Refused):
    """The request does not fit the state of things."""


class TooManyRequests(Refused):
    """The caller is beyond a limit, and waited in vain."""


class ServerFailed(Refused):
    """The server, or something in front of it, could not."""


class Unreachable(ClientError):
    """The server does not answer, or its answer broke off.

    Attributes
    ----------
    origin : str
        Scheme, host and port; the rest of an address may be a signature.
    """

    def __init__(self, origin: str, reason: str) -> None:
        super().__init__(f"no server answers at {origin}: {reason}")
        self.origin = origin


class UnexpectedAnswer(ClientError):
    """Something answered that does not speak this API; the message shows its beginning."""


class FileChanged(ClientError):
    """The recording changed while it was sent."""


class UploadStalled(ClientError):
    """Parts were sent and storage lists none of them."""


class DamagedDownload(ClientError):
    """What came is, twice over, not of the size or sha256 that the job tells."""


class NotGenuine(ClientError):
    """A message that is not signed by the webhook it claims to be of, or that is none."""


_BY_STATUS: Final[Mapping[int, type[Refused]]] = {
    401: NotAllowed,
    402: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    429: TooManyRequests,
}


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, *, retry_after_s: float | None
) -> Refused:
    """The error that an answer stands for: of this API, of RFC 9457 or of S3.

    Parameters
    ----------
    headers : mapping
        By lower-case name.
    """
    name, message, said_id = _told(body)
    other = ServerFailed if status >= HTTPStatus.INTERNAL_SERVER_ERROR else BadRequest
    kind = _BY_STATUS.get(status, other)
    phrase = HTTPStatus(status).phrase if status in _KNOWN else f"HTTP {status}"
    found_id = next((headers[key] for key in _REQUEST_IDS if key in headers), said_id)
    return kind(
        message or _strange(status, body),
        status=status,
        name=name or phrase,
        request_id=found_id,
        retry_after_s=retry_after_s,
    )


def _told(body: bytes) -> tuple[str | None, str | None, str | None]:
    """Name, message and request id, as far as a body tells them."""
    text = body.decode(errors="replace").strip()
    try:
        document = json.loads(text)
    except ValueError:
        return _element("Code", text), _element("Message", text), None
    if not isinstance(document, dict):
        return None, None, None
    name = _first(document, "name", "title")
    return name, _first(document, "detail", "message"), _first(document, "request_id")


def _strange(status: int, body: bytes) -> str:
    """What is said of an answer that says nothing in the words of this API, on one line."""
    phrase = f" {HTTPStatus(status).phrase}" if status in _KNOWN else ""
    begin = " ".join(body.decode(errors="replace").split())[:_SHOWN]
    what = f", in other words than a clearstem server's: {begin!r}" if begin else ""
    return f"HTTP {status}{phrase}{what}"


def _first(document: dict[str, Any], *names: str) -> str | None:
    return next((str(document[name]) for name in names if document.get(name)), None)


def _element(name: str, xml: str) -> str | None:
    found = re.search(rf"<{name}>([^<]*)</{name}>", xml)
    return found[1] if found else None
