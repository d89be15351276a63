"""The pipeline dialect's downloads: a track, or all tracks in one archive."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from clearstem import media
from clearstem.errors import NotOffered, TrackNotFound
from clearstem.jobs import Job
from clearstem.track_store import content_disposition
from functions.archive import archive
from functions.dialects import pipeline
from functions.dialects import pipeline_documents as documents
from functions.routes import examples
from functions.routes.calls import CurrentCall
from functions.routes.sending import send_track

router: Final = APIRouter(tags=["downloads"])

_NOT_FOUND: Final = examples.problem(404, "Track not found", description="No such job or track")


# Before the tracks: "all" would be taken for the name of one.
@router.head("/download/{job_id}/all", include_in_schema=False)
@router.get(
    "/download/{job_id}/all",
    summary="All tracks in one ZIP file",
    response_class=Response,
    responses={
        200: {"description": "The archive", "content": {"application/zip": {}}},
        404: _NOT_FOUND,
        501: examples.problem(501, "this deployment …", description="The deployment cannot stream"),
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
        raise _no_archive(job)
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
        416: examples.problem(
            416,
            "the track has 31752044 bytes",
            description="The range lies behind the end",
            model=documents.RangeDocument,
            size_bytes=31_752_044,
        ),
    },
)
async def download(job_id: str, track_name: str, request: Request, call: CurrentCall) -> Response:
    """Send a track by its exact name, with or without its extension."""
    job = await call.job(job_id)
    track = pipeline.find_track(job, track_name)
    if track is None:
        raise TrackNotFound("Track not found")
    return await send_track(track, request, file_name=pipeline.track_file_name(job, track))


def _no_archive(job: Job) -> NotOffered:
    paths = ", ".join(pipeline.outputs(job).values())
    return NotOffered(
        "this deployment cannot send one archive of all tracks, since its gateway ends "
        f"answers at 6 MB; download them one by one: {paths}"
    )
