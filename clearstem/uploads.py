"""Recordings on their way in: what was announced, whose it is, where it goes.

Item: ``UPLOAD#<id>`` / ``UPLOAD``. The client's file name stands in the item
alone; the storage key is made of ids, so no name can reach another's object.

Until a job is made of it, an upload counts for its owner's stored bytes by the
size that was announced, and stands in the sparse index of open things at the
time when it ends. Both change in one transaction with the owner's counter, so
that this is the sum over records, uploads among them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from clearstem.errors import Contention, UploadNotFound
from clearstem.facts import Location
from clearstem.part_uploads import PartPlan
from clearstem.quotas import NO_LIMITS, Quota, Quotas
from clearstem.records import Item, from_item, to_item
from clearstem.table_keys import Partition
from clearstem.transactions import ATTEMPTS, back_off, transacted

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Uploads expire from their bucket after a week; an announcement lives as long.
_LIFETIME: Final = timedelta(days=7)
# A UUID's text. DynamoDB refuses keys of more than 2 KB, or that are no UTF-8, in its own words.
_LONGEST_ID: Final = 36
_OPEN: Final = "UPLOAD"
# No request made one of that id; a reserved id comes again with its request.
_NEW: Final = "attribute_not_exists(pk)"
# Nobody has made a job of it, given it up or ended it since its bytes were read.
_HELD: Final = "attribute_exists(#open) AND held_bytes = :held"


@dataclass(frozen=True, slots=True)
class Upload:
    """A recording that was sent, or is about to be.

    Attributes
    ----------
    parts : PartPlan or None
        How it is cut, where it is to come in parts.
    sha256 : str or None
        Of its bytes, in hexadecimal, where they came through us.
    held_bytes : int
        What it counts for until a job is made of it.
    announced : bool
        Whether it is remembered, and ends in a week if no job is made of it; not
        where it came with its request, or of a release that counted no uploads.
    """

    upload_id: str
    owner: str
    file_name: str
    extension: str
    location: Location
    parts: PartPlan | None = None
    sha256: str | None = None
    held_bytes: int = 0
    announced: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """What an upload counts for now, and how that ends.

    Attributes
    ----------
    ending : tuple
        Parts of a transaction, which fails where it has ended meanwhile. The
        owner's counter is the caller's to lower, by `size_bytes`.
    """

    size_bytes: int = 0
    ending: tuple[Any, ...] = ()


_NOTHING: Final = Held()


@dataclass(frozen=True, slots=True)
class UploadTable:
    """The table's uploads.

    Attributes
    ----------
    quota : Quota
        Of owners who have none of their own.
    """

    client: "DynamoDBClient"
    table: str
    quota: Quota = NO_LIMITS

    @property
    def quotas(self) -> Quotas:
        """What owners use, and may use."""
        return Quotas(self.client, self.table, self.quota)

    def announce(self, upload: Upload, *, at: datetime) -> Upload:
        """Remember an upload before its bytes come; as it is remembered, or was under its id.

        Raises
        ------
        StorageUsedUp
            Its owner may not store so much more.
        Contention
            Other writers of his counters won every one of the attempts.
        """
        upload = replace(upload, announced=True)
        item = _item(upload, until=at + _LIFETIME)
        put = {"Put": {"TableName": self.table, "Item": item, "ConditionExpression": _NEW}}
        for attempt in range(ATTEMPTS):
            room = self.quotas.room_parts(upload.owner, upload.held_bytes)
            if transacted(self.client, [put, *room]):
                return upload
            known = self._read(upload.upload_id)
            if known:
                return from_item(known, Upload)
            self.quotas.check_room(upload.owner, upload.held_bytes)
            back_off(attempt)
        raise Contention(f"the counters of {upload.owner} changed under {ATTEMPTS} attempts")

    def get(self, upload_id: str, *, owner: str) -> Upload:
        """An owner's upload; `UploadNotFound` also where it is another's."""
        if len(upload_id) > _LONGEST_ID or not (upload_id.isascii() and upload_id.isprintable()):
            raise UploadNotFound(f"no upload {upload_id[:_LONGEST_ID]!r}…")
        item = self._read(upload_id)
        found = from_item(item, Upload) if item else None
        if found is None or found.owner != owner:
            raise UploadNotFound(f"no upload {upload_id}")
        return found

    def held(self, upload: Upload | None, *, at: datetime) -> Held:
        """What an upload counts for until a job is made of it at that time.

        Raises
        ------
        UploadNotFound
            It was announced, and has ended.
        """
        if upload is None or not upload.announced:
            return _NOTHING
        item = self._read(upload.upload_id)
        if not item:
            raise UploadNotFound(f"no upload {upload.upload_id}")
        if "open" not in item:
            return _NOTHING
        held = int(item["held_bytes"]["N"])
        return Held(held, (self._ending(upload, held=held, at=at),))

    def release(self, upload: Upload, *, at: datetime) -> bool:
        """Have an upload count no more; False where it does not any more, or a job took it.

        Raises
        ------
        Contention
            As of `announce`.
        """
        for attempt in range(ATTEMPTS):
            try:
                held = self.held(upload, at=at)
            except UploadNotFound:
                return False
            if not held.ending:
                return False
            used = self.quotas.room_parts(upload.owner, -held.size_bytes)
            if transacted(self.client, [*held.ending, *used]):
                return True
            back_off(attempt)
        raise Contention(f"upload {upload.upload_id} changed under {ATTEMPTS} attempts to end it")

    def put_off(self, upload: Upload, *, until: datetime) -> bool:
        """Have an upload end at another time; False where it is open no more."""
        try:
            self.client.update_item(
                TableName=self.table,
                Key=_key(upload.upload_id),
                UpdateExpression="SET updated_at = :until",
                ConditionExpression="attribute_exists(#open)",
                ExpressionAttributeNames={"#open": "open"},
                ExpressionAttributeValues={":until": {"S": until.isoformat()}},
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def due(self, *, before: datetime) -> Iterator[Upload]:
        """The uploads of which nobody made a job in their time, the oldest first."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            IndexName="by_open",
            KeyConditionExpression="#open = :upload AND updated_at < :before",
            ExpressionAttributeNames={"#open": "open"},
            ExpressionAttributeValues={
                ":upload": {"S": _OPEN},
                ":before": {"S": before.isoformat()},
            },
        )
        for page in pages:
            for found in page["Items"]:
                item = self._read(found["pk"]["S"].removeprefix(Partition.UPLOAD))
                # The index is behind the item it names.
                if "open" in item and item["updated_at"]["S"] < before.isoformat():
                    yield from_item(item, Upload)

    def _ending(self, upload: Upload, *, held: int, at: datetime) -> Any:
        expiry = int((at + _LIFETIME).timestamp())
        return {
            "Update": {
                "TableName": self.table,
                "Key": _key(upload.upload_id),
                "UpdateExpression": "SET held_bytes = :none, #ttl = :ttl REMOVE #open, updated_at",
                "ConditionExpression": _HELD,
                "ExpressionAttributeNames": {"#open": "open", "#ttl": "ttl"},
                "ExpressionAttributeValues": {
                    ":none": {"N": "0"},
                    ":held": {"N": str(held)},
                    ":ttl": {"N": str(expiry)},
                },
            }
        }

    def _read(self, upload_id: str) -> Item:
        # Consistent: a small file is sent, and a job asked for, within milliseconds.
        answer = self.client.get_item(
            TableName=self.table, Key=_key(upload_id), ConsistentRead=True
        )
        return dict(answer.get("Item", {}))


def _key(upload_id: str) -> Item:
    return {"pk": {"S": f"{Partition.UPLOAD}{upload_id}"}, "sk": {"S": "UPLOAD"}}


def _item(upload: Upload, *, until: datetime) -> Item:
    # No `ttl` while it counts: the table would forget the item and not the bytes.
    keys = {"pk": f"{Partition.UPLOAD}{upload.upload_id}", "sk": "UPLOAD", "open": _OPEN}
    return to_item(upload, **keys, updated_at=until.isoformat())
