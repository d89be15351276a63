"""How often an owner may call: a token bucket for each, in the table.

Item: ``RATE#<owner>`` / ``RATE``. It is kept as the generic cell rate algorithm
keeps it (ITU-T I.371, annex A): one number, the time at which the bucket will
be full again. A call moves it on by one token's time and is refused where that
would pass the time that all tokens take. So a call is one conditional write,
or two where the bucket is in use; nothing is read first, and writers that race
can neither lose a token nor take one twice.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from clearstem.errors import TooManyRequests
from clearstem.quotas import Quota, Quotas
from clearstem.table_keys import Partition

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# The bucket is full: whoever calls now starts it anew.
_FULL: Final = "attribute_not_exists(full_at) OR full_at <= :now"
# It is in use and has a token.
_HAS_TOKEN: Final = "full_at > :now AND full_at <= :latest"  # noqa: S105 - no secret

_MICROSECONDS: Final = 1_000_000
# An owner's own rate is asked for so often: what an operator settles holds a minute later.
_KNOWN_S: Final = 60.0
# Of owners in one process; a full book is begun anew.
_MOST_KNOWN: Final = 10_000
# What a full bucket's item is kept beyond: more than writers' clocks disagree by.
_KEPT: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a caller has left after a call, or was refused for.

    Attributes
    ----------
    quota, window_s : int
        Tokens of a full bucket, and the seconds in which an empty one fills.
    remaining : int
        Tokens that are left.
    reset_s : int
        Seconds after which all are there again.
    wait_s : int
        0: the call may go on; else the seconds after which the next one may.
    """

    quota: int
    window_s: int
    remaining: int
    reset_s: int
    wait_s: int


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The owners' token buckets.

    Attributes
    ----------
    per_s : float
        Tokens that come back per second; 0 sets no limit.
    burst : int
        Tokens of a full bucket, 1 or more.
    """

    client: "DynamoDBClient"
    table: str
    per_s: float
    burst: int

    def of(self, quota: Quota) -> "RateLimits":
        """The limits that an owner with such a quota is under, these being everybody's."""
        if quota.requests_per_s is None and quota.request_burst is None:
            return self
        return replace(
            self,
            per_s=self.per_s if quota.requests_per_s is None else quota.requests_per_s,
            burst=self.burst if quota.request_burst is None else quota.request_burst,
        )

    def refusal(self, allowance: Allowance, *, at: datetime) -> TooManyRequests:
        """The error for a call that found no token."""
        return TooManyRequests(
            f"more than {self.per_s:g} requests a second; try again in {allowance.wait_s} s",
            retry_after_s=allowance.wait_s,
            facts={
                "limit": "requests_per_s",
                "value": self.per_s,
                "resets_at": (at + timedelta(seconds=allowance.wait_s)).isoformat(),
            },
        )

    def count(self, owner: str, *, at: datetime) -> Allowance | None:
        """Take a token if there is one, and tell what is left; None where there is no limit."""
        if self.per_s <= 0:
            return None
        token_us = math.ceil(_MICROSECONDS / self.per_s)
        now = round(at.timestamp() * _MICROSECONDS)
        latest = now + (self.burst - 1) * token_us
        expiry = int((at + _KEPT).timestamp()) + math.ceil(self.burst / self.per_s)
        start = {":next": now + token_us, ":now": now, ":ttl": expiry}
        taken, seen = self._moved(owner, "SET full_at = :next, #ttl = :ttl", _FULL, start)
        if not taken and seen <= latest:
            further = {":token": token_us, ":now": now, ":latest": latest, ":ttl": expiry}
            move = "SET full_at = full_at + :token, #ttl = :ttl"
            taken, seen = self._moved(owner, move, _HAS_TOKEN, further)
        wait_s = 0 if taken else max(1, math.ceil((seen - latest) / _MICROSECONDS))
        return self._allowance(seen - now, token_us=token_us, wait_s=wait_s)

    def _allowance(self, filling_us: int, *, token_us: int, wait_s: int) -> Allowance:
        """What is left of a bucket that is full again after so many microseconds."""
        used = math.ceil(filling_us / token_us)
        return Allowance(
            quota=self.burst,
            window_s=math.ceil(self.burst * token_us / _MICROSECONDS),
            remaining=0 if wait_s else max(0, self.burst - used),
            reset_s=max(0, math.ceil(filling_us / _MICROSECONDS)),
            wait_s=wait_s,
        )

    def _moved(
        self, owner: str, update: str, condition: str, values: dict[str, int]
    ) -> tuple[bool, int]:
        """Whether the bucket was changed, and when it is full again as it stands now."""
        numbers: Any = {name: {"N": str(value)} for name, value in values.items()}
        try:
            answer = self.client.update_item(
                TableName=self.table,
                Key={"pk": {"S": f"{Partition.RATE}{owner}"}, "sk": {"S": "RATE"}},
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames={"#ttl": "ttl"},
                ExpressionAttributeValues=numbers,
                ReturnValues="UPDATED_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            item: Any = exc.response.get("Item", {})
            # Absent: it expired between two writes. Then it is full, and whoever
            # is refused for that asks again a second later.
            return False, int(item["full_at"]["N"]) if "full_at" in item else 0
        return True, int(answer["Attributes"]["full_at"]["N"])


@dataclass(slots=True)
class OwnRates:
    """The rates of owners who have some of their own, read once a minute and not with each call.

    Attributes
    ----------
    monotonic : callable
        Seconds that only go forward.
    """

    quotas: Quotas
    monotonic: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, Quota]] = field(default_factory=dict)

    def known(self, limits: RateLimits, owner: str) -> RateLimits | None:
        """The limits that an owner is under, given everybody's; None: `look_up` has to be asked."""
        until, quota = self._known.get(owner, (-math.inf, None))
        return None if quota is None or until < self.monotonic() else limits.of(quota)

    def look_up(self, limits: RateLimits, owner: str) -> RateLimits:
        """The same, read from the table."""
        quota = self.quotas.of(owner)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[owner] = (self.monotonic() + _KNOWN_S, quota)
        return limits.of(quota)
