"""What a client of any dialect may attach to a job beside its options.

Fields of clearstem's own, which none of the published APIs has: forms carry
them as text, JSON bodies as what they are, and both are read here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from clearstem.errors import InvalidOption, InvalidRequest
from clearstem.terms import NO_TERMS, Terms

FIELDS: Final = ("callback_url", "labels", "retention_hours")
_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class Attached:
    """What belongs to a job and changes nothing of its work.

    Attributes
    ----------
    callback_url : str or None
        What is told of the job's events.
    terms : Terms
        What the job is called by, and how long it is kept.
    """

    callback_url: str | None = None
    terms: Terms = NO_TERMS


NOTHING: Final = Attached()


def attached(fields: Mapping[str, object]) -> Attached:
    """Read the fields that are attached to a job; others may be there, and none has to be.

    Raises
    ------
    InvalidRequest, InvalidOption
        One of them is not of its kind, or out of range.
    """
    url = fields.get("callback_url")
    if url is not None and not isinstance(url, str):
        raise InvalidRequest(f"callback_url {url!r} is not a text")
    return Attached(
        url or None,
        Terms(_labels(fields.get("labels")), kept_hours=_hours(fields.get("retention_hours"))),
    )


def _labels(given: object) -> Mapping[str, str]:
    """Labels as a JSON object, or as the text of one; nothing where there are none."""
    if given is None or given == "":
        return {}
    shown, found = str(given)[:_SHOWN], given
    if isinstance(given, str):
        try:
            found = json.loads(given)
        except (ValueError, RecursionError) as exc:
            raise InvalidRequest(f"labels {shown!r} is not a JSON object") from exc
    if not isinstance(found, dict):
        raise InvalidRequest(f"labels {shown!r} is not a JSON object")
    for name, value in found.items():
        if not isinstance(value, str):
            raise InvalidRequest(f"label {name[:_SHOWN]!r} is {value!r}, not a text")
    return found


def _hours(given: object) -> float | None:
    if given is None or given == "":
        return None
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise InvalidOption(f"retention_hours {given!r} is not a number")
    try:
        return float(given)
    except (ValueError, OverflowError) as exc:
        raise InvalidOption(f"retention_hours {str(given)[:_SHOWN]!r} is not a number") from exc
