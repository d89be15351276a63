"""How much an owner may use at a time and in a month: counters and their limits, in the table.

Items: ``USAGE#<owner>`` / ``USAGE`` counts unfinished jobs and stored bytes,
``USAGE#<owner>`` / ``MINUTES#<month>`` the audio of a month, and
``OWNER#<owner>`` / ``QUOTA`` holds limits that differ from the deployment's.
The counters change in the transaction that changes a job's record, and that
transaction fails where a job that enters the queue would pass a limit: jobs
that are submitted side by side cannot pass it together. An upload that was
announced counts its bytes in the same way until a job counts them, or it ends
(`clearstem.uploads`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from clearstem.errors import (
    InvalidOption,
    MinutesUsedUp,
    QuotaUsedUp,
    StorageUsedUp,
    TooManyJobs,
)
from clearstem.jobs import Job
from clearstem.table_keys import MINUTES, QUOTA, USAGE, owner_key, usage_key
from clearstem.usage import MINUTE_MS, NOTHING, Usage, month_of, usage_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Long enough to look a year's bill up.
_MINUTES_LAST: Final = timedelta(days=400)
# When a job ends nobody knows; asking every half minute costs nobody anything.
_ASK_AGAIN_S: Final = 30


@dataclass(frozen=True, slots=True)
class Quota:
    """The limits of one owner; 0 is no limit.

    Attributes
    ----------
    unfinished_jobs : int
        Jobs that may wait or run at a time.
    minutes_per_month : float
        Of audio, by the header at submission and as decoded later. What no
        header tells is let in, and counts once it was decoded.
    stored_bytes : int
        Of recordings and tracks, and of uploads that may become recordings.
    requests_per_s : float or None
        In the long run; None: the deployment's.
    request_burst : int or None
        Requests at once, 1 or more; None: the deployment's.
    """

    unfinished_jobs: int = 0
    minutes_per_month: float = 0.0
    stored_bytes: int = 0
    requests_per_s: float | None = None
    request_burst: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 1 if name == "request_burst" else 0
            if value is not None and not least <= value < 2**63:
                raise InvalidOption(
                    f"{name} {value} is not {least} or more",
                    facts={"field": name, "value": str(value)},
                )

    @property
    def audio_ms(self) -> int:
        """The minutes in milliseconds."""
        return round(self.minutes_per_month * MINUTE_MS)


NO_LIMITS: Final = Quota()


@dataclass(frozen=True, slots=True)
class Quotas:
    """The table's counters and limits.

    Attributes
    ----------
    default : Quota
        Of owners who have none of their own.
    """

    client: "DynamoDBClient"
    table: str
    default: Quota = NO_LIMITS

    def of(self, owner: str) -> Quota:
        """An owner's limits: his own where there are any, else the deployment's."""
        item = self._get(owner, QUOTA)
        own = {f.name: item[f.name]["N"] for f in fields(Quota) if f.name in item}
        kinds: Mapping[str, Any] = {"minutes_per_month": float, "requests_per_s": float}
        return replace(
            self.default, **{name: kinds.get(name, int)(value) for name, value in own.items()}
        )

    def settle(self, owner: str, **limits: float | None) -> Quota:
        """Give an owner limits of his own; those that are None are the deployment's again.

        Raises
        ------
        InvalidOption
            A limit is below 0.
        """
        own = {name: value for name, value in limits.items() if value is not None}
        settled: Quota = replace(self.default, **own)  # type: ignore[arg-type] # checked there
        item: Any = _key(owner, QUOTA) | {name: {"N": str(value)} for name, value in own.items()}
        self.client.put_item(TableName=self.table, Item=item)
        return settled

    def used(self, owner: str, *, month: str) -> Usage:
        """What an owner uses now, and the audio of a month such as ``2026-11``."""
        return _used(self._get(owner, USAGE), self._get(owner, MINUTES + month))

    def parts(self, seen: Job | None, changed: Job | None, *, freed_bytes: int = 0) -> list[Any]:
        """What a change of a record means for the counters, as parts of its transaction.

        Parameters
        ----------
        seen, changed : Job or None
            Before and after; None where there is no record.
        freed_bytes : int
            What the job's upload counted for so far, and counts for no more.

        Raises
        ------
        MinutesUsedUp, StorageUsedUp
            The job would not fit if nothing else were there.
        """
        job = changed or seen
        if job is None:
            return []
        more = _more(seen, changed, freed_bytes=freed_bytes)
        quota = self.of(job.owner) if more.unfinished > 0 else None
        if quota is not None:
            quota = _asked(quota, more, freed_bytes=freed_bytes)
        if quota and changed is not None and _is_alone_too_much(more, quota):
            self.check(seen, changed, freed_bytes=freed_bytes)
        parts = []
        if more.unfinished or more.stored_bytes:
            parts.append(self._usage_part(job.owner, more, quota))
        # The audio of a job that is deleted has been worked on all the same.
        if changed is not None and (more.audio_ms or (quota and quota.audio_ms)):
            parts.append(self._minutes_part(changed, more, quota))
        return parts

    def check(self, seen: Job | None, job: Job, *, freed_bytes: int = 0) -> None:
        """Find out why a job may not enter the queue; nothing happens where it may.

        Raises
        ------
        TooManyJobs, MinutesUsedUp, StorageUsedUp
            The limit that it would pass, its value and when it is told to end.
        """
        more = _more(seen, job, freed_bytes=freed_bytes)
        quota = _asked(self.of(job.owner), more, freed_bytes=freed_bytes)
        if quota == NO_LIMITS:
            return
        used = self.used(job.owner, month=month_of(job))
        if quota.unfinished_jobs and used.unfinished >= quota.unfinished_jobs:
            raise _too_many_jobs(quota)
        if _passes(used.audio_ms, more.audio_ms, limit=quota.audio_ms):
            raise _minutes_used_up(quota, used, job)
        if _passes(used.stored_bytes, more.stored_bytes, limit=quota.stored_bytes):
            raise _storage_used_up(quota, used)

    def refusal(self, job: Job, *, freed_bytes: int = 0) -> TooManyJobs | QuotaUsedUp | None:
        """Why a new job would not be let in as things stand; None where it would.

        Parameters
        ----------
        freed_bytes : int
            What its upload counts for until then.
        """
        try:
            self.check(None, job, freed_bytes=freed_bytes)
        except (TooManyJobs, QuotaUsedUp) as exc:
            return exc
        return None

    def room_parts(self, owner: str, size_bytes: int) -> list[Any]:
        """What an upload of so many bytes means for the counters, as parts of its transaction.

        Parameters
        ----------
        size_bytes : int
            Below 0 where one counts for them no more.

        Raises
        ------
        StorageUsedUp
            It would not fit if nothing else were there.
        """
        if not size_bytes:
            return []
        quota = self.of(owner) if size_bytes > 0 else None
        if quota and _passes(0, size_bytes, limit=quota.stored_bytes):
            self.check_room(owner, size_bytes)
        stored = None if quota is None else Quota(stored_bytes=quota.stored_bytes)
        return [self._usage_part(owner, Usage(stored_bytes=size_bytes), stored)]

    def check_room(self, owner: str, size_bytes: int = 0) -> None:
        """Find out whether so many bytes more may be stored; nothing happens where they may.

        Parameters
        ----------
        size_bytes : int
            0 where it is not known yet: then there has to be room for anything at all.

        Raises
        ------
        StorageUsedUp
            They may not.
        """
        quota = self.of(owner)
        if not quota.stored_bytes:
            return
        used = _used(self._get(owner, USAGE), {})
        if _passes(used.stored_bytes, size_bytes, limit=quota.stored_bytes):
            raise _storage_used_up(quota, used)

    def _usage_part(self, owner: str, more: Usage, quota: Quota | None) -> Any:
        conditions, values = [], {":unfinished": more.unfinished, ":stored": more.stored_bytes}
        if quota and quota.unfinished_jobs:
            conditions.append("(attribute_not_exists(unfinished) OR unfinished < :jobs)")
            values[":jobs"] = quota.unfinished_jobs
        if quota and quota.stored_bytes:
            conditions.append("(attribute_not_exists(stored_bytes) OR stored_bytes < :bytes)")
            conditions.append("(attribute_not_exists(stored_bytes) OR stored_bytes <= :room)")
            values |= {
                ":bytes": quota.stored_bytes,
                ":room": quota.stored_bytes - more.stored_bytes,
            }
        add = "ADD unfinished :unfinished, stored_bytes :stored"
        return self._update(_key(owner, USAGE), add, conditions, values)

    def _minutes_part(self, job: Job, more: Usage, quota: Quota | None) -> Any:
        expiry = int((job.created_at + _MINUTES_LAST).timestamp())
        conditions, values = [], {":audio": more.audio_ms, ":ttl": expiry}
        if quota and quota.audio_ms:
            conditions.append("(attribute_not_exists(audio_ms) OR audio_ms < :limit)")
            conditions.append("(attribute_not_exists(audio_ms) OR audio_ms <= :room)")
            values |= {":limit": quota.audio_ms, ":room": quota.audio_ms - more.audio_ms}
        change = "ADD audio_ms :audio SET #ttl = :ttl"
        part = self._update(_key(job.owner, MINUTES + month_of(job)), change, conditions, values)
        part["Update"]["ExpressionAttributeNames"] = {"#ttl": "ttl"}
        return part

    def _update(
        self, key: Any, change: str, conditions: list[str], values: Mapping[str, int]
    ) -> Any:
        numbers = {name: {"N": str(value)} for name, value in values.items()}
        update = {
            "TableName": self.table,
            "Key": key,
            "UpdateExpression": change,
            "ExpressionAttributeValues": numbers,
        }
        if conditions:
            update["ConditionExpression"] = " AND ".join(conditions)
        return {"Update": update}

    def _get(self, owner: str, sort: str) -> Any:
        answer = self.client.get_item(
            TableName=self.table, Key=_key(owner, sort), ConsistentRead=True
        )
        return answer.get("Item", {})


def _used(now: Any, minutes: Any) -> Usage:
    zero = {"N": "0"}
    return Usage(
        unfinished=int(now.get("unfinished", zero)["N"]),
        stored_bytes=int(now.get("stored_bytes", zero)["N"]),
        audio_ms=int(minutes.get("audio_ms", zero)["N"]),
    )


def _usage(job: Job | None) -> Usage:
    return NOTHING if job is None else usage_of(job)


def _more(seen: Job | None, changed: Job | None, *, freed_bytes: int) -> Usage:
    return _usage(changed) - _usage(seen) - Usage(stored_bytes=freed_bytes)


def _asked(quota: Quota, more: Usage, *, freed_bytes: int) -> Quota:
    """The limits that a job has to keep: a recording that was counted before needs no room."""
    counted = freed_bytes > 0 and more.stored_bytes <= 0
    return replace(quota, stored_bytes=0) if counted else quota


def _key(owner: str, sort: str) -> Any:
    partition = owner_key(owner) if sort == QUOTA else usage_key(owner)
    return {"pk": {"S": partition}, "sk": {"S": sort}}


def _passes(used: int, more: int, *, limit: int) -> bool:
    """Whether there is no room: for nothing at all, where more is not known to be any."""
    return limit > 0 and (used >= limit or used + more > limit)


def _is_alone_too_much(more: Usage, quota: Quota) -> bool:
    audio = _passes(0, more.audio_ms, limit=quota.audio_ms)
    return audio or _passes(0, more.stored_bytes, limit=quota.stored_bytes)


def _too_many_jobs(quota: Quota) -> TooManyJobs:
    return TooManyJobs(
        f"the limit of unfinished jobs, {quota.unfinished_jobs}, is reached; "
        "ask again when one has ended",
        retry_after_s=_ASK_AGAIN_S,
        facts={
            "limit": "unfinished_jobs",
            "value": quota.unfinished_jobs,
            "used": quota.unfinished_jobs,
            "resets_at": None,
        },
    )


def _minutes_used_up(quota: Quota, used: Usage, job: Job) -> MinutesUsedUp:
    ends = next_month(job.created_at)
    return MinutesUsedUp(
        f"{used.audio_minutes:.1f} of {quota.minutes_per_month:g} minutes of audio are "
        f"used this month; the recording does not fit in; the next month begins {ends:%F} (UTC)",
        facts={
            "limit": "minutes_per_month",
            "value": quota.minutes_per_month,
            "used": round(used.audio_minutes, 3),
            "resets_at": ends.isoformat(),
        },
    )


def _storage_used_up(quota: Quota, used: Usage) -> StorageUsedUp:
    return StorageUsedUp(
        f"{used.stored_bytes} of {quota.stored_bytes} bytes are used, and the recording does not "
        "fit in; delete jobs, or uploads that you make none of, to make room",
        facts={
            "limit": "stored_bytes",
            "value": quota.stored_bytes,
            "used": used.stored_bytes,
            "resets_at": None,
        },
    )


def next_month(moment: datetime) -> datetime:
    """When the month after that of a moment begins, in UTC."""
    first = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)
