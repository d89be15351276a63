"""What an owner uses and may use, as a document of clearstem's own."""

from datetime import datetime

from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from clearstem.limits import RateLimits
from clearstem.quotas import Quota, next_month
from clearstem.usage import Usage, month_at


class CountDocument(TypedDict):
    """What is used of a limit that counts; null: there is no limit."""

    used: int
    limit: int | None


class MinutesDocument(TypedDict):
    """The minutes of audio of this month, and when the next one begins."""

    used: float
    limit: float | None
    resets_at: str


class RateDocument(TypedDict):
    """How often one may call: in the long run, and at once."""

    limit: float
    burst: int


class UsageDocument(TypedDict):
    """An owner's limits and what is used of them."""

    owner: str
    month: str
    unfinished_jobs: CountDocument
    minutes_per_month: MinutesDocument
    stored_bytes: CountDocument
    requests_per_s: RateDocument | None


def usage_document(
    owner: str, quota: Quota, used: Usage, *, rates: RateLimits, at: datetime
) -> UsageDocument:
    """The document of one owner.

    Parameters
    ----------
    used : Usage
        Of the month of `at`.
    rates : RateLimits
        Those that the owner is under.
    """
    return {
        "owner": owner,
        "month": month_at(at),
        "unfinished_jobs": _count(used.unfinished, quota.unfinished_jobs),
        "minutes_per_month": {
            "used": round(used.audio_minutes, 3),
            "limit": quota.minutes_per_month or None,
            "resets_at": next_month(at).isoformat(),
        },
        "stored_bytes": _count(used.stored_bytes, quota.stored_bytes),
        "requests_per_s": {"limit": rates.per_s, "burst": rates.burst} if rates.per_s else None,
    }


def _count(used: int, limit: int) -> CountDocument:
    return {"used": used, "limit": limit or None}
