"""Jobs in DynamoDB: conditional writes, history, queue position.

The record holds the whole `Job`. A change reads it, asks the pure transition,
and writes the answer back on condition that nobody wrote in between; whoever
lost the race reads again. So the transitions of `jobs` are the only rules, and
late, repeated or reordered events meet them like any other.

Keys: ``JOB#<id>`` / ``JOB`` is the record, ``JOB#<id>`` / ``EVENT#<number>`` an
entry of its log, ``QUEUE#<recipe>`` / ``QUEUE`` the counters its place in the
queue is told from. The entries that a change makes are written in the change's
own transaction (`clearstem.job_events`), so the log has neither gap nor double.
"""

import base64
import random
import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from clearstem.errors import Contention, InvalidRequest, JobExists, JobNotFound
from clearstem.job_events import JobEvent, logged
from clearstem.jobs import Job, JobState
from clearstem.records import Item, from_item, to_item
from clearstem.retention import due_item, source_reference
from clearstem.table_keys import EXPIRY, JOB, event_sort, job_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Transition = Callable[[Job], Job]

# Nothing of that key is there yet: a second submission of one id is refused.
_NEW: Final = "attribute_not_exists(pk)"
# Nobody wrote since the record was read: what was decided on is still true.
_UNCHANGED: Final = "version = :seen"

# A record has three writers at the most (stage, canceller, settler), each
# writing at most every second; eight lost races in a row mean a fault.
_ATTEMPTS: Final = 8

# Why DynamoDB cancels a transaction whose writer lost a race; any other reason
# is a fault, and met again at every attempt.
_RACES: Final = frozenset({"None", "ConditionalCheckFailed", "TransactionConflict"})

