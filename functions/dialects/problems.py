"""Errors of the native routes as problem details (RFC 9457).

``detail`` is the sentence that clients of the published API read; it stays as
it was, and the other members stand around it. Every class of error is a type
of its own, whose address tells what it means.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, cast

from clearstem.errors import ClearstemError, StageError, TooManyRequests
from functions.dialects.pipeline_documents import ReasonDocument

MEDIA_TYPE: Final = "application/problem+json"
PREFIX: Final = "/problems/"
# RFC 9457, 4.2.1: nothing more is to be said than what the status says.
_BLANK: Final = "about:blank"
_WORD: Final = re.compile(r"[A-Z][a-z]*")


def problem(error: ClearstemError) -> tuple[int, Mapping[str, object]]:
    """Status and document of an error; what tells one occurrence from others comes with HTTP."""
    kind = type(error)
    known: dict[str, object] = {
        "type": PREFIX + slug(kind),
        "title": title(kind),
        "status": kind.http_status,
        "detail": str(error),
        "name": f"Clearstem.{kind.__name__}",
    }
    return kind.http_status, known | error.facts


def reason(error: ClearstemError) -> ReasonDocument:
    """The document of an error that is told within an answer, so that no header says the rest."""
    _, document = problem(error)
    wait = {"retry_after_s": error.retry_after_s} if isinstance(error, TooManyRequests) else {}
    # Facts are named by their error; the document lists those of the errors that are told so.
    return cast("ReasonDocument", {**document, **wait})


def plain_problem(status: int, detail: str) -> Mapping[str, object]:
    """The document of a refusal that has no class: no such path, no such method."""
    return {
        "type": _BLANK,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }


def title(kind: type[ClearstemError]) -> str:
    """A class of errors in words, the same for each occurrence: ``Track not found``."""
    return " ".join(_words(kind)).capitalize()


def slug(kind: type[ClearstemError]) -> str:
    """The last part of a type's address: ``track-not-found``."""
    return "-".join(_words(kind))


def kinds() -> Mapping[str, type[ClearstemError]]:
    """Every class of errors that an HTTP answer may have, by its slug."""
    found: dict[str, type[ClearstemError]] = {}
    waiting: list[type[ClearstemError]] = [ClearstemError]
    while waiting:
        kind = waiting.pop()
        if not issubclass(kind, StageError):
            found[slug(kind)] = kind
            waiting += kind.__subclasses__()
    return found


def meaning(kind: type[ClearstemError]) -> str:
    """What a class of errors stands for, in a sentence or two."""
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split())


def _words(kind: type[ClearstemError]) -> list[str]:
    return [word.lower() for word in _WORD.findall(kind.__name__)]
