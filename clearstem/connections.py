"""WebSocket connections and what they watch, in the same table as the jobs.

A subscription lies in its job's partition (``JOB#<id>`` / ``CONN#<connection>``),
so that one query finds everyone to tell and the stream delivers it in order
with the job's own changes: its INSERT is what makes the first snapshot go out.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from clearstem.records import Item, from_item, to_item
from clearstem.table_keys import job_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# API Gateway ends a WebSocket after two hours; what is left then is litter.
_LIFETIME: Final = timedelta(hours=2, minutes=10)
PREFIX: Final = "CONN#"


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
        self._put(f"{PREFIX}{connection.connection_id}", connection, at=at)

    def get(self, connection_id: str) -> Connection | None:
        """The connection of that id, or None if it is closed."""
        key = f"{PREFIX}{connection_id}"
        # Consistent: a client may subscribe in the millisecond after it connected.
        answer = self.client.get_item(
            TableName=self.table, Key=_key(key, connection_id), ConsistentRead=True
        )
        return from_item(answer["Item"], Connection) if "Item" in answer else None

    def watch(self, connection: Connection, *, job_id: str, at: datetime) -> None:
        """Tell the connection of every change of a job, from its present state on."""
        self._put(job_key(job_id), connection, at=at)

    def watchers(self, job_id: str) -> tuple[Connection, ...]:
        """Everyone who watches a job."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="pk = :job AND begins_with(sk, :connections)",
            ExpressionAttributeValues={
                ":job": {"S": job_key(job_id)},
                ":connections": {"S": PREFIX},
            },
        )
        return tuple(from_item(i, Connection) for page in pages for i in page["Items"])

    def stir(self, job_id: str, *, at: datetime) -> None:
        """Have the job's state told to its watchers again, though nothing changed.

        A touch of each subscription goes down the table's stream as a new one does.
        """
        for connection in self.watchers(job_id):
            key = _key(job_key(job_id), connection.connection_id)
            try:
                self.client.update_item(
                    TableName=self.table,
                    Key=key,
                    UpdateExpression="SET stirred_at = :at",
                    # One that closed meanwhile must not be there again.
                    ConditionExpression="attribute_exists(pk)",
                    ExpressionAttributeValues={":at": {"S": at.isoformat()}},
                )
            except self.client.exceptions.ConditionalCheckFailedException:
                continue

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
        keys = {"pk": partition, "sk": f"{PREFIX}{connection.connection_id}"}
        self.client.put_item(TableName=self.table, Item=to_item(connection, **keys, ttl=expiry))


def _key(partition: str, connection_id: str) -> Item:
    return {"pk": {"S": partition}, "sk": {"S": f"{PREFIX}{connection_id}"}}
