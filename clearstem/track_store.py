"""Recordings and tracks in S3: presigned URLs, keys, streamed reads and writes.

Nothing here holds an object in memory: uploads go part by part, downloads
chunk by chunk.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from clearstem.errors import TooLarge, TrackNotFound, UploadNotFound
from clearstem.facts import Location
from clearstem.media import HEAD_BYTES, MEBIBYTE
from clearstem.part_uploads import PartUploads
from clearstem.places import Places

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

# S3's least part but the last is 5 MiB, its most parts 10,000: 8 MiB carries 78 GiB.
PART_BYTES: Final = 8 * MEBIBYTE
_CHUNK_BYTES: Final = 256 * 1024
UPLOAD_LINK_S: Final = 3600
# Long enough to start a download, short enough that a leaked link is stale.
_DOWNLOAD_LINK_S: Final = 900
# A copy within storage is one request up to here. Above it is made of parts side by side,
# which is faster, and needed above 5 GB.
_COPIED_AT_ONCE_BYTES: Final = 64 * MEBIBYTE
_PARTS_SIDE_BY_SIDE: Final = 16


@dataclass(frozen=True, slots=True)
class PresignedUpload:
    """How to send one file straight to storage, by PUT or by a browser's form POST."""

    put_url: str
    put_headers: dict[str, str]
    post_url: str
    post_fields: dict[str, str]
    expires_in_s: int


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it lies there.

    Attributes
    ----------
    sha256 : str or None
        Of the whole, in hexadecimal, where storage checked it when the object came.
    """

    size_bytes: int
    metadata: dict[str, str]
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class TrackStore:
    """The buckets, through one S3 client signed with version 4."""

    client: "S3Client"

    @property
    def in_parts(self) -> PartUploads:
        """Uploads that come in parts."""
        return PartUploads(self.client)

    @property
    def places(self) -> Places:
        """What lies in the buckets with all its versions, and what ends it."""
        return Places(self.client)

    def stat(self, location: Location) -> Stored:
        """Size, metadata and sum of an object; `UploadNotFound` if there is none."""
        asked: Any = {"Bucket": location.bucket, "Key": location.key, "ChecksumMode": "ENABLED"}
        try:
            head = self.client.head_object(**asked)
        except ClientError as exc:
            if exc.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise UploadNotFound(f"nothing was uploaded to {location.key}") from exc
            raise
        return Stored(head["ContentLength"], dict(head["Metadata"]), sha256=_sum_of_whole(head))

    def head(self, location: Location) -> bytes:
        """The first bytes of an object, enough to tell what it is."""
        last = HEAD_BYTES - 1
        answer = self.client.get_object(
            Bucket=location.bucket, Key=location.key, Range=f"bytes=0-{last}"
        )
        with closing(answer["Body"]) as body:
            return body.read(HEAD_BYTES)

    def chunks(
        self, location: Location, *, first: int = 0, last: int | None = None
    ) -> Iterator[bytes]:
        """An object's bytes in order, from byte `first` through byte `last` or the end.

        Raises
        ------
        TrackNotFound
            With the first chunk: the object is not there (any more).
        """
        span = f"bytes={first}-{'' if last is None else last}"
        ranged: Any = {"Range": span} if first or last is not None else {}
        try:
            answer = self.client.get_object(Bucket=location.bucket, Key=location.key, **ranged)
        except self.client.exceptions.NoSuchKey as exc:
            raise TrackNotFound("Track not found") from exc
        # Not `with answer["Body"]`: that enters the raw response, without the check of its length.
        with closing(answer["Body"]) as body:
            yield from body.iter_chunks(_CHUNK_BYTES)

    def fetch(self, location: Location, *, to: Path) -> None:
        """Copy an object to a local file."""
        self.client.download_file(location.bucket, location.key, str(to))

    def put_file(self, path: Path, *, to: Location, content_type: str) -> None:
        """Copy a local file to an object, in parts where it is large."""
        extra = {"ContentType": content_type}
        self.client.upload_file(str(path), to.bucket, to.key, ExtraArgs=extra)

    def copy(self, source: Location, *, to: Location, content_type: str) -> None:
        """Copy an object within storage; no byte of it comes here.

        Raises
        ------
        botocore.exceptions.ClientError
            There is none, or it may not be read.
        """
        self.client.copy(
            {"Bucket": source.bucket, "Key": source.key},
            to.bucket,
            to.key,
            # A copy in parts would be of no type: those have none to be copied from.
            ExtraArgs={"ContentType": content_type, "MetadataDirective": "REPLACE"},
            Config=TransferConfig(
                multipart_threshold=_COPIED_AT_ONCE_BYTES,
                multipart_chunksize=_COPIED_AT_ONCE_BYTES,
                max_concurrency=_PARTS_SIDE_BY_SIDE,
            ),
        )

    def size_bytes(self, location: Location) -> int | None:
        """An object's size, or None if there is none."""
        found = self._listed(location)
        return found["Size"] if found else None

    def stored_at(self, location: Location) -> datetime | None:
        """When an object came, or None if there is none."""
        found = self._listed(location)
        return found["LastModified"] if found else None

    def read_text(self, location: Location) -> str | None:
        """A small object's text, or None if there is none."""
        if self.size_bytes(location) is None:
            return None
        answer = self.client.get_object(Bucket=location.bucket, Key=location.key)
        with closing(answer["Body"]) as body:
            return body.read().decode()

    def write_text(self, text: str, *, to: Location, content_type: str) -> None:
        """Store a small text whole; readers see all of it or none."""
        self.client.put_object(
            Bucket=to.bucket, Key=to.key, Body=text.encode(), ContentType=content_type
        )

    def presign_download(self, location: Location, *, file_name: str, content_type: str) -> str:
        """A link that downloads an object under a name, for 15 minutes."""
        return self.client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": location.bucket,
                "Key": location.key,
                "ResponseContentDisposition": content_disposition(file_name),
                "ResponseContentType": content_type,
            },
            ExpiresIn=_DOWNLOAD_LINK_S,
        )

    def presign_upload(
        self,
        location: Location,
        *,
        content_type: str,
        max_bytes: int,
        size_bytes: int | None = None,
        sha256: str | None = None,
    ) -> PresignedUpload:
        """Links that take one upload of at most `max_bytes`, for an hour.

        A PUT cannot be bounded, but it can be signed for an exact size and
        content: the headers to send say which. A form takes exactly that size too,
        since no more was counted for its owner. Without a size, what is too
        large is refused when a job is asked for.

        Parameters
        ----------
        sha256 : str or None
            Of the file, in base64: storage refuses any other.
        """
        exact: dict[str, Any] = {"ContentType": content_type}
        headers = {"Content-Type": content_type}
        if size_bytes is not None:
            exact["ContentLength"] = size_bytes
            headers["Content-Length"] = str(size_bytes)
        if sha256 is not None:
            exact["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = sha256
        least, most = (1, max_bytes) if size_bytes is None else (size_bytes, size_bytes)
        conditions: list[Any] = [
            ["content-length-range", least, most],
            {"Content-Type": content_type},
        ]
        post = self.client.generate_presigned_post(
            location.bucket,
            location.key,
            Fields={"Content-Type": content_type},
            Conditions=conditions,
            ExpiresIn=UPLOAD_LINK_S,
        )
        return PresignedUpload(
            put_url=self._put_link(location, exact),
            put_headers=headers,
            post_url=post["url"],
            post_fields=post["fields"],
            expires_in_s=UPLOAD_LINK_S,
        )

    def presign_put(self, location: Location, *, size_bytes: int) -> str:
        """A link for a PUT of exactly that size and of any type, for an hour."""
        return self._put_link(location, {"ContentLength": size_bytes})

    def _put_link(self, location: Location, exact: dict[str, Any]) -> str:
        return self.client.generate_presigned_url(
            "put_object",
            Params={"Bucket": location.bucket, "Key": location.key, **exact},
            ExpiresIn=UPLOAD_LINK_S,
        )

    def _listed(self, location: Location) -> "ObjectTypeDef | None":
        """What storage lists of an object.

        To who may list no more than a part of a bucket S3 answers a read of what
        is not there with 403, not 404.
        """
        answer = self.client.list_objects_v2(Bucket=location.bucket, Prefix=location.key, MaxKeys=1)
        # Of all keys that begin so, the key itself comes first.
        found = next(iter(answer.get("Contents", ())), None)
        return found if found and found["Key"] == location.key else None

    def writer(self, location: Location, *, content_type: str, max_bytes: int) -> "ObjectWriter":
        """A writer that streams into a new object; see `ObjectWriter`."""
        return ObjectWriter(self.client, location, content_type=content_type, max_bytes=max_bytes)


class ObjectWriter:
    """Streams bytes of unknown length into one object, never holding more than a part.

    Use as a context manager: leaving it well makes the object appear, leaving
    it by an exception leaves nothing behind.

    Attributes
    ----------
    head : bytes
        The first bytes written.
    size_bytes : int
        Written so far.
    """

    def __init__(
        self, client: "S3Client", location: Location, *, content_type: str, max_bytes: int
    ) -> None:
        self._client = client
        self._location = location
        self._content_type = content_type
        self._max_bytes = max_bytes
        self.head = b""
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._etags: list[str] = []

    def __enter__(self) -> "ObjectWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._abort()
            return
        try:
            self._finish()
        except BaseException:
            self._abort()
            raise

    @property
    def sha256(self) -> str:
        """Of the bytes written so far, in hexadecimal."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises
        ------
        TooLarge
            The object would pass `max_bytes`.
        """
        self.size_bytes += len(data)
        if self.size_bytes > self._max_bytes:
            raise TooLarge(
                f"File is larger than the limit of {self._max_bytes / MEBIBYTE:g} MB",
                facts={"field": "size_bytes", "accepted": {"maximum": self._max_bytes}},
            )
        self.head = (self.head + data[:HEAD_BYTES])[:HEAD_BYTES]
        self._digest.update(data)
        self._buffer += data
        while len(self._buffer) >= PART_BYTES:
            self._send_part(PART_BYTES)

    def _send_part(self, size: int) -> None:
        if self._upload_id is None:
            answer = self._client.create_multipart_upload(
                **self._target(), ContentType=self._content_type
            )
            self._upload_id = answer["UploadId"]
        part = self._client.upload_part(
            **self._target(),
            UploadId=self._upload_id,
            PartNumber=len(self._etags) + 1,
            Body=bytes(self._buffer[:size]),
        )
        self._etags.append(part["ETag"])
        del self._buffer[:size]

    def _finish(self) -> None:
        if self._upload_id is None:
            self._client.put_object(
                **self._target(), Body=bytes(self._buffer), ContentType=self._content_type
            )
            return
        if self._buffer:
            self._send_part(len(self._buffer))
        parts: Any = [{"ETag": e, "PartNumber": n} for n, e in enumerate(self._etags, start=1)]
        self._client.complete_multipart_upload(
            **self._target(), UploadId=self._upload_id, MultipartUpload={"Parts": parts}
        )

    def _abort(self) -> None:
        # Parts of an unfinished upload are invisible, and paid for, until it is ended.
        if self._upload_id is not None:
            self._client.abort_multipart_upload(**self._target(), UploadId=self._upload_id)

    def _target(self) -> Any:
        return {"Bucket": self._location.bucket, "Key": self._location.key}


def _sum_of_whole(head: Mapping[str, Any]) -> str | None:
    """The sha256 that S3 keeps, in hexadecimal.

    Of what came in parts it keeps a sum over the sums of the parts, which says nothing here.
    """
    kept = head.get("ChecksumSHA256", "")
    if not kept or "-" in kept or head.get("ChecksumType") == "COMPOSITE":
        return None
    return base64.b64decode(kept).hex()


def content_disposition(file_name: str) -> str:
    """An attachment header for a name of any script (RFC 6266, RFC 5987)."""
    ascii_name = file_name.encode("ascii", "replace").decode()
    quoted = ascii_name.replace("\\", "_").replace('"', "_")
    return f"attachment; filename=\"{quoted}\"; filename*=UTF-8''{quote(file_name, safe='')}"
