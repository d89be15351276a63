"""A track on its way to a client: whole, in part, or as a redirect to storage.

Where the deployment streams, bytes pass through here chunk by chunk; behind
API Gateway, which ends answers at 6 MB, a track is a redirect. Never with a
Content-Encoding: some clients store the bytes as they come.
"""

from collections.abc import AsyncIterator, Mapping

from fastapi import Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from clearstem import media
from clearstem.facts import Track
from clearstem.service import Service
from clearstem.track_store import content_disposition
from functions.blocking import Blocking
from functions.ranges import ByteRange, Unsatisfiable, parse_range


async def send_track(track: Track, request: Request, *, file_name: str) -> Response:
    """Answer a GET or HEAD for a track, under the name it is to be stored by.

    Raises
    ------
    TrackNotFound
        Its object is gone from storage.
    """
    headers = _headers(track, file_name=file_name)
    if request.method == "HEAD":
        return Response(headers=headers)
    service: Service = request.app.state.service
    if not service.settings.stream_downloads:
        return await _redirect(track, request, file_name=file_name)
    return await _streamed(track, request, headers=headers)


def _headers(track: Track, *, file_name: str) -> dict[str, str]:
    return {
        "Content-Type": media.content_type(track.extension),
        "Content-Length": str(track.size_bytes),
        "Content-Disposition": content_disposition(file_name),
        "Accept-Ranges": "bytes",
        "ETag": f'"{track.sha256}"',
    }


async def _redirect(track: Track, request: Request, *, file_name: str) -> Response:
    service: Service = request.app.state.service
    blocking: Blocking = request.app.state.blocking
    url = await blocking.call(
        service.store.presign_download,
        track.location,
        file_name=file_name,
        content_type=media.content_type(track.extension),
    )
    return RedirectResponse(url, status_code=307)


async def _streamed(track: Track, request: Request, *, headers: dict[str, str]) -> Response:
    try:
        wanted = _wanted(request.headers, track=track)
    except Unsatisfiable:
        return JSONResponse(
            {"detail": f"the track has {track.size_bytes} bytes"},
            status_code=416,
            headers={"Content-Range": f"bytes */{track.size_bytes}"},
        )
    chunks = await _opened(track, request, wanted)
    if wanted is None:
        return StreamingResponse(chunks, headers=headers)
    headers["Content-Length"] = str(wanted.size_bytes)
    headers["Content-Range"] = f"bytes {wanted.first}-{wanted.last}/{track.size_bytes}"
    return StreamingResponse(chunks, status_code=206, headers=headers)


def _wanted(headers: Mapping[str, str], *, track: Track) -> ByteRange | None:
    if headers.get("if-range", f'"{track.sha256}"') != f'"{track.sha256}"':
        return None
    return parse_range(headers.get("range"), size_bytes=track.size_bytes)


async def _opened(track: Track, request: Request, wanted: ByteRange | None) -> AsyncIterator[bytes]:
    service: Service = request.app.state.service
    blocking: Blocking = request.app.state.blocking
    first, last = (wanted.first, wanted.last) if wanted else (0, None)
    return await blocking.opened(service.store.chunks(track.location, first=first, last=last))
