"""How long bodies are by their announcement, and which are refused before a byte is read."""

from typing import Final

from fastapi import Request

from clearstem.errors import TooLarge
from clearstem.media import MEBIBYTE

# Boundaries, part headers and option fields around the file itself.
_FORM_SLACK_BYTES: Final = MEBIBYTE
# Lambda takes events of 6 MB, of which base64 leaves three quarters.
_GATEWAY_BODY_BYTES: Final = 4_500_000
# Of a Content-Length; Python refuses to read numbers of thousands of digits.
_LENGTH_DIGITS: Final = 20


def announced_bytes(request: Request) -> int | None:
    """The length of a body as its header says; None where it says none that can be meant."""
    told = request.headers.get("content-length", "")
    return int(told) if told.isdecimal() and len(told) <= _LENGTH_DIGITS else None


def refuse_large(request: Request, *, limit: int) -> None:
    """Refuse by the announced length; what announces none is counted as it comes.

    Raises
    ------
    TooLarge
        A recording of more than `limit` bytes, or a body that API Gateway does
        not let through; then the message says which way is open.
    """
    size = announced_bytes(request) or 0
    if size > limit + _FORM_SLACK_BYTES:
        raise TooLarge(
            f"File is larger than the limit of {limit / MEBIBYTE:g} MB",
            facts={"field": "size_bytes", "value": size, "accepted": {"maximum": limit}},
        )
    if "aws.event" in request.scope and size > _GATEWAY_BODY_BYTES:
        raise TooLarge(
            f"a body of {size} bytes does not pass API Gateway, which takes "
            f"{_GATEWAY_BODY_BYTES}; ask POST /uploads for a link and then POST /jobs",
            facts={
                "field": "body_bytes",
                "value": size,
                "accepted": {"maximum": _GATEWAY_BODY_BYTES},
            },
        )
