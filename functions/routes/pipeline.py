"""The pipeline dialect's routes: health, configuration, uploads and jobs."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from clearstem.options import recipe_named
from clearstem.recipes import SEPARATE
from clearstem.settings import Settings
from functions.dialects import pipeline, pipeline_config
from functions.dialects import pipeline_documents as documents
from functions.form_upload import form_of, receive_form
from functions.routes import examples, job_examples, service_examples
from functions.routes.calls import CurrentCall
from functions.routes.rates import COUNTED_BY_ADDRESS
from functions.routes.sizes import refuse_large
from functions.telemetry import logger

router: Final = APIRouter()


AskedRecipe = Annotated[str, Query(description="What is done: `separate` or `denoise`")]


@router.get(
    "/health",
    summary="Whether the service answers",
    tags=["service"],
    response_model=documents.HealthDocument,
    responses={200: examples.answer(service_examples.HEALTH)},
)
async def health() -> JSONResponse:
    """Say that the service answers, and which version it is."""
    return JSONResponse(pipeline.health())


@router.get(
    "/config",
    summary="Formats, limits, stages and engines",
    tags=["service"],
    response_model=documents.ConfigDocument,
    responses={200: examples.answer(service_examples.CONFIG), **examples.TOO_OFTEN},
    dependencies=[COUNTED_BY_ADDRESS],
)
async def config(request: Request) -> JSONResponse:
    """Say what is accepted, and what engine `auto` would take now and why."""
    settings: Settings = request.app.state.service.settings
    return JSONResponse(pipeline_config.config(settings))


@router.post(
    "/process",
    summary="Send a recording and start its separation or noise removal",
    tags=["jobs"],
    response_model=documents.JobDocument,
    responses={200: examples.answer(examples.QUEUED_JOB), **examples.BAD_INPUT},
    openapi_extra={"requestBody": examples.PROCESS_BODY},
)
async def process(
    request: Request, call: CurrentCall, recipe: AskedRecipe = SEPARATE.name
) -> JSONResponse:
    """Take one file, store it, and answer before the work begins.

    The options are those of the recipe, which the address names: it decides
    how the form is read.

    The job goes on by itself: follow it at `GET /job/{job_id}` or over the
    WebSocket `/v1/wss/job/{job_id}`, which sends this same document at every
    change. Behind API Gateway a body ends at about 4.5 MB; larger files take
    the way over `POST /uploads`.
    """
    refuse_large(request, limit=call.service.settings.max_upload_bytes)
    intake = call.service.intake
    upload, (options, beside) = await receive_form(
        request.stream(),
        form=form_of(recipe_named(recipe)),
        content_type=request.headers.get("content-type", ""),
        owner=call.owner,
        intake=intake,
        blocking=call.blocking,
    )
    job = await call.blocking.submit(
        intake.submit_received,
        upload,
        options,
        callback_url=beside.callback_url,
        terms=beside.terms,
    )
    logger().info("job submitted", job_id=job.job_id, size_bytes=job.source.size_bytes)
    return JSONResponse(pipeline.job_document(job))


@router.get(
    "/job/{job_id}",
    summary="How a job stands",
    tags=["jobs"],
    response_model=documents.JobDocument,
    responses={200: examples.answer(examples.COMPLETED_JOB), **job_examples.NO_JOB},
)
async def job(job_id: str, call: CurrentCall) -> Response:
    """Tell everything about a job: its stages, percentage, engine and outputs.

    Of a job that was deleted the answer is 410, with the receipt, for 90 days.
    """
    snapshot = await call.told(job_id)
    return Response(snapshot.text(pipeline.render), media_type="application/json")


@router.get(
    "/job/{job_id}/outputs",
    summary="The download paths of a job",
    tags=["jobs"],
    response_model=dict[str, str],
    responses={200: examples.answer(examples.OUTPUTS), **job_examples.NO_JOB},
)
async def outputs(job_id: str, call: CurrentCall) -> JSONResponse:
    """Give a download path for each track; none until the job has completed."""
    return JSONResponse(pipeline.outputs((await call.told(job_id)).job))
