"""Recordings on their way in: what was announced, whose it is, where it goes.

Item: ``UPLOAD#<id>`` / ``UPLOAD``. The client's file name stands in the item
alone; the storage key is made of ids, so no name can reach another's object.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from clearstem.errors import UploadNotFound
from clearstem.facts import Location
from clearstem.part_uploads import PartPlan
from clearstem.records import from_item, to_item
from clearstem.table_keys import Partition

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Uploads expire from their bucket after a week; an announcement lives as long.
_LIFETIME: Final = timedelta(days=7)
# A UUID's text. DynamoDB refuses keys of more than 2 KB in words of its own.
_LONGEST_ID: Final = 36


@dataclass(frozen=True, slots=True)
class Upload:
    """A recording that was sent, or is about to be.

    Attributes
    ----------
    parts : PartPlan or None
        How it is cut, where it is to come in parts.
    sha256 : str or None
        Of its bytes, in hexadecimal, where they came through us.
    """

    upload_id: str
    owner: str
    file_name: str
    extension: str
    location: Location
    parts: PartPlan | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class UploadTable:
    """The table's uploads."""

    client: "DynamoDBClient"
    table: str

    def announce(self, upload: Upload, *, at: datetime) -> None:
        """Remember an upload before its bytes come."""
        expiry = int((at + _LIFETIME).timestamp())
        item = to_item(upload, pk=f"{Partition.UPLOAD}{upload.upload_id}", sk="UPLOAD", ttl=expiry)
        self.client.put_item(TableName=self.table, Item=item)

    def get(self, upload_id: str, *, owner: str) -> Upload:
        """An owner's upload; `UploadNotFound` also where it is another's."""
        if len(upload_id) > _LONGEST_ID:
            raise UploadNotFound(f"no upload {upload_id[:_LONGEST_ID]}…")
        key = {"pk": {"S": f"{Partition.UPLOAD}{upload_id}"}, "sk": {"S": "UPLOAD"}}
        # Consistent: a small file is sent, and a job asked for, within milliseconds.
        answer = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True)
        found = from_item(answer["Item"], Upload) if "Item" in answer else None
        if found is None or found.owner != owner:
            raise UploadNotFound(f"no upload {upload_id}")
        return found
