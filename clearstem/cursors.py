"""Where a page of an owner's things ended: what the index needs to go on behind it.

A cursor is opaque to callers, and theirs to forge: it says where to go on, never
in whose things.
"""

import base64
import re
from typing import Final

from clearstem.errors import InvalidRequest
from clearstem.records import Item
from clearstem.table_keys import job_key

# An owner's things by time: their kind, the time, the job.
_PLACE: Final = re.compile(r"(?P<kind>[A-Z]+)#[^#]+#(?P<job_id>[^#]+)")


def encoded(key: Item) -> str:
    """The cursor of a page that ended with an item of the index ``by_owner``."""
    return base64.urlsafe_b64encode(key["owner_sort"]["S"].encode()).decode()


def decoded(cursor: str, *, owner: str, kind: str) -> Item:
    """Where a query of ``by_owner`` is to begin.

    Parameters
    ----------
    kind : str
        The sort key of the things in their own partitions.

    Raises
    ------
    InvalidRequest
        It is no cursor of such things. DynamoDB would refuse a start outside the
        query in words of its own.
    """
    try:
        sort = base64.urlsafe_b64decode(cursor.encode()).decode()
    except ValueError:
        sort = ""
    place = _PLACE.fullmatch(sort)
    if place is None or place["kind"] != kind:
        raise InvalidRequest(f"cursor {cursor[:100]!r} is not one this API gave out")
    return {
        "pk": {"S": job_key(place["job_id"])},
        "sk": {"S": kind},
        "owner": {"S": owner},
        "owner_sort": {"S": sort},
    }
