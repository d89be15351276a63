"""Where a page of an owner's things ended: what the index needs to go on behind it.

A cursor holds the sort key of the last thing shown. It is opaque to callers, and
theirs to forge: it says where to go on, never in whose things.
"""

import base64
import re
from typing import Final

from clearstem.errors import InvalidRequest
from clearstem.records import Item
from clearstem.table_keys import job_key

# An owner's things by time: their kind, the time, the job. No key has more than 1 KB.
_PLACE: Final = re.compile(
    r"(?P<kind>[A-Z]{1,20})#[0-9T:.+-]{1,40}#(?P<job_id>[\w-]{1,64})", re.ASCII
)
_SHOWN_CHARACTERS: Final = 100


def encoded(key: Item) -> str:
    """The cursor of a page that ended with an item of the index ``by_owner``."""
    return base64.urlsafe_b64encode(key["owner_sort"]["S"].encode()).decode()


def sort_of(cursor: str) -> str:
    """The sort key that a cursor holds, as its sender says; empty: it is no cursor."""
    try:
        return base64.urlsafe_b64decode(cursor.encode()).decode()
    except ValueError:
        return ""


def foreign(cursor: str) -> InvalidRequest:
    """What is raised for a cursor that leads nowhere in the list that is asked for."""
    return InvalidRequest(f"cursor {cursor[:_SHOWN_CHARACTERS]!r} is not one this API gave out")


def decoded(cursor: str, *, owner: str, kind: str, within: tuple[str, str] | None = None) -> Item:
    """Where a query of ``by_owner`` is to begin.

    DynamoDB refuses a start outside the query in words of its own, so it is looked at here.

    Parameters
    ----------
    kind : str
        The sort key of the things in their own partitions.
    within : tuple of str or None
        The first and the last sort key that the query asks for; None: all of the kind.

    Raises
    ------
    InvalidRequest
        It is no cursor of such things, or of a list of others.
    """
    sort = sort_of(cursor)
    place = _PLACE.fullmatch(sort)
    if place is None or place["kind"] != kind:
        raise foreign(cursor)
    if within and not within[0] <= sort <= within[1]:
        raise InvalidRequest(
            f"cursor {cursor[:_SHOWN_CHARACTERS]!r} is of a list of other times; "
            "it goes with the `since` and `until` that it was given out for"
        )
    return {
        "pk": {"S": job_key(place["job_id"])},
        "sk": {"S": kind},
        "owner": {"S": owner},  # never from the cursor
        "owner_sort": {"S": sort},
    }
