"""The recordings that were handed in, for whoever knows their address.

The address holds a token of the job's own, other than the one of its result,
so that who is given the result is not given this. No key is asked for: players
and pages cannot send one.
"""

import secrets
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from clearstem.errors import JobNotFound
from clearstem.jobs import Job
from clearstem.service import Service
from functions.dialects import munsit
from functions.routes.calls import job_uuid, shared_reads
from functions.routes.rates import COUNTED_BY_ADDRESS
from functions.routes.sending import Sendable, send

router: Final = APIRouter(dependencies=[COUNTED_BY_ADDRESS])


@router.head(f"{munsit.ORIGINALS}/{{token}}/{{file_name}}", include_in_schema=False)
@router.get(f"{munsit.ORIGINALS}/{{token}}/{{file_name}}", include_in_schema=False)
async def original(token: str, file_name: str, request: Request) -> Response:
    """Send a recording as it was handed in, while its bucket keeps it."""
    service: Service = request.app.state.service
    snapshot = await shared_reads(request).get(job_uuid(file_name.partition(".")[0]))
    job, source = snapshot.job, snapshot.job.source
    if not _is_given_out(job, token, bucket=service.settings.uploads_bucket):
        raise JobNotFound("Job not found")
    file = Sendable(
        source.location, source.extension, source.size_bytes, source.file_name, job.job_id
    )
    return await send(file, request)


def _is_given_out(job: Job, token: str, *, bucket: str) -> bool:
    # In constant time: the token is all that keeps strangers out.
    known = secrets.compare_digest(job.source_token.encode(), token.encode())
    # What was dropped into a bucket stays where its owner put it.
    kept = job.source.location.bucket == bucket and job.source.size_bytes > 0
    return bool(job.source_token) and known and kept and job.deleted_at is None
