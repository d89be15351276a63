"""The course of a job after its submission: its log, its end, its deletion.

Jobs of every dialect are served, by the id that their own dialect gave them.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from clearstem.errors import JobNotFound
from functions.dialects import job_life, pipeline
from functions.dialects import pipeline_documents as documents
from functions.routes import examples, job_examples
from functions.routes.calls import CurrentCall, job_uuid
from functions.telemetry import logger

router: Final = APIRouter()

_NO_JOB: Final[dict[int | str, dict[str, Any]]] = {
    401: examples.problem("Invalid or missing API key", description="No key, or a wrong one"),
    404: examples.problem("Job not found", description="No such job of this owner"),
}


@router.get(
    "/job/{job_id}/events",
    summary="What happened to a job",
    tags=["jobs"],
    response_model=job_life.EventsDocument,
    responses={200: examples.answer(job_examples.EVENTS), **_NO_JOB},
)
async def events(
    job_id: str,
    call: CurrentCall,
    after: Annotated[int, Query(ge=0, description="Number of the last event known")] = 0,
    limit: Annotated[int, Query(ge=1, le=100, description="Events to a page")] = 100,
) -> JSONResponse:
    """List the events of a job's log; their numbers count from 1 and have no gap.

    Progress is logged at each tenth of the job's work.
    """
    job = await call.job(job_id)
    log = call.service.log
    found = await call.blocking.call(log.after, after, job_id=job.job_id, limit=limit)
    return JSONResponse(job_life.events_document(found, after=after, limit=limit))


@router.post(
    "/job/{job_id}/cancel",
    summary="Stop a job",
    tags=["jobs"],
    response_model=documents.JobDocument,
    responses={
        200: examples.answer(job_examples.CANCELLED_JOB),
        **_NO_JOB,
        409: examples.problem("the job has succeeded already …", description="It ended before"),
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
        **_NO_JOB,
        409: examples.problem("the job is running; only …", description="It did not fail"),
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
    responses={200: examples.answer(job_examples.RECEIPT), **_NO_JOB},
)
async def delete(job_id: str, call: CurrentCall) -> JSONResponse:
    """Delete the recording, the tracks, whatever lies between, the log and the record.

    A job that is not over is cancelled first. Asked again, the answer is the
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
