"""A recipe's queue: one ticket for each job that waits, and nothing else.

A ticket is an item of its own. It is put together with the job's record and
deleted when the job leaves the queue, each in one transaction with the record,
so the tickets before a job's own are the jobs ahead of it, in whatever order
they leave.

Who submits a thousand jobs does not keep others waiting: a number begins with
the round in which the job's turn comes, one of each owner's a round. An owner's
next job comes a round after the one before, and never before the round that is
being served (start-time fair queueing, Goyal, Vin & Cheng, SIGCOMM 1996, with
every job counted alike). Batch serves its queues by the same rule, in seconds
used (`clearstem.executions.share_of`).

Keys: ``QUEUE#<recipe>`` / ``TICKET#<number>`` is a ticket, ``QUEUE#<recipe>`` /
``QUEUE`` counts the tickets that were issued and knows the last round,
``QUEUE#<recipe>`` / ``TURN#<owner>`` the last round of an owner.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from clearstem.jobs import Job
from clearstem.records import Item
from clearstem.table_keys import Partition

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TICKET: Final = "TICKET#"
TURN: Final = "TURN#"
# Twelve digits of rounds and twelve of tickets: they sort as text as numbers do, for longer
# than tables live, and fit DynamoDB's 38.
_ISSUABLE: Final = 10**12
_DIGITS: Final = 24
_LAST: Final = 10**_DIGITS - 1
# An owner's last round counts while a job of it may wait; none waits for so long.
_TURN_KEPT_S: Final = 14 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Tickets:
    """The table's queues."""

    client: "DynamoDBClient"
    table: str

    def issue(self, recipe_name: str, owner: str) -> int:
        """The next number for an owner; it counts from the moment its ticket is stored."""
        turn = self._turn(recipe_name, owner, after=self._served(recipe_name))
        return turn * _ISSUABLE + self._issued(recipe_name, turn)

    def _served(self, recipe_name: str) -> int:
        """The round before the one that is being served: of the queue's head, or the last."""
        for head in self._behind(recipe_name, -1, limit=1):
            return _parsed(head["sk"]["S"]) // _ISSUABLE - 1
        answer = self.client.get_item(
            TableName=self.table, Key=_counter(recipe_name), ConsistentRead=True
        )
        return int(answer.get("Item", {}).get("turn", {"N": "0"})["N"])

    def _turn(self, recipe_name: str, owner: str, *, after: int) -> int:
        """The owner's next round.

        Where the owner has jobs in rounds to come it is counted on, without a read: of many
        at once each gets its own. Else it is the round now served; one of two that set it at
        the same time is refused, and counts on.
        """
        key = {"pk": {"S": queue_key(recipe_name)}, "sk": {"S": f"{TURN}{owner}"}}
        kept = {":ttl": {"N": str(int(time.time()) + _TURN_KEPT_S)}}
        counted = {":after": {"N": str(after)}, **kept}
        while True:
            for value, condition, more in (
                ("turn + :one", "turn >= :after", {":one": {"N": "1"}}),
                (
                    ":next",
                    "attribute_not_exists(turn) OR turn < :after",
                    {":next": {"N": str(after + 1)}},
                ),
            ):
                found = self._updated(
                    key,
                    f"SET turn = {value}, #ttl = :ttl",
                    condition=condition,
                    values=counted | more,
                    ExpressionAttributeNames={"#ttl": "ttl"},
                )
                if found is not None:
                    return int(found["turn"]["N"])

    def _issued(self, recipe_name: str, turn: int) -> int:
        """Count the ticket, and remember its round where it is the last so far."""
        key, one = _counter(recipe_name), {":one": {"N": "1"}}
        found = self._updated(
            key,
            "SET turn = :turn ADD issued :one",
            condition="attribute_not_exists(turn) OR turn < :turn",
            values={":turn": {"N": str(turn)}, **one},
        ) or self._updated(key, "ADD issued :one", condition="attribute_exists(turn)", values=one)
        if found is None:
            raise RuntimeError(f"the counter of {recipe_name} was deleted while it counted")
        return int(found["issued"]["N"])

    def _updated(
        self, key: Item, change: str, *, condition: str, values: Item, **more: Any
    ) -> Item | None:
        """What an update left of the attributes it changed; None where it was refused."""
        try:
            answer = self.client.update_item(
                TableName=self.table,
                Key=key,
                UpdateExpression=change,
                ConditionExpression=condition,
                ExpressionAttributeValues=values,
                ReturnValues="UPDATED_NEW",
                **more,
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return None
        return answer["Attributes"]

    def taken(self, job: Job) -> Any:
        """What puts a job's ticket into its queue, as a part of a transaction."""
        item = {**_key(job.recipe_name, job.ticket), "job_id": {"S": job.job_id}}
        return {"Put": {"TableName": self.table, "Item": item}}

    def given_back(self, job: Job) -> Any:
        """What takes a job's ticket out of its queue, as a part of a transaction."""
        return {"Delete": {"TableName": self.table, "Key": _key(job.recipe_name, job.ticket)}}

    def ahead(self, job: Job) -> int:
        """How many jobs wait with a smaller number, exactly (a consistent count).

        It reads some 60 bytes for each: a capacity unit counts about 65 jobs.
        """
        return self._count(job.recipe_name, last=job.ticket - 1)

    def before_next(self, recipe_name: str, owner: str) -> int:
        """How many jobs an owner's next one would have ahead, as exactly, for the same price."""
        key = {"pk": {"S": queue_key(recipe_name)}, "sk": {"S": f"{TURN}{owner}"}}
        answer = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True)
        last = int(answer.get("Item", {}).get("turn", {"N": "0"})["N"])
        turn = max(last, self._served(recipe_name)) + 1
        return self._count(recipe_name, last=(turn + 1) * _ISSUABLE - 1)

    def _count(self, recipe_name: str, *, last: int) -> int:
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="pk = :queue AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":queue": {"S": queue_key(recipe_name)},
                ":first": {"S": TICKET},
                ":last": {"S": _number(last)},
            },
            Select="COUNT",
            ConsistentRead=True,
        )
        return sum(page["Count"] for page in pages)

    def behind(self, recipe_name: str, ticket: int, *, limit: int) -> tuple[str, ...]:
        """The ids of the next jobs, at most so many, that wait with a greater number."""
        return tuple(item["job_id"]["S"] for item in self._behind(recipe_name, ticket, limit=limit))

    def _behind(self, recipe_name: str, ticket: int, *, limit: int) -> list[Item]:
        answer = self.client.query(
            TableName=self.table,
            KeyConditionExpression="pk = :queue AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":queue": {"S": queue_key(recipe_name)},
                ":first": {"S": _number(ticket + 1)},
                ":last": {"S": _number(_LAST)},
            },
            Limit=limit,
            ConsistentRead=True,
        )
        return answer["Items"]


def ticket_of(key: Item) -> tuple[str, int] | None:
    """The recipe and number of the ticket with that key; None where it is another item's."""
    partition, sort = key["pk"]["S"], key["sk"]["S"]
    if not (partition.startswith(Partition.QUEUE) and sort.startswith(TICKET)):
        return None
    return partition.removeprefix(Partition.QUEUE), _parsed(sort)


def _key(recipe_name: str, ticket: int) -> Item:
    return {"pk": {"S": queue_key(recipe_name)}, "sk": {"S": _number(ticket)}}


def _counter(recipe_name: str) -> Item:
    return {"pk": {"S": queue_key(recipe_name)}, "sk": {"S": "QUEUE"}}


def queue_key(recipe_name: str) -> str:
    """The partition of a recipe's queue."""
    return f"{Partition.QUEUE}{recipe_name}"


def _number(ticket: int) -> str:
    return f"{TICKET}{ticket:0{_DIGITS}d}"


def _parsed(sort: str) -> int:
    return int(sort.removeprefix(TICKET))
