"""WebSocket connections and what they watch, in the same table as the jobs.

A subscription (``WATCH#<job>`` / ``CONN#<connection>``) lies in a partition of
its own, so that whoever writes subscriptions needs no leave to write jobs. The
stream tells it by a shard of its own too: what comes down there may be handled
while a change of the job is. So a subscription is new until its first snapshot
has gone out, and those who tell of changes pass it over until then: two senders
of one connection would let its bar move back.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from clearstem.records import Item, from_item, to_item
from clearstem.table_keys import Partition, watch_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# API Gateway ends a WebSocket after two hours; what is left then is litter.
_LIFETIME: Final = timedelta(hours=2, minutes=10)
_GREETED: Final = "greeted"


@dataclass(frozen=True, slots=True)
class Connection:
    """One open WebSocket.

    Attributes
    ----------
    owner : str
        Whose key opened it.
    dialect : str
        In which it is spoken to.
    job_id : str or None
        The one job it was opened for; None: it subscribes by messages.
    """

    connection_id: str
    owner: str
    dialect: str
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectionTable:
    """The table's connections."""

    client: "DynamoDBClient"
    table: str

    def open(self, connection: Connection, *, at: datetime) -> None:
        """Remember a connection; it watches nothing yet."""
        self._put(f"{Partition.CONNECTION}{connection.connection_id}", connection, at=at)

    def get(self, connection_id: str) -> Connection | None:
        """The connection of that id, or None if it is closed."""
        key = f"{Partition.CONNECTION}{connection_id}"
        # Consistent: a client may subscribe in the millisecond after it connected.
        answer = self.client.get_item(
            TableName=self.table, Key=_key(key, connection_id), ConsistentRead=True
        )
        return from_item(answer["Item"], Connection) if "Item" in answer else None

    def watch(self, connection: Connection, *, job_id: str, at: datetime) -> None:
        """Tell the connection of every change of a job, from its present state on."""
        self._put(watch_key(job_id), connection, at=at)

    def greet(self, connection_id: str, *, job_id: str) -> None:
        """Note that the job's state was sent: from now on its changes are."""
        self._touch(connection_id, job_id, f"SET {_GREETED} = :yes", {":yes": {"BOOL": True}})

    def watchers(self, job_id: str) -> tuple[Connection, ...]:
        """Everyone who watches a job and has been sent its state before."""
        found = self._subscriptions(job_id)
        return tuple(from_item(item, Connection) for item in found if _GREETED in item)

    def stir(self, job_id: str, *, at: datetime) -> None:
        """Have the job's state told to its watchers again, though nothing changed.

        Each subscription is new once more, and goes down the table's stream as one.
        """
        change, values = f"SET stirred_at = :at REMOVE {_GREETED}", {":at": {"S": at.isoformat()}}
        for item in self._subscriptions(job_id):
            self._touch(item["connection_id"]["S"], job_id, change, values)

    def _subscriptions(self, job_id: str) -> Iterator[Item]:
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="pk = :job",
            ExpressionAttributeValues={":job": {"S": watch_key(job_id)}},
            # Consistent: a change that comes after a greeting is told by who tells of changes.
            ConsistentRead=True,
        )
        return (item for page in pages for item in page["Items"])

    def _touch(self, connection_id: str, job_id: str, change: str, values: Item) -> None:
        try:
            self.client.update_item(
                TableName=self.table,
                Key=_key(watch_key(job_id), connection_id),
                UpdateExpression=change,
                # One that closed meanwhile must not be there again.
                ConditionExpression="attribute_exists(pk)",
                ExpressionAttributeValues=values,
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return

    def close(self, connection_id: str) -> None:
        """Forget a connection and all it watched; a second time does nothing."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            IndexName="by_connection",
            KeyConditionExpression="connection_id = :id",
            ExpressionAttributeValues={":id": {"S": connection_id}},
        )
        for page in pages:
            for item in page["Items"]:
                self.client.delete_item(
                    TableName=self.table, Key={"pk": item["pk"], "sk": item["sk"]}
                )

    def _put(self, partition: str, connection: Connection, *, at: datetime) -> None:
        expiry = int((at + _LIFETIME).timestamp())
        # `owner` alone puts no item in the owner's history: that index needs
        # `owner_sort` too.
        keys = {"pk": partition, "sk": f"{Partition.CONNECTION}{connection.connection_id}"}
        self.client.put_item(TableName=self.table, Item=to_item(connection, **keys, ttl=expiry))


def _key(partition: str, connection_id: str) -> Item:
    return {"pk": {"S": partition}, "sk": {"S": f"{Partition.CONNECTION}{connection_id}"}}


def subscribed(image: Item) -> tuple[str, Connection] | None:
    """The job and the connection of a subscription that is new; None for any other item."""
    partition = image["pk"]["S"]
    if not partition.startswith(Partition.WATCH) or _GREETED in image:
        return None
    return partition.removeprefix(Partition.WATCH), from_item(image, Connection)