# An owner's jobs by time: see `_item`.
_OWNER_SORT: Final = re.compile(r"JOB#[^#]+#(?P<job_id>[^#]+)")
LISTABLE: Final = 100  # BatchGetItem takes that many keys


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, newest first, and where the next page begins (None at the end)."""

    jobs: tuple[Job, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class JobTable:
    """The table's jobs; methods raise what botocore raises when AWS does not answer."""

    client: "DynamoDBClient"
    table: str

    def create(self, job: Job) -> Job:
        """Store a new job with the next ticket of its queue.

        Raises
        ------
        JobExists
            A job of this id is stored already; it is left as it is.
        """
        ticketed, events = logged(None, self._ticketed(job))
        put: Any = {"Item": _item(ticketed), "ConditionExpression": _NEW}
        beside = [*self._entries(job.job_id, events), self._put(Item=source_reference(job))]
        for attempt in range(_ATTEMPTS):
            if self._transacted([self._put(**put), *beside, *self._expiry(None, job)]):
                return ticketed
            if self.get_many([job.job_id]):
                # The ticket was taken for nothing; let it leave the queue at once.
                self._count(job.recipe_name, counter="departed")
                raise JobExists(f"Job {job.job_id} exists already")
            _back_off(attempt)
        raise Contention(f"job {job.job_id} was written to under {_ATTEMPTS} attempts to make it")

    def get(self, job_id: str) -> Job:
        """The job as it is now (a consistent read); `JobNotFound` if there is none."""
        answer = self.client.get_item(TableName=self.table, Key=_key(job_id), ConsistentRead=True)
        if "Item" not in answer:
            raise JobNotFound("Job not found")
        return from_item(answer["Item"], Job)

    def get_many(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Up to 100 jobs as they are now, by id, in one read; what is not there is left out."""
        return {job.job_id: job for job in self._many([_key(job_id) for job_id in job_ids])}

    def change(self, job_id: str, transition: Transition) -> Job:
        """Apply a transition to the stored job and return what is stored then.

        Nothing is written where the transition returns its argument. A job that
        enters the queue again gets a new ticket, and so the last place.

        Raises
        ------
        JobNotFound, IllegalTransition
            From the read, from the transition.
        Contention
            Another writer won every one of the attempts.
        """
        for attempt in range(_ATTEMPTS):
            seen = self.get(job_id)
            changed = transition(seen)
            if changed == seen:
                return seen
            stored = self._replaced(seen, replace(changed, version=seen.version + 1))
            if stored is not None:
                return stored
            _back_off(attempt)
        raise Contention(f"job {job_id} changed under {_ATTEMPTS} attempts to write it")

    def jobs_ahead(self, job: Job) -> int:
        """How many jobs of its recipe leave the queue before this one.

        Two counters tell it, not a look at the queue: exact while jobs leave in
        the order they came; each that leaves out of turn (cancelled, say) makes
        it one less for those before it, and right again once they are gone.
        """
        if job.state is not JobState.QUEUED:
            return 0
        answer = self.client.get_item(
            TableName=self.table, Key=_queue_key(job.recipe_name), ConsistentRead=True
        )
        departed = int(answer.get("Item", {}).get("departed", {"N": "0"})["N"])
        return max(0, job.ticket - 1 - departed)

    def history(self, owner: str, *, limit: int, cursor: str | None = None) -> Page:
        """An owner's jobs, newest first.

        Parameters
        ----------
        limit : int
            1 to 100.
        cursor : str or None
            `Page.cursor` of the page before.
        """
        if not 1 <= limit <= LISTABLE:
            raise InvalidRequest(f"limit {limit} is outside 1 to {LISTABLE}")
        start: Any = {"ExclusiveStartKey": _decoded(cursor, owner=owner)} if cursor else {}
        answer = self.client.query(
            TableName=self.table,
            IndexName="by_owner",
            KeyConditionExpression="#owner = :owner AND begins_with(owner_sort, :jobs)",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":owner": {"S": owner}, ":jobs": {"S": "JOB#"}},
            ScanIndexForward=False,
            Limit=limit,
            **start,
        )
        jobs = self._many([{"pk": i["pk"], "sk": i["sk"]} for i in answer["Items"]])
        last = answer.get("LastEvaluatedKey")
        return Page(jobs=jobs, cursor=_encoded(last) if last else None)

    def unfinished(self, recipe_name: str, *, before: datetime) -> Iterator[Job]:
        """Jobs that are not over and have not changed since `before`, oldest first."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            IndexName="by_open",
            KeyConditionExpression="#open = :recipe AND updated_at < :before",
            ExpressionAttributeNames={"#open": "open"},
            ExpressionAttributeValues={
                ":recipe": {"S": recipe_name},
                ":before": {"S": before.isoformat()},
            },
        )
        for page in pages:
            for found in page["Items"]:
                job = self.get(found["pk"]["S"].removeprefix("JOB#"))
                # The index is behind the record it names.
                if not job.state.is_final and job.updated_at < before:
                    yield job

    def _replaced(self, seen: Job, changed: Job) -> Job | None:
        """What is stored then; None where somebody wrote in between."""
        returned = _waits(changed) and not _waits(seen)
        changed, events = logged(seen, self._ticketed(changed) if returned else changed)
        put: Any = {
            "Item": _item(changed),
            "ConditionExpression": _UNCHANGED,
            "ExpressionAttributeValues": {":seen": {"N": str(seen.version)}},
        }
        beside = [*self._entries(seen.job_id, events), *self._expiry(seen, changed)]
        if _waits(seen) and not _waits(changed):
            # In one transaction, or a crash in between would leave everyone's
            # place in the queue wrong for ever.
            beside.append(self._departure(seen.recipe_name))
        if self._transacted([self._put(**put), *beside]) if beside else self._stored(put):
            return changed
        if returned:
            # Its ticket was taken for nothing.
            self._count(seen.recipe_name, counter="departed")
        return None

    def _ticketed(self, job: Job) -> Job:
        return replace(job, ticket=self._count(job.recipe_name, counter="issued"))

    def _stored(self, put: Any) -> bool:
        errors = self.client.exceptions
        try:
            self.client.put_item(TableName=self.table, **put)
        except (errors.ConditionalCheckFailedException, errors.TransactionConflictException):
            return False
        return True

    def _transacted(self, items: list[Any]) -> bool:
        try:
            self.client.transact_write_items(TransactItems=items)
        except self.client.exceptions.TransactionCanceledException as exc:
            reasons: Any = exc.response.get("CancellationReasons", ())
            if not {reason["Code"] for reason in reasons} <= _RACES:
                raise
            return False
        return True

    def _put(self, **put: Any) -> Any:
        return {"Put": {"TableName": self.table, **put}}

    def _entries(self, job_id: str, events: tuple[JobEvent, ...]) -> list[Any]:
        keys = [{"pk": job_key(job_id), "sk": event_sort(event.number)} for event in events]
        return [
            self._put(Item=to_item(event, **key)) for event, key in zip(events, keys, strict=True)
        ]

    def _expiry(self, seen: Job | None, changed: Job) -> list[Any]:
        """What has the job found, by `clearstem.retention`, when its time is over."""
        if changed.expires_at == (seen.expires_at if seen else None):
            return []
        if changed.expires_at is not None:
            return [self._put(Item=due_item(changed, sort=EXPIRY, at=changed.expires_at))]
        key = {"pk": {"S": job_key(changed.job_id)}, "sk": {"S": EXPIRY}}
        return [{"Delete": {"TableName": self.table, "Key": key}}]

    def _departure(self, recipe_name: str) -> Any:
        update = {
            "TableName": self.table,
            "Key": _queue_key(recipe_name),
            "UpdateExpression": "ADD departed :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
        return {"Update": update}

    def _count(self, recipe_name: str, *, counter: str) -> int:
        for attempt in range(_ATTEMPTS):
            try:
                answer = self.client.update_item(
                    TableName=self.table,
                    Key=_queue_key(recipe_name),
                    UpdateExpression="ADD #counter :one",
                    ExpressionAttributeNames={"#counter": counter},
                    ExpressionAttributeValues={":one": {"N": "1"}},
                    ReturnValues="UPDATED_NEW",
                )
            except self.client.exceptions.TransactionConflictException:
                # A job is leaving the queue this very moment; botocore does not
                # repeat this error.
                _back_off(attempt)
            else:
                return int(answer["Attributes"][counter]["N"])
        raise Contention(f"the queue of {recipe_name} changed under {_ATTEMPTS} attempts")

    def _many(self, keys: list[Item]) -> tuple[Job, ...]:
        found: dict[str, Job] = {}
        asked: Any = keys
        while asked:
            # Consistent: no list may show a job older than the last look at it did.
            request: Any = {self.table: {"Keys": asked, "ConsistentRead": True}}
            answer = self.client.batch_get_item(RequestItems=request)
            for item in answer["Responses"].get(self.table, []):
                found[item["pk"]["S"]] = from_item(item, Job)
            unread = answer.get("UnprocessedKeys", {}).get(self.table)
            asked = unread["Keys"] if unread else []
        # BatchGetItem answers in no order; the index's order is the one asked for.
        return tuple(found[k["pk"]["S"]] for k in keys if k["pk"]["S"] in found)


def _back_off(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311  # spreads writers


def _key(job_id: str) -> Item:
    return {"pk": {"S": job_key(job_id)}, "sk": {"S": JOB}}


def _queue_key(recipe_name: str) -> Item:
    return {"pk": {"S": f"QUEUE#{recipe_name}"}, "sk": {"S": "QUEUE"}}


def _item(job: Job) -> Item:
    sort = f"JOB#{job.created_at.isoformat()}#{job.job_id}"
    keys = {"pk": job_key(job.job_id), "sk": JOB, "owner_sort": sort}
    # The index of unfinished jobs is sparse: a finished one drops out of it.
    opened = {} if job.state.is_final else {"open": job.recipe_name}
    return to_item(job, **keys, **opened)


def _waits(job: Job) -> bool:
    return job.state is JobState.QUEUED


def _encoded(key: Item) -> str:
    return base64.urlsafe_b64encode(key["owner_sort"]["S"].encode()).decode()


def _decoded(cursor: str, *, owner: str) -> Item:
    try:
        sort = base64.urlsafe_b64decode(cursor.encode()).decode()
    except ValueError:
        sort = ""
    place = _OWNER_SORT.fullmatch(sort)
    if place is None:
        # DynamoDB would refuse a start outside the query, in its own words.
        raise InvalidRequest(f"cursor {cursor[:100]!r} is not one this API gave out")
    return {
        "pk": {"S": job_key(place["job_id"])},
        "sk": {"S": JOB},
        "owner": {"S": owner},  # never from the cursor: it is the caller's to forge
        "owner_sort": {"S": sort},
    }
