"""The pipeline dialect's routes: health, configuration, uploads and jobs."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from clearstem.errors import TooLarge
from clearstem.media import MEBIBYTE
from clearstem.options import separate_options
from clearstem.settings import Settings
from functions.dialects import pipeline
from functions.dialects import pipeline_documents as documents
from functions.form_upload import SEPARATION_FORM, receive_form
from functions.routes import examples
from functions.routes.calls import CurrentCall
from functions.telemetry import logger

router: Final = APIRouter()

# Boundaries, part headers and option fields around the file itself.
_FORM_SLACK_BYTES: Final = MEBIBYTE
# What is read into memory to be parsed; a job's options take some hundred bytes.
_JSON_BYTES: Final = 16 * 1024
# Lambda takes events of 6 MB, of which base64 leaves three quarters.
_GATEWAY_BODY_BYTES: Final = 4_500_000

_NEEDS_KEY: Final[dict[int | str, dict[str, Any]]] = {
    401: examples.problem("Invalid or missing API key", description="No key, or a wrong one"),
}
_NO_JOB: Final[dict[int | str, dict[str, Any]]] = {
    **_NEEDS_KEY,
    404: examples.problem("Job not found", description="No such job of this owner"),
}
_BAD_INPUT: Final[dict[int | str, dict[str, Any]]] = {
    **_NEEDS_KEY,
    400: examples.problem("No filename provided", description="Nothing to make a job of"),
    413: examples.problem("File is larger than the limit of 500 MB", description="Too large"),
    503: examples.problem("the weights of htdemucs … are missing", description="No such engine"),
}


class UploadRequest(BaseModel):
    """The name of a recording that is about to be sent to storage."""

    model_config = ConfigDict(extra="forbid")

    file_name: str = Field(examples=["song.wav"])


class JobRequest(BaseModel):
    """An upload to make a job of, and the job's options."""

    model_config = ConfigDict(extra="forbid")

    upload_id: str = Field(examples=["5b0c7e86-2f5e-4d8f-9a57-0f9a4f1f1c3e"])
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
    callback_url: str | None = Field(
        default=None, description="Is told of the job's events by signed webhooks."
    )


@router.get(
    "/health",
    summary="Whether the service answers",
    tags=["service"],
    response_model=documents.HealthDocument,
    responses={200: examples.answer(examples.HEALTH)},
)
async def health() -> JSONResponse:
    """Say that the service answers, and which version it is."""
    return JSONResponse(pipeline.health())


@router.get(
    "/config",
    summary="Formats, limits, stages and engines",
    tags=["service"],
    response_model=documents.ConfigDocument,
    responses={200: examples.answer(examples.CONFIG)},
)
async def config(request: Request) -> JSONResponse:
    """Say what is accepted, and what engine `auto` would take now and why."""
    settings: Settings = request.app.state.service.settings
    return JSONResponse(pipeline.config(settings))


@router.post(
    "/process",
    summary="Send a recording and start its separation",
    tags=["jobs"],
    response_model=documents.JobDocument,
    responses={200: examples.answer(examples.QUEUED_JOB), **_BAD_INPUT},
    openapi_extra={"requestBody": examples.PROCESS_BODY},
)
async def process(request: Request, call: CurrentCall) -> JSONResponse:
    """Take one file, store it, and answer before the work begins.

    The job goes on by itself: follow it at `GET /job/{job_id}` or over the
    WebSocket `/v1/wss/job/{job_id}`, which sends this same document at every
    change. Behind API Gateway a body ends at about 4.5 MB; larger files take
    the way over `POST /uploads`.
    """
    _refuse_large(request, limit=call.service.settings.max_upload_bytes)
    intake = call.service.intake
    upload, (options, callback_url) = await receive_form(
        request.stream(),
        form=SEPARATION_FORM,
        content_type=request.headers.get("content-type", ""),
        owner=call.owner,
        intake=intake,
        blocking=call.blocking,
    )
    job = await call.blocking.call(intake.submit_upload, upload, options, callback_url=callback_url)
    logger().info("job submitted", job_id=job.job_id, size_bytes=job.source.size_bytes)
    return JSONResponse(pipeline.job_document(job))


