"""An object on its way to a client: whole, in part, or as a redirect to storage.

Where the deployment streams, bytes pass through here chunk by chunk; behind
API Gateway, which ends answers at 6 MB, it is a redirect. Never with a
Content-Encoding: some clients store the bytes as they come.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from clearstem import media
from clearstem.errors import RangeOutside
from clearstem.facts import Location, Track
from clearstem.service import Service
from clearstem.track_store import content_disposition
from functions.blocking import Blocking
from functions.ranges import ByteRange, Unsatisfiable, parse_range


@dataclass(frozen=True, slots=True)
class Sendable:
    """A stored file and what is told of it.

    Attributes
    ----------
    file_name : str
        The name it is to be stored by.
    version : str
        Of the content: another content has another.
    """

    location: Location
    extension: str
    size_bytes: int
    file_name: str
    version: str

    @property
    def etag(self) -> str:
        """The version as a header gives it."""
        return f'"{self.version}"'


async def send_track(track: Track, request: Request, *, file_name: str) -> Response:
    """Answer a GET or HEAD for a track, under the name it is to be stored by.

    Raises
    ------
    TrackNotFound
        Its object is gone from storage.
    RangeOutside
        None of the bytes asked for are in it.
    """
    file = Sendable(track.location, track.extension, track.size_bytes, file_name, track.sha256)
    return await send(file, request)


async def send(file: Sendable, request: Request) -> Response:
    """Answer a GET or HEAD for a stored file; raises as `send_track` does."""
    headers = _headers(file)
    if request.method == "HEAD":
        return Response(headers=headers)
    service: Service = request.app.state.service
    if not service.settings.stream_downloads:
        return await _redirect(file, request)
    return await _streamed(file, request, headers=headers)


def _headers(file: Sendable) -> dict[str, str]:
    return {
        "Content-Type": media.content_type(file.extension),
        "Content-Length": str(file.size_bytes),
        "Content-Disposition": content_disposition(file.file_name),
        "Accept-Ranges": "bytes",
        "ETag": file.etag,
    }


async def _redirect(file: Sendable, request: Request) -> Response:
    service: Service = request.app.state.service
    blocking: Blocking = request.app.state.blocking
    url = await blocking.call(
        service.store.presign_download,
        file.location,
        file_name=file.file_name,
        content_type=media.content_type(file.extension),
    )
    return RedirectResponse(url, status_code=307)


async def _streamed(file: Sendable, request: Request, *, headers: dict[str, str]) -> Response:
    try:
        wanted = _wanted(request.headers, file=file)
    except Unsatisfiable as exc:
        raise RangeOutside(size_bytes=file.size_bytes) from exc
    chunks = await _opened(file, request, wanted)
    if wanted is None:
        return StreamingResponse(chunks, headers=headers)
    headers["Content-Length"] = str(wanted.size_bytes)
    headers["Content-Range"] = f"bytes {wanted.first}-{wanted.last}/{file.size_bytes}"
    return StreamingResponse(chunks, status_code=206, headers=headers)


def _wanted(headers: Mapping[str, str], *, file: Sendable) -> ByteRange | None:
    if headers.get("if-range", file.etag) != file.etag:
        return None
    return parse_range(headers.get("range"), size_bytes=file.size_bytes)


async def _opened(
    file: Sendable, request: Request, wanted: ByteRange | None
) -> AsyncIterator[bytes]:
    service: Service = request.app.state.service
    blocking: Blocking = request.app.state.blocking
    first, last = (wanted.first, wanted.last) if wanted else (0, None)
    return await blocking.opened(service.store.chunks(file.location, first=first, last=last))
