"""The recordings that were handed in, for whoever knows their address.

The address holds a token of the job's own, other than the one of its result,
so that who is given the result is not given this. No key is asked for: players
and pages cannot send one.
"""

import secrets
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from clearstem import media
from clearstem.errors import JobNotFound
from clearstem.facts import Source
from clearstem.jobs import Job
from clearstem.service import Service
from clearstem.track_store import content_disposition
from functions.blocking import Blocking
from functions.dialects import munsit
from functions.ranges import Unsatisfiable, parse_range
from functions.routes.calls import job_uuid

router: Final = APIRouter()


@router.get(f"{munsit.ORIGINALS}/{{token}}/{{file_name}}", include_in_schema=False)
async def original(token: str, file_name: str, request: Request) -> Response:
    """Send a recording as it was handed in, while its bucket keeps it."""
    service: Service = request.app.state.service
    blocking: Blocking = request.app.state.blocking
    job = (await request.app.state.reads.get(job_uuid(file_name.partition(".")[0]))).job
    if not _is_given_out(job, token, service=service):
        raise JobNotFound("Job not found")
    if service.settings.stream_downloads:
        return await _streamed(job.source, request, service=service, blocking=blocking)
    url = await blocking.call(
        service.store.presign_download,
        job.source.location,
        file_name=job.source.file_name,
        content_type=media.content_type(job.source.extension),
    )
    return RedirectResponse(url, status_code=307)


def _is_given_out(job: Job, token: str, *, service: Service) -> bool:
    known = bool(job.source_token) and secrets.compare_digest(
        job.source_token.encode(), token.encode()
    )
    # What was dropped into a bucket stays where its owner put it.
    kept = job.source.location.bucket == service.settings.uploads_bucket
    return known and kept and job.source.size_bytes > 0 and job.deleted_at is None


async def _streamed(
    source: Source, request: Request, *, service: Service, blocking: Blocking
) -> Response:
    headers = {
        "Content-Type": media.content_type(source.extension),
        "Content-Length": str(source.size_bytes),
        "Content-Disposition": content_disposition(source.file_name),
        "Accept-Ranges": "bytes",
    }
    try:
        wanted = parse_range(request.headers.get("range"), size_bytes=source.size_bytes)
    except Unsatisfiable:
        span = {"Content-Range": f"bytes */{source.size_bytes}"}
        return Response(status_code=416, headers=span)
    first, last = (wanted.first, wanted.last) if wanted else (0, None)
    chunks = await blocking.opened(service.store.chunks(source.location, first=first, last=last))
    if wanted is None:
        return StreamingResponse(chunks, headers=headers)
    headers["Content-Length"] = str(wanted.size_bytes)
    headers["Content-Range"] = f"bytes {wanted.first}-{wanted.last}/{source.size_bytes}"
    return StreamingResponse(chunks, status_code=206, headers=headers)
