"""S3 objects that are read from disk as they are sent, and uploaded in parts that are kept there.

MiniStack reads a whole object for every request, a range of one included, and holds the parts of
an upload in memory until it is complete. A stage that reads half a gigabyte in ranges of 8 MiB
would make it read 32 GB. Here a read touches the bytes that are asked for, and a part lies in a
file that is mapped, so that memory stays flat however long the recording is. Only completing an
upload puts the object together in memory, once and for a moment.
"""

import contextvars
import mmap
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ministack.core.responses import StreamingResponse
from ministack.services import s3

from infra.local import selfcheck
from infra.local.guard import Receive, Send

_CHUNK_BYTES = 256 * 1024
_MAPPED_FROM_BYTES = 1024 * 1024  # below, a mapping costs more than it saves

Answer = tuple[int, dict[str, Any], Any]

_reading: contextvars.ContextVar[bool] = contextvars.ContextVar("reading_object", default=False)


def install() -> None:
    """Extend MiniStack's S3."""
    selfcheck.replace("ministack.services.s3:_read_body", _from_disk)
    selfcheck.replace("ministack.services.s3:_get_object", _streaming)
    selfcheck.replace("ministack.services.s3:_upload_part", _mapping_part)


class StoredBody:
    """An object's bytes on disk; slicing reads just the slice."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._size = os.stat(path).st_size  # noqa: PTH116 - on the path of every read

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        with open(self._path, "rb") as file:  # noqa: PTH123 - as above
            file.seek(start)
            return file.read(max(0, stop - start))

    async def send(self, send: Send, _receive: Receive) -> None:
        """Send the whole as the body of a response, a chunk at a time."""
        with open(self._path, "rb") as file:  # noqa: PTH123 - as above
            left = self._size
            while left > 0:
                chunk = file.read(min(left, _CHUNK_BYTES))
                if not chunk:  # truncated underneath: leave the body short, so the caller sees it
                    return
                left -= len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _from_disk(read: Callable[..., bytes]) -> Callable[..., Any]:
    def read_body(bucket: str, key: str, record: dict[str, Any]) -> Any:
        if not _reading.get() or record.get("body") is not None:
            return read(bucket, key, record)
        path = s3._object_disk_path(bucket, key)
        return StoredBody(path) if path and Path(path).is_file() else read(bucket, key, record)

    return read_body


def _streaming(get: Callable[..., Answer]) -> Callable[..., Answer]:
    def get_object(*args: Any, **kwargs: Any) -> Answer:
        token = _reading.set(True)
        try:
            status, headers, body = get(*args, **kwargs)
        finally:
            _reading.reset(token)
        if not isinstance(body, StoredBody):
            return status, headers, body
        if len(body) <= _CHUNK_BYTES:
            return status, headers, body[:]
        return status, {**headers, "Content-Length": str(len(body))}, StreamingResponse(body.send)

    return get_object


def _mapping_part(upload: Callable[..., Answer]) -> Callable[..., Answer]:
    def upload_part(
        bucket: str, key: str, body: bytes, query: dict[str, Any], headers: dict[str, str]
    ) -> Answer:
        answer = upload(bucket, key, body, query, headers)
        if answer[0] == 200 and len(body) >= _MAPPED_FROM_BYTES:
            part = s3._multipart_uploads[s3._qp(query, "uploadId")]["parts"]
            part[int(s3._qp(query, "partNumber"))]["body"] = _mapped(body)
        return answer

    return upload_part


def _mapped(body: bytes) -> mmap.mmap:
    """`body` in a file without a name: it goes when the mapping does, or with the process."""
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        return mmap.mmap(file.fileno(), len(body), access=mmap.ACCESS_READ)
