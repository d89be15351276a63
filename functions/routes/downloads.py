"""The pipeline dialect's downloads: a track, or all tracks in one archive.

Where the deployment streams, bytes pass through here chunk by chunk; behind
API Gateway, which ends answers at 6 MB, tracks are a redirect to storage.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from clearstem import media
from clearstem.errors import TrackNotFound
from clearstem.facts import Track
from clearstem.jobs import Job
from clearstem.track_store import content_disposition
from functions.archive import archive
from functions.dialects import pipeline
from functions.ranges import ByteRange, Unsatisfiable, parse_range
from functions.routes import examples
from functions.routes.calls import Call, CurrentCall

router: Final = APIRouter(tags=["downloads"])

_NOT_FOUND: Final = examples.problem("Track not found", description="No such job or track")


# Before the tracks: "all" would be taken for the name of one.
@router.head("/download/{job_id}/all", include_in_schema=False)
@router.get(
    "/download/{job_id}/all",
    summary="All tracks in one ZIP file",
    response_class=Response,
    responses={
        200: {"description": "The archive", "content": {"application/zip": {}}},
        404: _NOT_FOUND,
        501: examples.problem("this deployment …", description="The deployment cannot stream"),
    },
)
async def download_all(job_id: str, request: Request, call: CurrentCall) -> Response:
    """Send the nine tracks and `job.json` as one archive, made while it is sent."""
    job = await call.job(job_id)
    tracks = pipeline.finished_tracks(job)
    if not tracks:
        status = pipeline.job_document(job)["status"]
        raise TrackNotFound(f"Track not found: the job is {status} ({job.percent:g} %)")
    if not call.service.settings.stream_downloads:
        return _no_archive(job)
    size_bytes, chunks = archive(job, store=call.service.store)
    headers = {
        "Content-Type": media.content_type("zip"),
        "Content-Length": str(size_bytes),
        "Content-Disposition": content_disposition(pipeline.archive_file_name(job)),
    }
    if request.method == "HEAD":
        return Response(headers=headers)
    return StreamingResponse(await call.blocking.opened(chunks), headers=headers)


@router.head("/download/{job_id}/{track_name}", include_in_schema=False)
@router.get(
    "/download/{job_id}/{track_name}",
    summary="One track",
    response_class=Response,
    responses={
        200: {"description": "The track", "content": {"audio/wav": {}, "audio/flac": {}}},
        206: {"description": "The bytes asked for by `Range`"},
        307: {"description": "The track lies at the link in `Location`"},
        404: _NOT_FOUND,
        416: examples.problem("…", description="The range lies behind the end"),
    },
)
async def download(job_id: str, track_name: str, request: Request, call: CurrentCall) -> Response:
    """Send a track by its exact name, with or without its extension."""
    job = await call.job(job_id)
    track = pipeline.find_track(job, track_name)
    if track is None:
        raise TrackNotFound("Track not found")
    if request.method == "HEAD":
        return Response(headers=_headers(job, track))
    if not call.service.settings.stream_downloads:
        return await _redirect(job, track, call=call)
    return await _streamed(job, track, request=request, call=call)


def _headers(job: Job, track: Track) -> dict[str, str]:
    return {
        "Content-Type": media.content_type(track.extension),
        "Content-Length": str(track.size_bytes),
        "Content-Disposition": content_disposition(pipeline.track_file_name(job, track)),
        "Accept-Ranges": "bytes",
        "ETag": f'"{track.sha256}"',
    }


async def _redirect(job: Job, track: Track, *, call: Call) -> Response:
    url = await call.blocking.call(
        call.service.store.presign_download,
        track.location,
        file_name=pipeline.track_file_name(job, track),
        content_type=media.content_type(track.extension),
    )
    return RedirectResponse(url, status_code=307)


async def _streamed(job: Job, track: Track, *, request: Request, call: Call) -> Response:
    headers = _headers(job, track)
    try:
        wanted = _wanted(request.headers, track=track)
    except Unsatisfiable:
        return JSONResponse(
            pipeline.problem(f"the track has {track.size_bytes} bytes"),
            status_code=416,
            headers={"Content-Range": f"bytes */{track.size_bytes}"},
        )
    if wanted is None:
        return StreamingResponse(await _opened(track, None, call=call), headers=headers)
    headers["Content-Length"] = str(wanted.size_bytes)
    headers["Content-Range"] = f"bytes {wanted.first}-{wanted.last}/{track.size_bytes}"
    return StreamingResponse(
        await _opened(track, wanted, call=call), status_code=206, headers=headers
    )


def _wanted(headers: Mapping[str, str], *, track: Track) -> ByteRange | None:
    if headers.get("if-range", f'"{track.sha256}"') != f'"{track.sha256}"':
        return None
    return parse_range(headers.get("range"), size_bytes=track.size_bytes)


async def _opened(track: Track, wanted: ByteRange | None, *, call: Call) -> AsyncIterator[bytes]:
    first, last = (wanted.first, wanted.last) if wanted else (0, None)
    return await call.blocking.opened(
        call.service.store.chunks(track.location, first=first, last=last)
    )


def _no_archive(job: Job) -> JSONResponse:
    paths = ", ".join(pipeline.outputs(job).values())
    return JSONResponse(
        pipeline.problem(
            "this deployment cannot send one archive of all tracks, since its gateway ends "
            f"answers at 6 MB; download them one by one: {paths}"
        ),
        status_code=501,
    )
