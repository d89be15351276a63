"""Owners and their API keys.

A key is shown once, when it is made; stored is its sha256, found by it, and a
visible prefix to tell keys apart by. Two keys of an owner may be active at a
time, so that one can be rotated without a gap.

Item: ``KEY#<sha256>`` / ``KEY``, listed through the ``by_owner`` index.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from clearstem.errors import Conflict, InvalidRequest, KeyNotFound, Unauthorized
from clearstem.records import Item, from_item, to_item
from clearstem.scopes import ALL_SCOPES, Scope
from clearstem.table_keys import Partition

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MARK: Final = "cs_"
_PREFIX_CHARACTERS: Final = len(_MARK) + 8
_ACTIVE_KEYS: Final = 2
# A write per call would double its cost; "used within the hour" is what an
# operator needs to know before revoking.
_LAST_USED_STEP: Final = timedelta(hours=1)
OWNER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key, which is all but the key.

    Attributes
    ----------
    scopes : tuple of Scope
        What it may be used for; keys from before there were scopes, for everything.
    """

    prefix: str
    sha256: str
    owner: str
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    scopes: tuple[Scope, ...] = ALL_SCOPES


def check_owner(owner: str) -> str:
    """The owner's name, if it is one; it becomes part of storage keys.

    Raises
    ------
    InvalidRequest
        The name is not 1 to 64 letters, digits and ``. _ @ -``.
    """
    if not OWNER.fullmatch(owner):
        raise InvalidRequest(
            f"owner {owner!r} is not 1 to 64 letters, digits or . _ @ - beginning with "
            "a letter or digit"
        )
    return owner


@dataclass(frozen=True, slots=True)
class Accounts:
    """The table's API keys."""

    client: "DynamoDBClient"
    table: str

    def create_key(
        self, owner: str, *, at: datetime, scopes: tuple[Scope, ...] = ALL_SCOPES
    ) -> tuple[str, ApiKey]:
        """Make a key; its text is in the answer and nowhere else, ever.

        Raises
        ------
        InvalidRequest
            The owner's name is not a name.
        Conflict
            The owner has two active keys.
        """
        check_owner(owner)
        active = [k for k in self.keys(owner) if k.revoked_at is None]
        if len(active) >= _ACTIVE_KEYS:
            raise Conflict(f"{owner} has {len(active)} active keys; revoke one first")
        text = _MARK + secrets.token_urlsafe(32)
        prefix = text[:_PREFIX_CHARACTERS]
        key = ApiKey(prefix, _digest(text), owner, created_at=at, scopes=scopes)
        self._put(key)
        return text, key

    def keys(self, owner: str) -> tuple[ApiKey, ...]:
        """An owner's keys, oldest first, revoked ones among them."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            IndexName="by_owner",
            KeyConditionExpression="#owner = :owner AND begins_with(owner_sort, :keys)",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":owner": {"S": owner}, ":keys": {"S": "KEY#"}},
        )
        found = [
            self._get(i["pk"]["S"].removeprefix(Partition.KEY)) for p in pages for i in p["Items"]
        ]
        return tuple(key for key in found if key is not None)

    def all_keys(self) -> tuple[ApiKey, ...]:
        """Every key of every owner: reads the whole table, for operators only."""
        pages = self.client.get_paginator("scan").paginate(
            TableName=self.table,
            FilterExpression="begins_with(pk, :keys)",
            ExpressionAttributeValues={":keys": {"S": Partition.KEY}},
        )
        return tuple(from_item(item, ApiKey) for page in pages for item in page["Items"])

    def revoke(self, owner: str, *, prefix: str, at: datetime) -> ApiKey:
        """End a key at once; `KeyNotFound` if the owner has none of that prefix."""
        for key in self.keys(owner):
            if key.prefix == prefix:
                revoked = replace(key, revoked_at=key.revoked_at or at)
                self._put(revoked)
                return revoked
        raise KeyNotFound(f"{owner} has no key {prefix}")

    def identify(self, text: str | None, *, at: datetime) -> ApiKey:
        """What is known of a key that is good.

        Raises
        ------
        Unauthorized
            No key, an unknown one or a revoked one; the message does not say
            which, and never repeats the key.
        """
        key = self._get(_digest(text)) if text else None
        if key is None or key.revoked_at is not None:
            raise Unauthorized("Invalid or missing API key")
        if key.last_used_at is None or at - key.last_used_at > _LAST_USED_STEP:
            self._touch(key, at=at)
        return key

    def _get(self, sha256: str) -> ApiKey | None:
        # Consistent: a revoked key ends at once, a new one works at once.
        answer = self.client.get_item(TableName=self.table, Key=_key(sha256), ConsistentRead=True)
        return from_item(answer["Item"], ApiKey) if "Item" in answer else None

    def _put(self, key: ApiKey) -> None:
        keys = {
            "pk": f"{Partition.KEY}{key.sha256}",
            "sk": "KEY",
            "owner_sort": f"KEY#{key.created_at.isoformat()}#{key.prefix}",
        }
        self.client.put_item(TableName=self.table, Item=to_item(key, **keys))

    def _touch(self, key: ApiKey, *, at: datetime) -> None:
        # An update of one attribute: a put could undo a revocation that came
        # between the read and the write.
        self.client.update_item(
            TableName=self.table,
            Key=_key(key.sha256),
            UpdateExpression="SET last_used_at = :at",
            ExpressionAttributeValues={":at": {"S": at.isoformat()}},
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _key(sha256: str) -> Item:
    return {"pk": {"S": f"{Partition.KEY}{sha256}"}, "sk": {"S": "KEY"}}
