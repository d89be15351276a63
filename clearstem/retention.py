"""What is left of jobs, what is still in use, and what is due to go: in the table.

A recording may be the source of several jobs; each leaves a reference, and the
last one takes the recording with it. Whatever has to be removed at some time is
an item in the sparse index of open things, in a partition of its own and with
the time in the place of the last change: one query finds what is due.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from clearstem.cursors import decoded, encoded
from clearstem.facts import Location
from clearstem.jobs import Job, JobState
from clearstem.quotas import Quotas
from clearstem.records import Item, from_item, to_item
from clearstem.table_keys import (
    AFTERMATH,
    EVENT,
    EXPIRY,
    FADING,
    JOB,
    RETENTION,
    TOMBSTONE,
    Partition,
    job_key,
    owner_key,
    source_key,
)
from clearstem.terms import Terms
from clearstem.transactions import transacted

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_DUE: Final = "DUE"
# After that the buckets' rules take files away, on AWS (`infra.storage`).
FILES_LAST: Final = timedelta(days=30)
# As long as Step Functions keeps the names of executions, and nobody asks later.
_TOMBSTONE_LASTS: Final = timedelta(days=90)
# Messages of webhooks are on their way for most of a day where their receiver is down.
ON_THEIR_WAY: Final = timedelta(minutes=15)
_BATCH: Final = 25  # BatchWriteItem takes that many
# Who deletes a job must have seen its last state: it may be retried meanwhile.
_UNCHANGED: Final = "version = :seen"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was deleted of a job, and when.

    Attributes
    ----------
    state : JobState
        How the job had ended.
    files : int
        Objects taken from the buckets: recording, artifacts and tracks, a replaced
        version of one counting as one more.
    size_bytes : int
        Of all of them.
    source_kept : bool
        Whether the recording stays, since other jobs work on it.
    record_kept : bool
        Whether only the files were deleted.
    audio_ms : int
        What the job counts for in the month of its submission, in milliseconds.
    deliveries : int
        Records of webhooks' messages that were removed, the job's manifests in them.
    deliveries_pending : int
        Of messages that were still on their way: removed as well when they have
        arrived, or were given up.
    """

    job_id: str
    owner: str
    recipe_name: str
    state: JobState
    created_at: datetime
    deleted_at: datetime
    files: int
    size_bytes: int
    source_kept: bool
    record_kept: bool
    audio_ms: int = 0
    deliveries: int = 0
    deliveries_pending: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """A job to be looked at when its time has come.

    Attributes
    ----------
    updated_at : datetime
        When that is; named for the index it stands in.
    source, destination : Location
        Where the job's recording and its tracks lie, or lay.
    erased : bool
        Whether they were deleted for the last time: what lies there since is somebody else's.
    created_at : datetime or None
        When the job was submitted; None where an earlier release noted the job.
    """

    job_id: str
    updated_at: datetime
    source: Location
    destination: Location
    erased: bool = False
    created_at: datetime | None = None


def source_reference(job: Job) -> Item:
    """The item by which a recording is known to be in use."""
    return {"pk": {"S": source_key(job.source.location)}, "sk": {"S": job_key(job.job_id)}}


def due_item(job: Job, *, sort: str, at: datetime) -> Item:
    """The item by which a job is found when `at` has come."""
    return to_item(_due(job, at=at), pk=job_key(job.job_id), sk=sort, open=_DUE)


