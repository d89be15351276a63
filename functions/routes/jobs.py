"""The course of a job after its submission: its log, its end, its deletion.

Jobs of every dialect are served, by the id that their own dialect gave them.
"""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from clearstem.errors import InvalidRequest, JobNotFound
from clearstem.job_filter import JobFilter, job_filter
from clearstem.jobs import Job
from clearstem.terms import Terms, terms_of
from functions.dialects import job_life, pipeline
from functions.dialects import pipeline_documents as documents
from functions.routes import examples, job_examples, job_stream
from functions.routes.calls import CurrentCall, job_uuid
from functions.telemetry import logger

router: Final = APIRouter()

_JSON_BYTES: Final = 16 * 1024
_DELETED: Final[job_life.ReceiptsDocument] = {
    "receipts": [job_examples.RECEIPT],
    "next_cursor": None,
}


class Amendment(BaseModel):
    """What is to change of a job; what is not named stays as it is."""

    model_config = ConfigDict(extra="forbid")

    labels: dict[str, str] | None = Field(default=None, examples=[{"album": "Demos"}])
    retention_hours: float | None = Field(default=None, examples=[72.0])


class Retention(BaseModel):
    """How long jobs to come are kept where they say nothing of it themselves."""

    model_config = ConfigDict(extra="forbid")

    retention_hours: float | None = Field(description="Null keeps them", examples=[720.0])


def _wanted(
    status: Annotated[
        str | None,
        Query(description="`processing`, `completed` or `failed`, as jobs show it; or a finer one"),
    ] = None,
    recipe: Annotated[str | None, Query(description="`separate` or `denoise`")] = None,
    label: Annotated[list[str] | None, Query(description="`name:value`, all of them")] = None,
    since: Annotated[datetime | None, Query(description="Submitted then or later")] = None,
    until: Annotated[datetime | None, Query(description="Submitted before")] = None,
) -> JobFilter:
    if status == "deleted":
        raise InvalidRequest("deleted jobs are told by their receipts, at GET /jobs/deleted")
    labels = {}
    for text in label or ():
        name, mark, value = text.partition(":")
        if not mark:
            raise InvalidRequest(f"label {text[:80]!r} is not of the form name:value")
        labels[name] = value
    return job_filter(status=status, recipe=recipe, labels=labels, since=since, until=until)


@router.get(
    "/jobs",
    summary="The caller's jobs, newest first",
    tags=["jobs"],
    response_model=documents.JobsDocument,
    responses={200: examples.answer(examples.JOBS), **examples.NEEDS_KEY},
)
async def jobs(
    call: CurrentCall,
    wanted: Annotated[JobFilter, Depends(_wanted)],
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs to a page")] = 20,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
) -> JSONResponse:
    """List jobs page by page, all or those that are like what is asked for.

    A page of few among many may be short, or empty, and yet have a
    `next_cursor`: it tells where the search goes on.
    """
    history = call.service.jobs.history
    page = await call.blocking.call(history, call.owner, limit=limit, cursor=cursor, only=wanted)
    return JSONResponse(pipeline.jobs_document(page))


@router.get(
    "/jobs/deleted",
    summary="The caller's deleted jobs",
    tags=["jobs"],
    response_model=job_life.ReceiptsDocument,
    responses={200: examples.answer(_DELETED), **examples.NEEDS_KEY},
)
async def deleted(
    call: CurrentCall,
    limit: Annotated[int, Query(ge=1, le=100, description="Receipts to a page")] = 20,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
) -> JSONResponse:
    """List the receipts of deleted jobs, the last submitted first, for 90 days.

    Jobs whose files alone were deleted stay in `GET /jobs`.
    """
    receipts = call.service.retention.receipts
    found, more = await call.blocking.call(receipts, call.owner, limit=limit, cursor=cursor)
    return JSONResponse(job_life.receipts_document(found, cursor=more))


@router.get(
    "/retention",
    summary="How long the caller's jobs are kept",
    tags=["jobs"],
    response_model=job_life.RetentionDocument,
    responses={200: examples.answer({"retention_hours": 720.0}), **examples.NEEDS_KEY},
)
async def retention(call: CurrentCall) -> JSONResponse:
    """Tell after how many hours a job is deleted that says nothing of it itself."""
    hours = await call.blocking.call(call.service.retention.owners_hours, call.owner)
    return JSONResponse({"retention_hours": hours})


@router.put(
    "/retention",
    max_body_size=_JSON_BYTES,
    summary="Settle how long the caller's jobs are kept",
    tags=["jobs"],
    response_model=job_life.RetentionDocument,
    responses={200: examples.answer({"retention_hours": 720.0}), **examples.NEEDS_KEY},
)
async def keep(body: Retention, call: CurrentCall) -> JSONResponse:
    """Settle it for jobs to come; those that are there stay under the terms they came with."""
    hours = body.retention_hours
    await call.blocking.call(call.service.retention.keep, call.owner, hours=hours)
    return JSONResponse({"retention_hours": hours})