@router.get(
    "/job/{job_id}",
    summary="How a job stands",
    tags=["jobs"],
    response_model=documents.JobDocument,
    responses={200: examples.answer(examples.COMPLETED_JOB), **_NO_JOB},
)
async def job(job_id: str, call: CurrentCall) -> Response:
    """Tell everything about a job: its stages, percentage, engine and outputs."""
    snapshot = await call.snapshot(job_id)
    return Response(snapshot.text(pipeline.render), media_type="application/json")


@router.get(
    "/job/{job_id}/outputs",
    summary="The download paths of a job",
    tags=["jobs"],
    response_model=dict[str, str],
    responses={200: examples.answer(examples.OUTPUTS), **_NO_JOB},
)
async def outputs(job_id: str, call: CurrentCall) -> JSONResponse:
    """Give a download path for each track; none until the job has completed."""
    return JSONResponse(pipeline.outputs(await call.job(job_id)))


@router.get(
    "/jobs",
    summary="The caller's jobs, newest first",
    tags=["jobs"],
    response_model=documents.JobsDocument,
    responses={200: examples.answer(examples.JOBS), **_NEEDS_KEY},
)
async def jobs(
    call: CurrentCall,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs to a page")] = 20,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
) -> JSONResponse:
    """List jobs page by page."""
    page = await call.blocking.call(
        call.service.jobs.history, call.owner, limit=limit, cursor=cursor
    )
    return JSONResponse(pipeline.jobs_document(page))


@router.post(
    "/uploads",
    max_body_size=_JSON_BYTES,
    summary="Get a link to send a large recording by",
    tags=["jobs"],
    response_model=documents.UploadDocument,
    responses={200: examples.answer(examples.UPLOAD), **_BAD_INPUT},
)
async def uploads(body: UploadRequest, call: CurrentCall) -> JSONResponse:
    """Make room in storage for one recording.

    Send the file by PUT with the given headers, or by a form POST with the
    given fields before the field `file`; then ask for the job at `POST /jobs`.
    """
    intake = call.service.intake
    upload = await call.blocking.call(intake.announce, owner=call.owner, file_name=body.file_name)
    links = await call.blocking.call(intake.presign, upload)
    limit = call.service.settings.max_upload_bytes
    return JSONResponse(pipeline.upload_document(upload, links, max_bytes=limit))


@router.post(
    "/jobs",
    max_body_size=_JSON_BYTES,
    summary="Start the separation of an uploaded recording",
    tags=["jobs"],
    response_model=documents.JobDocument,
    responses={
        200: examples.answer(examples.QUEUED_JOB),
        **_BAD_INPUT,
        404: examples.problem("nothing was uploaded to …", description="No such upload"),
    },
)
async def start_job(body: JobRequest, call: CurrentCall) -> JSONResponse:
    """Make a job of what was sent to storage; answers 200 and the job, as `/process` does."""
    options = separate_options(body.model_dump(exclude={"upload_id", "callback_url"}))
    upload = await call.blocking.call(call.service.uploads.get, body.upload_id, owner=call.owner)
    job = await call.blocking.call(
        call.service.intake.submit_upload, upload, options, callback_url=body.callback_url
    )
    logger().info("job submitted", job_id=job.job_id, size_bytes=job.source.size_bytes)
    return JSONResponse(pipeline.job_document(job))


def _refuse_large(request: Request, *, limit: int) -> None:
    """Refuse by the announced length; what announces none is counted as it comes."""
    announced = request.headers.get("content-length", "")
    size = int(announced) if announced.isdecimal() else 0
    if size > limit + _FORM_SLACK_BYTES:
        raise TooLarge(f"File is larger than the limit of {limit / MEBIBYTE:g} MB")
    if "aws.event" in request.scope and size > _GATEWAY_BODY_BYTES:
        raise TooLarge(
            f"a body of {size} bytes does not pass API Gateway, which takes "
            f"{_GATEWAY_BODY_BYTES}; ask POST /uploads for a link and then POST /jobs"
        )
