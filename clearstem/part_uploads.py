"""Recordings that a client sends to storage in parts, some at a time, some again.

Storage keeps what has come, so nobody else has to: which parts are there is
asked of it, and completing takes its word for their tags. A client needs
nothing but the numbers, and one that lost its connection, or its memory, goes
on with the parts that are missing.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from clearstem.errors import PartsMissing, UploadNotFound
from clearstem.facts import Location
from clearstem.media import MEBIBYTE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Above this a lost connection costs more than the bookkeeping; S3's own advice.
SINGLE_PUT_BYTES: Final = 100 * MEBIBYTE
# Some seconds of a home connection each; S3 takes 10,000 parts of an object.
_LEAST_PART_BYTES: Final = 16 * MEBIBYTE
_MOST_PARTS: Final = 10_000
# A list of parts gives fresh links, for a day: then the bucket's rule ends what
# was not completed.
_LINK_S: Final = 3600
# What a refusal names of what is missing; the list of parts names all.
_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class PartPlan:
    """How a recording is cut: parts of one size, the last one of what is left.

    Attributes
    ----------
    multipart_id : str
        Storage's own name of the unfinished upload.
    """

    multipart_id: str
    size_bytes: int
    part_bytes: int

    @property
    def count(self) -> int:
        """How many parts there are; they are numbered from 1."""
        return math.ceil(self.size_bytes / self.part_bytes)

    def size_of(self, number: int) -> int:
        """The bytes of a part."""
        return min(self.part_bytes, self.size_bytes - (number - 1) * self.part_bytes)


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part as it lies in storage."""

    number: int
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class PartUploads:
    """Unfinished uploads in S3."""

    client: "S3Client"

    def begin(self, location: Location, *, size_bytes: int, content_type: str) -> PartPlan:
        """Open an upload in parts of a recording of that size."""
        least = math.ceil(size_bytes / _MOST_PARTS)
        part_bytes = max(_LEAST_PART_BYTES, math.ceil(least / MEBIBYTE) * MEBIBYTE)
        answer = self.client.create_multipart_upload(
            Bucket=location.bucket, Key=location.key, ContentType=content_type
        )
        return PartPlan(answer["UploadId"], size_bytes=size_bytes, part_bytes=part_bytes)

    def links(
        self, location: Location, plan: PartPlan, numbers: Iterable[int]
    ) -> tuple[tuple[int, str], ...]:
        """Links that take one part each, of exactly its size, for an hour."""
        return tuple((number, self._link(location, plan, number)) for number in numbers)

    def stored(self, location: Location, plan: PartPlan) -> tuple[StoredPart, ...]:
        """The parts that have come whole, by number.

        Raises
        ------
        UploadNotFound
            The upload was completed, abandoned or has expired.
        """
        pages = self.client.get_paginator("list_parts").paginate(**_target(location, plan))
        try:
            found = [
                StoredPart(part["PartNumber"], part["Size"], part["ETag"])
                for page in pages
                for part in page.get("Parts", [])
            ]
        except ClientError as exc:
            raise _gone(exc) from exc
        # A link is signed for its part's size; an object store that does not
        # look at that may have taken another.
        return tuple(p for p in found if p.size_bytes == plan.size_of(p.number))

    def complete(self, location: Location, plan: PartPlan) -> None:
        """Make one object of all parts.

        Raises
        ------
        PartsMissing
            Some have not come; the message names the first of them.
        UploadNotFound
            As of `stored`.
        """
        parts = self.stored(location, plan)
        missing = sorted({*range(1, plan.count + 1)} - {part.number for part in parts})
        if missing:
            named = ", ".join(map(str, missing[:_NAMED]))
            more = ", …" if len(missing) > _NAMED else ""
            raise PartsMissing(f"{len(missing)} of {plan.count} parts are missing: {named}{more}")
        made: Any = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        self.client.complete_multipart_upload(
            **_target(location, plan), MultipartUpload={"Parts": made}
        )

    def abandon(self, location: Location, plan: PartPlan) -> None:
        """Throw away what has come; one that is over already stays as it is."""
        try:
            self.client.abort_multipart_upload(**_target(location, plan))
        except self.client.exceptions.NoSuchUpload:
            return

    def _link(self, location: Location, plan: PartPlan, number: int) -> str:
        part = {"PartNumber": number, "ContentLength": plan.size_of(number)}
        return self.client.generate_presigned_url(
            "upload_part", Params={**_target(location, plan), **part}, ExpiresIn=_LINK_S
        )


def _target(location: Location, plan: PartPlan) -> Any:
    return {"Bucket": location.bucket, "Key": location.key, "UploadId": plan.multipart_id}


def _gone(exc: ClientError) -> Exception:
    if exc.response["Error"]["Code"] == "NoSuchUpload":
        return UploadNotFound("the upload was completed, abandoned or has expired")
    return exc