@dataclass(frozen=True, slots=True)
class RetentionTable:
    """The table's tombstones, references and dues."""

    client: "DynamoDBClient"
    table: str

    def owners_hours(self, owner: str) -> float | None:
        """How long an owner's jobs are kept where they say nothing of it; None: for ever."""
        key = _key(owner_key(owner), RETENTION)
        # Consistent: what an owner has just settled holds for his next job.
        answer = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True)
        kept = answer.get("Item", {}).get("kept_hours")
        return None if kept is None else float(kept["N"])

    def keep(self, owner: str, *, hours: float | None) -> None:
        """Settle how long an owner's jobs to come are kept; None keeps them for ever.

        Raises
        ------
        InvalidOption
            The hours are out of range.
        """
        hours = Terms(kept_hours=hours).kept_hours
        key = _key(owner_key(owner), RETENTION)
        if hours is None:
            self.client.delete_item(TableName=self.table, Key=key)
        else:
            item: Any = {**key, "kept_hours": {"N": repr(float(hours))}}
            self.client.put_item(TableName=self.table, Item=item)

    def bury(self, job: Job, receipt: Receipt) -> bool:
        """Put a receipt in the place of a job's record; False where that has changed."""
        expiry = int((receipt.deleted_at + _TOMBSTONE_LASTS).timestamp())
        sort = f"{TOMBSTONE}#{receipt.created_at.isoformat()}#{job.job_id}"
        keys = {"pk": job_key(job.job_id), "sk": TOMBSTONE, "owner_sort": sort}
        record: Any = {
            "TableName": self.table,
            "Key": _key(job_key(job.job_id), JOB),
            "ConditionExpression": _UNCHANGED,
            "ExpressionAttributeValues": {":seen": {"N": str(job.version)}},
        }
        stone: Any = {"TableName": self.table, "Item": to_item(receipt, **keys, ttl=expiry)}
        used = Quotas(self.client, self.table).parts(job, None)
        return transacted(self.client, [{"Delete": record}, {"Put": stone}, *used])

    def receipt(self, job_id: str) -> Receipt | None:
        """What tells of a job that was deleted; None where there is no such."""
        answer = self.client.get_item(
            TableName=self.table, Key=_key(job_key(job_id), TOMBSTONE), ConsistentRead=True
        )
        return from_item(answer["Item"], Receipt) if "Item" in answer else None

    def receipts(
        self, owner: str, *, limit: int, cursor: str | None = None
    ) -> tuple[tuple[Receipt, ...], str | None]:
        """An owner's deleted jobs, the last submitted first, and where the next page begins.

        Parameters
        ----------
        limit : int
            1 to 100.
        cursor : str or None
            Of the page before.

        Raises
        ------
        InvalidRequest
            The cursor is none.
        """
        start: Any = {}
        if cursor:
            start["ExclusiveStartKey"] = decoded(cursor, owner=owner, kind=TOMBSTONE)
        answer = self.client.query(
            TableName=self.table,
            IndexName="by_owner",
            KeyConditionExpression="#owner = :owner AND begins_with(owner_sort, :kind)",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":owner": {"S": owner}, ":kind": {"S": f"{TOMBSTONE}#"}},
            ScanIndexForward=False,
            Limit=limit,
            **start,
        )
        ids = (item["pk"]["S"].removeprefix(Partition.JOB) for item in answer["Items"])
        found = (self.receipt(job_id) for job_id in ids)
        more = "LastEvaluatedKey" in answer
        # The index is behind: of a tombstone that the table has forgotten it may still tell.
        receipts = tuple(receipt for receipt in found if receipt is not None)
        return receipts, encoded(answer["Items"][-1]) if more else None

    def forget(self, due: Due) -> None:
        """Delete the log of a job whose record is gone, and what it was expected by."""
        partition = job_key(due.job_id)
        keys = [_key(partition, sort) for sort in self._sorts(partition, beginning=EVENT)]
        keys += [_key(partition, sort) for sort in (EXPIRY, FADING)]
        for first in range(0, len(keys), _BATCH):
            asked: Any = {
                self.table: [
                    {"DeleteRequest": {"Key": key}} for key in keys[first : first + _BATCH]
                ]
            }
            while asked:
                asked = self.client.batch_write_item(RequestItems=asked).get("UnprocessedItems")

    def release(self, due: Due) -> bool:
        """Give up a job's claim to its recording; whether others have one."""
        partition = source_key(due.source)
        self.client.delete_item(TableName=self.table, Key=_key(partition, job_key(due.job_id)))
        return next(self._sorts(partition, beginning=Partition.JOB), None) is not None

    def put_off(self, due: Due, *, sort: str, at: datetime) -> Due:
        """Have a job looked at later than it was due; when that is."""
        later = replace(due, updated_at=at)
        item = to_item(later, pk=job_key(due.job_id), sk=sort, open=_DUE)
        self.client.put_item(TableName=self.table, Item=item)
        return later

    def remind(self, job: Job, *, at: datetime) -> Due:
        """Have a job looked at once more after its files were deleted."""
        item = due_item(job, sort=AFTERMATH, at=at)
        self.client.put_item(TableName=self.table, Item=item)
        return from_item(item, Due)

    def look_after(self, job: Job, *, at: datetime) -> None:
        """Have a job looked at again if it was deleted: something is told of it even now.

        Where its files are still to be looked at it is expected sooner, and that stays.
        """
        if self.receipt(job.job_id) is None:
            return
        due = replace(_due(job, at=at), erased=True)
        try:
            self.client.put_item(
                TableName=self.table,
                Item=to_item(due, pk=job_key(job.job_id), sk=AFTERMATH, open=_DUE),
                ConditionExpression="attribute_not_exists(pk) OR erased = :erased",
                ExpressionAttributeValues={":erased": {"BOOL": True}},
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return

    def due(self, *, before: datetime) -> Iterator[tuple[str, Due]]:
        """What is due, with its sort key, the oldest first."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            IndexName="by_open",
            KeyConditionExpression="#open = :due AND updated_at < :before",
            ExpressionAttributeNames={"#open": "open"},
            ExpressionAttributeValues={
                ":due": {"S": _DUE},
                ":before": {"S": before.isoformat()},
            },
        )
        for page in pages:
            for found in page["Items"]:
                answer = self.client.get_item(
                    TableName=self.table, Key={"pk": found["pk"], "sk": found["sk"]}
                )
                due = from_item(answer["Item"], Due) if "Item" in answer else None
                # The index is behind the item it names, which may have been put off.
                if due is not None and due.updated_at < before:
                    yield found["sk"]["S"], due

    def settle(self, due: Due, *, sort: str) -> None:
        """Take a due off the list, unless it was put off meanwhile."""
        try:
            self.client.delete_item(
                TableName=self.table,
                Key=_key(job_key(due.job_id), sort),
                ConditionExpression="updated_at = :seen",
                ExpressionAttributeValues={":seen": {"S": due.updated_at.isoformat()}},
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return

    def close(self, due: Due, *, beside: Sequence[Item]) -> None:
        """Look after a deleted job no more, and delete items with that; nothing if put off.

        Parameters
        ----------
        beside : sequence of Item
            Keys of what is of no use without it, 99 at most.
        """
        last: Any = {
            "TableName": self.table,
            "Key": _key(job_key(due.job_id), AFTERMATH),
            "ConditionExpression": "updated_at = :seen",
            "ExpressionAttributeValues": {":seen": {"S": due.updated_at.isoformat()}},
        }
        others: Any = [{"Delete": {"TableName": self.table, "Key": key}} for key in beside]
        transacted(self.client, [{"Delete": last}, *others])

    def _sorts(self, partition: str, *, beginning: str) -> Iterator[str]:
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="pk = :partition AND begins_with(sk, :beginning)",
            ExpressionAttributeValues={
                ":partition": {"S": partition},
                ":beginning": {"S": beginning},
            },
            ProjectionExpression="sk",
            ConsistentRead=True,
        )
        return (item["sk"]["S"] for page in pages for item in page["Items"])


def _due(job: Job, *, at: datetime) -> Due:
    where = job.source.location, job.destination
    return Due(job.job_id, at, *where, created_at=job.created_at)


def _key(partition: str, sort: str) -> Item:
    return {"pk": {"S": partition}, "sk": {"S": sort}}
