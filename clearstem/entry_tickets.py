"""Tickets for browsers: what lets a page open one WebSocket or event stream.

A page cannot send headers with either, and a key in an address ends up in logs
and histories. A ticket is good once and for a minute, and only to look.

Item: ``ENTRY#<sha256>`` / ``ENTRY``.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from clearstem.errors import Unauthorized
from clearstem.records import Item, from_item, to_item
from clearstem.scopes import Caller, Scope
from clearstem.table_keys import Partition

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LIFETIME: Final = timedelta(seconds=60)
# Nobody used it before: of two that try at once, one finds it so. Who used it may do so again:
# botocore writes again where an answer was lost.
_UNUSED: Final = "attribute_exists(pk) AND (attribute_not_exists(used_by) OR used_by = :user)"


@dataclass(frozen=True, slots=True)
class _Entry:
    owner: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class EntryTickets:
    """The table's tickets."""

    client: "DynamoDBClient"
    table: str

    def issue(self, owner: str, *, at: datetime) -> str:
        """A ticket of an owner; its text is in the answer and nowhere else."""
        text = secrets.token_urlsafe(32)
        entry = _Entry(owner, at + LIFETIME)
        # DynamoDB deletes late; whether it is still good is told by `expires_at`.
        item = to_item(entry, ttl=int(entry.expires_at.timestamp())) | _key(text)
        self.client.put_item(TableName=self.table, Item=item)
        return text

    def redeem(self, text: str, *, at: datetime) -> Caller:
        """Use a ticket up; who it is of, with leave to look.

        Raises
        ------
        Unauthorized
            There is no such ticket, it was used, or its minute is over.
        """
        try:
            answer = self.client.update_item(
                TableName=self.table,
                Key=_key(text),
                UpdateExpression="SET used_by = :user",
                ConditionExpression=_UNUSED,
                ExpressionAttributeValues={":user": {"S": secrets.token_hex(16)}},
                ReturnValues="ALL_NEW",
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            raise Unauthorized("Invalid or used ticket") from exc
        entry = from_item(answer["Attributes"], _Entry)
        if at >= entry.expires_at:
            raise Unauthorized("Invalid or used ticket")
        return Caller(entry.owner, frozenset({Scope.READ}))


def _key(text: str) -> Item:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"pk": {"S": f"{Partition.ENTRY}{digest}"}, "sk": {"S": "ENTRY"}}