@router.patch(
    "/job/{job_id}",
    max_body_size=_JSON_BYTES,
    summary="Label a job, or say how long it is kept",
    tags=["jobs"],
    response_model=documents.JobDocument,
    responses={200: examples.answer(examples.QUEUED_JOB), **examples.NO_JOB},
)
async def amend(job_id: str, body: Amendment, call: CurrentCall) -> JSONResponse:
    """Change what is given: labels as a whole, or the hours from its submission to its deletion."""
    given = body.model_dump(exclude_unset=True)

    def amended(job: Job) -> Job:
        present = terms_of(job)
        labels = given.get("labels", present.labels)
        kept = given.get("retention_hours", present.kept_hours)
        return Terms(labels or {}, kept_hours=kept).of(job, at=call.service.now())

    job = await call.job(job_id)
    changed = await call.blocking.call(call.service.jobs.change, job.job_id, amended)
    return JSONResponse(pipeline.job_document(changed))


@router.get(
    "/job/{job_id}/events",
    summary="What happened to a job",
    tags=["jobs"],
    response_model=job_life.EventsDocument,
    responses={
        200: job_examples.EVENTS_ANSWER,
        204: {"description": "A stream of a job that is over, of which all has been seen"},
        **job_examples.NO_JOB,
    },
)
async def events(
    request: Request,
    job_id: str,
    call: CurrentCall,
    after: Annotated[
        int, Query(ge=0, le=job_stream.LATEST, description="Number of the last event known")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=100, description="Events to a page")] = 100,
) -> Response:
    """List the events of a job's log; their numbers count from 1 and have no gap.

    Progress is logged at each tenth of the job's work. With the header
    `Accept: text/event-stream` they come as they happen, up to the job's end;
    `Last-Event-ID`, the number of the last one seen, resumes such a stream.
    """
    snapshot = await call.told(job_id)
    if job_stream.is_asked_for(request):
        seen = job_stream.last_seen(request, after=after)
        return job_stream.stream(request, call, snapshot, after=seen)
    log = call.service.log
    found = await call.blocking.call(log.after, after, job_id=snapshot.job.job_id, limit=limit)
    return JSONResponse(job_life.events_document(found, after=after, limit=limit))


@router.post(
    "/job/{job_id}/cancel",
    summary="Stop a job",
    tags=["jobs"],
    response_model=documents.JobDocument,
    responses={
        200: examples.answer(job_examples.CANCELLED_JOB),
        **examples.NO_JOB,
        409: examples.problem(
            409, "the job has succeeded already …", description="It ended before"
        ),
    },
)
async def cancel(job_id: str, call: CurrentCall) -> JSONResponse:
    """End a job and the work on it; its status is `failed`, by `Clearstem.Cancelled`.

    A job that was cancelled before stays as it is, and the answer is the same.
    """
    job = await call.job(job_id)
    cancelled = await call.blocking.call(call.service.control.cancel, job.job_id)
    logger().info("job cancelled", job_id=job.job_id)
    return JSONResponse(pipeline.job_document(cancelled))


@router.post(
    "/job/{job_id}/retry",
    summary="Take a failed job up again",
    tags=["jobs"],
    response_model=documents.JobDocument,
    responses={
        200: examples.answer(job_examples.RETRIED_JOB),
        **examples.NO_JOB,
        409: examples.problem(409, "the job is running; only …", description="It did not fail"),
    },
)
async def retry(job_id: str, call: CurrentCall) -> JSONResponse:
    """Queue a failed job again; the stages that were done are not done again."""
    job = await call.job(job_id)
    retried = await call.blocking.call(call.service.control.retry, job.job_id)
    logger().info("job retried", job_id=job.job_id, attempt=retried.attempt)
    return JSONResponse(pipeline.job_document(retried))


@router.delete(
    "/job/{job_id}",
    summary="Delete a job with all its files",
    tags=["jobs"],
    response_model=job_life.ReceiptDocument,
    responses={200: examples.answer(job_examples.RECEIPT), **examples.NO_JOB},
)
async def delete(job_id: str, call: CurrentCall) -> JSONResponse:
    """Delete the recording, the tracks, whatever lies between, the log and the record.

    What webhooks were sent of it is deleted too, and what is still on its way when it has
    arrived. A job that is not over is cancelled first. Asked again, the answer is the
    same receipt, for 90 days.
    """
    removal = call.service.removal
    try:
        job = await call.job(job_id)
    except JobNotFound:
        known = job_uuid(job_id)
        receipt = await call.blocking.call(removal.receipt, known, owner=call.owner)
    else:
        receipt = await call.blocking.call(removal.delete, job.job_id)
        logger().info("job deleted", job_id=job.job_id, files=receipt.files)
    return JSONResponse(job_life.receipt_document(receipt))
