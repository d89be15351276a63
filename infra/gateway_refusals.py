"""What API Gateway itself answers when it refuses a call, in the words of the service.

A gateway response belongs to an API, not to a route, so one body has to serve
all three dialects: it is the native problem document with the Audo and Munsit
dialects' members beside it, which RFC 9457 allows and each client reads its own
of. Its media type is the native one; the clients of the other two look at the
status and at the body.

`$context.status` is empty where no integration answered, so each kind of
refusal has a response of its own that names its status.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from clearstem.errors import (
    BackendUnavailable,
    ClearstemError,
    InsufficientScope,
    TooLarge,
    TooManyRequests,
    Unauthorized,
)
from functions.dialects import audo, munsit, problems
from functions.dialects.pipeline import API_VERSION
from functions.envelope import API_VERSION_HEADER, REQUEST_ID

# Of a refusal's headers, what a page of another origin may read.
READABLE: Final = ("Retry-After", REQUEST_ID, API_VERSION_HEADER)
# The request's id in a template; the service gives the same one where it answers.
_INSTANCE: Final = "urn:uuid:$context.requestId"
# Bodies end at 10 MB here, and at Lambda's 6 MB behind: what the function says of
# those that reach it, the gateway says of the others.
_TOO_LARGE: Final = (
    "the body is larger than API Gateway takes; "
    "ask POST /uploads for a link to storage and then POST /jobs"
)
# A bucket of the gateway's fills within a second; the Audo client takes nothing but
# a whole number of seconds, and waits for it.
_RETRY_AFTER_S: Final = 1
_BUSY: Final = TooManyRequests(
    f"too many requests at once; try again in {_RETRY_AFTER_S} s", retry_after_s=_RETRY_AFTER_S
)
# The authorizer raises what passes: a throttled table, an issuer that gives no keys. The service
# answers 503 to those, and clients come again. Which of the two kinds API Gateway makes of it its
# documentation leaves open.
_UNIDENTIFIED: Final = BackendUnavailable(
    f"the caller could not be identified; try again in {_RETRY_AFTER_S} s"
)

_OURS: Final[Mapping[str, ClearstemError]] = {
    "UNAUTHORIZED": Unauthorized("Invalid or missing API key"),
    "ACCESS_DENIED": InsufficientScope("the key or token may not be used for this"),
    "REQUEST_TOO_LARGE": TooLarge(_TOO_LARGE),
    "THROTTLED": _BUSY,
    "QUOTA_EXCEEDED": _BUSY,
    "AUTHORIZER_CONFIGURATION_ERROR": _UNIDENTIFIED,
    "AUTHORIZER_FAILURE": _UNIDENTIFIED,
}
# Those that no class of the service stands for: what the gateway makes of the request.
_PLAIN: Final[Mapping[str, tuple[int, str]]] = {
    "BAD_REQUEST_BODY": (400, "the body is not one that API Gateway can read"),
    "BAD_REQUEST_PARAMETERS": (400, "the address is not one that API Gateway can read"),
    "INVALID_API_KEY": (403, "the key is not one of API Gateway's"),
    "INVALID_SIGNATURE": (403, "the request is signed for AWS, and this API takes no signatures"),
    "EXPIRED_TOKEN": (403, "the request is signed for AWS, and this API takes no signatures"),
    "MISSING_AUTHENTICATION_TOKEN": (403, "there is no such path, or no such method of it"),
    "WAF_FILTERED": (403, "a rule of the deployment's firewall refuses the request"),
    "RESOURCE_NOT_FOUND": (404, "there is no such path"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "the body has a media type that is not taken"),
    "API_CONFIGURATION_ERROR": (500, "API Gateway is not set up for this request"),
    "INTEGRATION_FAILURE": (504, "the service could not be reached"),
    "INTEGRATION_TIMEOUT": (504, "the service did not answer within 29 s"),
}
# Whatever kind is added to API Gateway; nobody knows its status here.
_UNKNOWN: Final[Mapping[str, str]] = {
    "DEFAULT_4XX": "the request was refused before it reached the service",
    "DEFAULT_5XX": "the request failed before it reached the service",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One kind of answer that API Gateway gives by itself.

    Attributes
    ----------
    kind : str
        The gateway response's type.
    template : str
        Of the body; API Gateway puts the request's id in.
    headers : Mapping[str, str]
        By name, as API Gateway's mapping expressions.
    status : int or None
        Of the answer; None: the kind's own.
    """

    kind: str
    template: str
    headers: Mapping[str, str]
    status: int | None = None


def refusals(*, origins: Sequence[str]) -> Iterator[Refusal]:
    """Every kind of refusal that there is, and what is left of those to come.

    Parameters
    ----------
    origins : sequence of str
        Those whose pages may call; ``*`` is any.
    """
    shown = _shown_to(origins)
    for kind, error in _OURS.items():
        status, native = problems.problem(error)
        others = dict(munsit.problem(error)[1]) | dict(audo.problem(error)[1])
        waits = isinstance(error, TooManyRequests | BackendUnavailable)
        more = {"Retry-After": f"'{_RETRY_AFTER_S}'"} if waits else {}
        refusal = _refusal(kind, {**others, **native}, {**shown, **more})
        yield replace(refusal, status=status) if error is _UNIDENTIFIED else refusal
    for kind, (status, detail) in _PLAIN.items():
        native = problems.plain_problem(status, detail)
        yield _refusal(kind, {**munsit.plain_problem(status, detail), **native}, shown)
    for kind, detail in _UNKNOWN.items():
        hundreds = int(kind.removeprefix("DEFAULT_").replace("XX", "00"))
        unknown = {"type": "about:blank", "title": "Request refused", "detail": detail}
        yield _refusal(kind, {**munsit.plain_problem(hundreds, detail), **unknown}, shown)


def allowed_origin(origins: Sequence[str]) -> str | None:
    """What one header says to let pages of all these origins read an answer.

    The header names one origin, or ``*`` for any, and API Gateway can choose none by the
    request: where several may call there is none, and the distribution in front adds it
    (`infra.edge`).
    """
    return "*" if "*" in origins else origins[0] if len(origins) == 1 else None


def _shown_to(origins: Sequence[str]) -> Mapping[str, str]:
    """What lets pages of other origins read a refusal, and what they obey of its headers."""
    allowed = allowed_origin(origins)
    if allowed is None:
        return {}
    return {
        "Access-Control-Allow-Origin": f"'{allowed}'",
        "Access-Control-Expose-Headers": f"'{', '.join(READABLE)}'",
    }


def _refusal(kind: str, body: Mapping[str, object], more: Mapping[str, str]) -> Refusal:
    document = {**body, "instance": _INSTANCE}
    return Refusal(
        kind,
        json.dumps(document, ensure_ascii=False),
        {
            "Content-Type": f"'{problems.MEDIA_TYPE}'",
            REQUEST_ID: "context.requestId",
            API_VERSION_HEADER: f"'{API_VERSION}'",
            **more,
        },
    )
