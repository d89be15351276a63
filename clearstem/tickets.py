"""A recipe's queue: one ticket for each job that waits, and nothing else.

A ticket is an item of its own. It is put together with the job's record and
deleted when the job leaves the queue, each in one transaction with the record,
so the tickets before a job's own are the jobs ahead of it, in whatever order
they leave.

Keys: ``QUEUE#<recipe>`` / ``TICKET#<number>`` is a ticket, ``QUEUE#<recipe>`` /
``QUEUE`` counts the tickets that were issued.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from clearstem.jobs import Job
from clearstem.records import Item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

QUEUE: Final = "QUEUE#"
TICKET: Final = "TICKET#"
# Twelve digits sort as text as numbers do, for longer than tables live.
_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Tickets:
    """The table's queues."""

    client: "DynamoDBClient"
    table: str

    def issue(self, recipe_name: str) -> int:
        """The next number of a queue; it counts from the moment its ticket is stored."""
        answer = self.client.update_item(
            TableName=self.table,
            Key={"pk": {"S": queue_key(recipe_name)}, "sk": {"S": "QUEUE"}},
            UpdateExpression="ADD issued :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues="UPDATED_NEW",
        )
        return int(answer["Attributes"]["issued"]["N"])

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

    def waiting(self, recipe_name: str) -> int:
        """How many jobs wait in all, as exactly and for the same price."""
        return self._count(recipe_name, last=10**_DIGITS - 1)

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
        answer = self.client.query(
            TableName=self.table,
            KeyConditionExpression="pk = :queue AND sk > :ticket",
            ExpressionAttributeValues={
                ":queue": {"S": queue_key(recipe_name)},
                ":ticket": {"S": _number(ticket)},
            },
            Limit=limit,
            ConsistentRead=True,
        )
        return tuple(item["job_id"]["S"] for item in answer["Items"])


def ticket_of(key: Item) -> tuple[str, int] | None:
    """The recipe and number of the ticket with that key; None where it is another item's."""
    partition, sort = key["pk"]["S"], key["sk"]["S"]
    if not (partition.startswith(QUEUE) and sort.startswith(TICKET)):
        return None
    return partition.removeprefix(QUEUE), int(sort.removeprefix(TICKET))


def _key(recipe_name: str, ticket: int) -> Item:
    return {"pk": {"S": queue_key(recipe_name)}, "sk": {"S": _number(ticket)}}


def queue_key(recipe_name: str) -> str:
    """The partition of a recipe's queue."""
    return f"{QUEUE}{recipe_name}"


def _number(ticket: int) -> str:
    return f"{TICKET}{ticket:0{_DIGITS}d}"
