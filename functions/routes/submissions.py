"""Jobs made of recordings that are in storage already: one, or many at once."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from clearstem.errors import BackendUnavailable, ClearstemError, InvalidOption
from clearstem.jobs import Job
from clearstem.options import Options, read_options, recipe_named
from clearstem.quotes import Quote
from clearstem.recipes import SEPARATE
from clearstem.terms import Terms
from functions.answers import EchoingJson
from functions.dialects import job_life, pipeline, problems
from functions.dialects import pipeline_documents as documents
from functions.idempotency import leave_open
from functions.routes import examples
from functions.routes.calls import Call, CurrentCall
from functions.telemetry import logger

router: Final = APIRouter()

# What is read into memory to be parsed; a job's options take some hundred
# bytes, its labels 5 KB at the most.
_JSON_BYTES: Final = 16 * 1024
_MOST_JOBS: Final = 100
_UNFINISHED: Final = (
    "AWS did not answer as it should, so the job may be there or not; GET /jobs tells, and so does "
    "the same batch under the same Idempotency-Key"
)


class JobRequest(BaseModel):
    """An upload to make a job of, the job's options, and what its owner calls it by."""

    model_config = ConfigDict(extra="forbid")

    upload_id: str = Field(examples=["5b0c7e86-2f5e-4d8f-9a57-0f9a4f1f1c3e"])
    recipe: str = Field(default=SEPARATE.name, description="Or `denoise`", examples=["separate"])
    engine: str | None = Field(default=None, examples=["auto"])
    format: str | None = Field(default=None, examples=["wav"])
    target_lufs: float | None = Field(default=None, examples=[-14.0])
    ceiling_dbtp: float | None = Field(default=None, examples=[-1.0])
    gain: str | None = Field(default=None, examples=["common"])
    limit: bool | None = Field(default=None, examples=[False])
    residual: bool | None = Field(default=None, examples=[False])
    decompose: str | None = Field(default=None, examples=["accompaniment"])
    hpss_kernel: int | None = Field(default=None, examples=[31])
    hpss_margin: float | None = Field(default=None, examples=[1.0])
    strength: float | None = Field(default=None, description="Of `denoise`", examples=[100.0])
    cache: bool | None = Field(
        default=None,
        description="Whether a stored result of the same may be the answer; true if not given",
        examples=[True],
    )
    labels: dict[str, str] = Field(default_factory=dict, examples=[{"album": "Demos"}])
    retention_hours: float | None = Field(
        default=None,
        description="After so long the job is deleted with all its files",
        examples=[72.0],
    )
    callback_url: str | None = Field(
        default=None, description="Is told of the job's events by signed webhooks"
    )
    dry_run: bool = Field(default=False, description="Make no job, but tell what it would take")


class BatchRequest(BaseModel):
    """Several jobs, each of which is accepted or refused by itself."""

    model_config = ConfigDict(extra="forbid")

    jobs: Annotated[list[JobRequest], Field(min_length=1, max_length=_MOST_JOBS)]


class ResultDocument(TypedDict):
    """What became of one job of a batch: the job, or why there is none."""

    status: int
    job: documents.JobDocument | None
    detail: str | None
    problem: documents.ReasonDocument | None


class BatchDocument(TypedDict):
    """What became of each, in the order they were asked for."""

    results: list[ResultDocument]


_BATCH: Final[BatchDocument] = {
    "results": [
        {"status": 200, "job": examples.QUEUED_JOB, "detail": None, "problem": None},
        {
            "status": 404,
            "job": None,
            "detail": "nothing was uploaded to …",
            "problem": {
                "type": "/problems/upload-not-found",
                "title": "Upload not found",
                "status": 404,
                "detail": "nothing was uploaded to …",
                "name": "Clearstem.UploadNotFound",
            },
        },
    ]
}
_ACCEPTED: Final[dict[int | str, dict[str, Any]]] = {
    **examples.BAD_INPUT,
    404: examples.problem(404, "nothing was uploaded to …", description="No such upload"),
}


@router.post(
    "/jobs",
    max_body_size=_JSON_BYTES,
    summary="Start the separation or noise removal of an uploaded recording",
    tags=["jobs"],
    response_model=documents.JobDocument | job_life.QuoteDocument,
    responses={200: examples.answer(examples.QUEUED_JOB), **_ACCEPTED},
)
async def start_job(body: JobRequest, call: CurrentCall) -> JSONResponse:
    """Make a job of what was sent to storage; answers 200 and the job, as `/process` does.

    With `dry_run` no job is made, and the answer is what it would take: its
    engine, the jobs ahead of it, and the seconds by stage as the caller's last
    jobs of that engine took them.
    """
    if body.dry_run:
        return JSONResponse(job_life.quote_document(await _quoted(body, call)))
    return JSONResponse(pipeline.job_document(await _submitted(body, call)))


@router.post(
    "/jobs/batch",
    max_body_size=_MOST_JOBS * _JSON_BYTES,
    summary="Start up to 100 jobs at once",
    tags=["jobs"],
    response_model=BatchDocument,
    responses={200: examples.answer(_BATCH), **examples.BAD_INPUT},
)
async def start_jobs(request: Request, body: BatchRequest, call: CurrentCall) -> JSONResponse:
    """Make a job of each upload; the answer is 200 whatever becomes of the single ones.

    Where one of them is a 503, the same batch with the same `Idempotency-Key` is tried again:
    the jobs that were made are found, and those that are missing are made.
    """
    # One call for each, since they run side by side: reserved ids go by their order here.
    together = call.of_several()
    calls = [together.with_next_id() for _ in body.jobs]
    results = await asyncio.gather(*map(_result, body.jobs, calls))
    if any(result["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR for result in results):
        leave_open(request)
    return EchoingJson(BatchDocument(results=list(results)))


async def _result(body: JobRequest, call: Call) -> ResultDocument:
    try:
        if body.dry_run:
            raise InvalidOption("dry_run is for single jobs; ask POST /jobs")
        job = await _submitted(body, call)
    except ClearstemError as exc:
        return _not_made(exc)
    except (BotoCoreError, ClientError) as exc:
        # The other jobs are made: what became of them must not be lost with this one.
        logger().error("job of a batch not submitted", exc_info=exc)
        return _not_made(BackendUnavailable(_UNFINISHED))
    return {"status": 200, "job": pipeline.job_document(job), "detail": None, "problem": None}


def _not_made(error: ClearstemError) -> ResultDocument:
    problem = problems.reason(error)
    return {
        "status": problem["status"],
        "job": None,
        "detail": problem["detail"],
        "problem": problem,
    }


def _options(body: JobRequest) -> Options:
    beside = {"upload_id", "recipe", "labels", "retention_hours", "dry_run", "callback_url"}
    return read_options(recipe_named(body.recipe), body.model_dump(exclude=beside))


async def _quoted(body: JobRequest, call: Call) -> Quote:
    options = _options(body)
    upload = await call.blocking.call(call.service.uploads.get, body.upload_id, owner=call.owner)
    return await call.blocking.call(call.service.intake.quote, upload, options)


async def _submitted(body: JobRequest, call: Call) -> Job:
    options = _options(body)
    terms = Terms(body.labels, kept_hours=body.retention_hours)
    upload = await call.blocking.call(call.service.uploads.get, body.upload_id, owner=call.owner)
    submit = call.service.intake.submit_upload
    job = await call.blocking.submit(
        submit, upload, options, terms=terms, callback_url=body.callback_url
    )
    logger().info("job submitted", job_id=job.job_id, size_bytes=job.source.size_bytes)
    return job
