"""Cursors of an owner's list of jobs: where its next page begins, as a text for the caller.

A cursor holds the sort key of the last job shown, and nothing that would let it
reach another owner's list. It is the caller's to forge, and DynamoDB refuses a
start outside a query in words of its own, so what comes back is checked here.
"""

import base64
import re
from typing import Final

from clearstem.errors import InvalidRequest
from clearstem.job_filter import JobFilter
from clearstem.records import Item
from clearstem.table_keys import JOB, job_key

# As `JobTable` writes it: the time of submission and the id. No key has more than 1 KB.
_OWNER_SORT: Final = re.compile(r"JOB#[0-9T:.+-]{1,40}#(?P<job_id>[\w-]{1,64})", re.ASCII)
_SHOWN_CHARACTERS: Final = 100


def encoded(key: Item) -> str:
    """The cursor of the page that comes after a job, given that job's key in the index."""
    return base64.urlsafe_b64encode(key["owner_sort"]["S"].encode()).decode()


def decoded(cursor: str, *, owner: str, only: JobFilter) -> Item:
    """Where in the index of an owner's jobs a page begins.

    Parameters
    ----------
    only : JobFilter
        What is listed; a cursor of a list of other times may lie outside of it.

    Raises
    ------
    InvalidRequest
        The text is no cursor, or is not within the filter's times.
    """
    shown = cursor[:_SHOWN_CHARACTERS]
    try:
        sort = base64.urlsafe_b64decode(cursor.encode()).decode()
    except ValueError:
        sort = ""
    place = _OWNER_SORT.fullmatch(sort)
    if place is None:
        raise InvalidRequest(f"cursor {shown!r} is not one this API gave out")
    first, last = only.bounds
    if not first <= sort <= last:
        raise InvalidRequest(
            f"cursor {shown!r} is of a list of other times; "
            "it goes with the `since` and `until` that it was given out for"
        )
    return {
        "pk": {"S": job_key(place["job_id"])},
        "sk": {"S": JOB},
        "owner": {"S": owner},  # never from the cursor
        "owner_sort": {"S": sort},
    }
