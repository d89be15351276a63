"""Deliveries of webhooks: what is to be sent where, what came of it, and when it is tried again.

A delivery is one event on its way to one endpoint. Its record is the truth; a
message in the queue only says that its time has come. Messages may come twice,
late or, where they are lost, be made again by the sweep: an attempt whose number
the record is past already is dropped. So each event arrives at least once, and
under one id.

Item: ``DELIVERY#<webhook>`` / ``<event>``; listed by the ``by_owner`` index,
and in the ``by_open`` index while it is pending. ``JOB#<id>`` / ``TOLD#<webhook>``
says that the job has deliveries there, by which its deletion finds them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from clearstem.cursors import encoded, foreign, sort_of
from clearstem.errors import DeliveryNotFound, InvalidRequest
from clearstem.job_events import EventKind
from clearstem.records import Item, from_item, to_item
from clearstem.table_keys import TOLD, Partition, job_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Seconds before each attempt, after the one before it: the schedule that the
# Standard Webhooks specification recommends, to its seventh attempt (17.6 h).
SCHEDULE_S: Final = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0)
# The longest that a receiver may have us wait by Retry-After.
LONGEST_WAIT_S: Final = 86_400.0
LISTABLE: Final = 100
# Of a sort key; DynamoDB refuses longer ones in words of its own.
_SORT_BYTES: Final = 1024
_PENDING: Final = "DELIVERY"
_LOGGED: Final = timedelta(days=30)
# Attempts that the record keeps: the last round of them, and some of the one before.
_TRIES_KEPT: Final = 10
_NEW: Final = "attribute_not_exists(pk)"
# It is over, and nobody has set it on its way again.
_OVER: Final = "attempts = :seen AND #state <> :pending"
# Nobody has told of this attempt, or of a later one.
_NOT_TOLD: Final = "attempts = :seen"


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    # Every attempt of the schedule failed, or the endpoint was gone.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt.

    Attributes
    ----------
    status : int or None
        What was answered; None: nothing was.
    error : str or None
        What was wrong with it, in words; None: it arrived.
    """

    at: datetime
    duration_s: float
    status: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one endpoint.

    Attributes
    ----------
    body : str
        What is sent, the same at each attempt.
    attempts : int
        Made so far.
    round_began : int
        `attempts` when it was last set on its way: at first, or by its owner's wish.
    updated_at : datetime
        When it is due, while it is pending; named for the index it stands in.
    """

    event_id: str
    webhook_id: str
    owner: str
    job_id: str
    kind: EventKind
    body: str
    created_at: datetime
    updated_at: datetime
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    round_began: int = 0
    tries: tuple[Try, ...] = ()

    @property
    def number(self) -> int:
        """The event's place in its job's log, in which its id ends."""
        return int(self.event_id.rpartition("_")[2])

    def told(self, made: Try, *, wait_s: float, schedule_s: Sequence[float]) -> "Delivery":
        """The delivery after an attempt: delivered, due again, or given up.

        Parameters
        ----------
        wait_s : float
            What the receiver asks for by Retry-After; 0 where it asks for nothing.
        """
        attempts = self.attempts + 1
        tried = replace(self, attempts=attempts, tries=(*self.tries, made)[-_TRIES_KEPT:])
        done = attempts - self.round_began
        if made.error is None:
            return replace(tried, state=DeliveryState.DELIVERED, updated_at=made.at)
        if done >= len(schedule_s):
            return replace(tried, state=DeliveryState.FAILED, updated_at=made.at)
        delay_s = max(schedule_s[done], min(wait_s, LONGEST_WAIT_S))
        return replace(tried, updated_at=made.at + timedelta(seconds=delay_s))

    def again(self, *, at: datetime) -> "Delivery":
        """The delivery set on its way anew, with the whole schedule before it."""
        return replace(self, state=DeliveryState.PENDING, round_began=self.attempts, updated_at=at)


def event_ids_of(job_id: str) -> str:
    """What the ids of a job's events begin with; the events' numbers come behind it."""
    return f"evt_{job_id}_"


@dataclass(frozen=True, slots=True)
class Cleared:
    """What became of a deleted job's deliveries: how many were removed, and still go on."""

    removed: int = 0
    pending: int = 0

    def then(self, later: "Cleared") -> "Cleared":
        """Both turns together: what was on its way in the first one is seen by the second."""
        return Cleared(self.removed + later.removed, later.pending)


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Some deliveries, newest first, and where the next page begins (None at the end)."""

    deliveries: tuple[Delivery, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class DeliveryTable:
    """The table's deliveries: the log that an owner sees."""

    client: "DynamoDBClient"
    table: str

    def add(self, delivery: Delivery) -> Delivery:
        """Store a new delivery; what is stored already stays, and is the answer."""
        # Before it, so that whoever deletes the job finds what there is.
        self.client.put_item(TableName=self.table, Item=_reference(delivery))
        try:
            self._put(delivery, condition=_NEW)
        except self.client.exceptions.ConditionalCheckFailedException:
            return self.get(delivery.event_id, webhook_id=delivery.webhook_id)
        return delivery

    def get(self, event_id: str, *, webhook_id: str) -> Delivery:
        """A delivery as it is now; `DeliveryNotFound` if there is none."""
        key = _key(webhook_id, event_id)
        answer = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True)
        if "Item" not in answer:
            raise DeliveryNotFound(f"no event {event_id[:100]} was sent to this webhook")
        return from_item(answer["Item"], Delivery)

    def replace(self, seen: Delivery, changed: Delivery) -> bool:
        """Store a change; False where the attempt was told of by somebody else before."""
        try:
            self._put(changed, condition=_NOT_TOLD, seen=seen.attempts)
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def page(
        self, webhook_id: str, *, owner: str, limit: int, cursor: str | None = None
    ) -> DeliveryPage:
        """Deliveries to an endpoint, newest first.

        Raises
        ------
        InvalidRequest
            The limit is not 1 to 100, or the cursor is none that was given out.
        """
        if not 1 <= limit <= LISTABLE:
            raise InvalidRequest(f"limit {limit} is outside 1 to {LISTABLE}")
        start: Any = {}
        if cursor:
            start = {"ExclusiveStartKey": _decoded(cursor, owner=owner, webhook_id=webhook_id)}
        answer = self.client.query(
            TableName=self.table,
            IndexName="by_owner",
            KeyConditionExpression="#owner = :owner AND begins_with(owner_sort, :sort)",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={
                ":owner": {"S": owner},
                ":sort": {"S": f"DELIVERY#{webhook_id}#"},
            },
            ScanIndexForward=False,
            Limit=limit,
            **start,
        )
        found = [self._found(item["pk"]["S"], item["sk"]["S"]) for item in answer["Items"]]
        last = answer.get("LastEvaluatedKey")
        return DeliveryPage(
            tuple(delivery for delivery in found if delivery is not None),
            cursor=encoded(last) if last else None,
        )

    def overdue(self, *, before: datetime) -> Iterator[Delivery]:
        """Pending deliveries whose time came before that, the oldest first."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            IndexName="by_open",
            KeyConditionExpression="#open = :pending AND updated_at < :before",
            ExpressionAttributeNames={"#open": "open"},
            ExpressionAttributeValues={
                ":pending": {"S": _PENDING},
                ":before": {"S": before.isoformat()},
            },
        )
        for page in pages:
            for item in page["Items"]:
                delivery = self._found(item["pk"]["S"], item["sk"]["S"])
                # The index is behind the item it names.
                if delivery is not None and delivery.state is DeliveryState.PENDING:
                    yield delivery

    def clear(self, job_id: str) -> Cleared:
        """Remove a deleted job's deliveries but for those that are on their way.

        Their receivers are told to the end, and what they are told of was true.
        Called again when they are over, it removes them as well.
        """
        cleared = Cleared()
        for webhook_id in self._told(job_id):
            for delivery in self._of_job(job_id, webhook_id=webhook_id):
                if self._remove(delivery):
                    cleared = replace(cleared, removed=cleared.removed + 1)
                else:
                    cleared = replace(cleared, pending=cleared.pending + 1)
        return cleared

    def references(self, job_id: str) -> list[Item]:
        """The keys of what says which webhooks a job's events went to."""
        return [_reference_key(job_id, webhook_id) for webhook_id in self._told(job_id)]

    def _told(self, job_id: str) -> list[str]:
        items = self._query(job_key(job_id), beginning=TOLD)
        return [item["sk"]["S"].removeprefix(TOLD) for item in items]

    def _of_job(self, job_id: str, *, webhook_id: str) -> Iterator[Delivery]:
        partition = _key(webhook_id, "")["pk"]["S"]
        for item in self._query(partition, beginning=event_ids_of(job_id)):
            yield from_item(item, Delivery)

    def _query(self, partition: str, *, beginning: str) -> Iterator[Item]:
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="pk = :partition AND begins_with(sk, :beginning)",
            ExpressionAttributeValues={
                ":partition": {"S": partition},
                ":beginning": {"S": beginning},
            },
            ConsistentRead=True,
        )
        return (item for page in pages for item in page["Items"])

    def _remove(self, seen: Delivery) -> bool:
        """Remove a delivery that is over; False where it is not, or not any more."""
        try:
            self.client.delete_item(
                TableName=self.table,
                Key=_key(seen.webhook_id, seen.event_id),
                ConditionExpression=_OVER,
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues={
                    ":seen": {"N": str(seen.attempts)},
                    ":pending": {"S": DeliveryState.PENDING.value},
                },
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _found(self, pk: str, sk: str) -> Delivery | None:
        key: Item = {"pk": {"S": pk}, "sk": {"S": sk}}
        answer = self.client.get_item(TableName=self.table, Key=key)
        return from_item(answer["Item"], Delivery) if "Item" in answer else None

    def _put(self, delivery: Delivery, *, condition: str, seen: int | None = None) -> None:
        values: Any = {} if seen is None else {":seen": {"N": str(seen)}}
        options: Any = {"ExpressionAttributeValues": values} if values else {}
        self.client.put_item(
            TableName=self.table, Item=_item(delivery), ConditionExpression=condition, **options
        )


def _item(delivery: Delivery) -> Item:
    # Events of one change have one time: their numbers, as text that sorts as numbers do, follow.
    place = f"{delivery.created_at.isoformat()}#{delivery.number:010d}#{delivery.event_id}"
    keys: dict[str, str | int] = {
        "owner_sort": f"DELIVERY#{delivery.webhook_id}#{place}",
        "ttl": _expiry(delivery),
    }
    pending = {"open": _PENDING} if delivery.state is DeliveryState.PENDING else {}
    return to_item(delivery, **keys, **pending) | _key(delivery.webhook_id, delivery.event_id)


def _expiry(delivery: Delivery) -> int:
    return int((delivery.created_at + _LOGGED).timestamp())


def _reference(delivery: Delivery) -> Item:
    key = _reference_key(delivery.job_id, delivery.webhook_id)
    return {**key, "ttl": {"N": str(_expiry(delivery))}}


def _reference_key(job_id: str, webhook_id: str) -> Item:
    return {"pk": {"S": job_key(job_id)}, "sk": {"S": TOLD + webhook_id}}


def _key(webhook_id: str, event_id: str) -> Item:
    return {"pk": {"S": f"{Partition.DELIVERY}{webhook_id}"}, "sk": {"S": event_id}}


def _decoded(cursor: str, *, owner: str, webhook_id: str) -> Item:
    sort = sort_of(cursor)
    kind, _, rest = sort.partition("#")
    named, _, place = rest.partition("#")
    event_id = place.partition("#")[2].rpartition("#")[2]
    fits = len(sort.encode()) <= _SORT_BYTES
    if kind != "DELIVERY" or named != webhook_id or not event_id or not fits:
        raise foreign(cursor)
    return {
        **_key(webhook_id, event_id),
        "owner": {"S": owner},  # never from the cursor: it is the caller's to forge
        "owner_sort": {"S": sort},
    }
