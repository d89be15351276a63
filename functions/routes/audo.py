"""The Audo dialect's routes: an upload, its noise removal, the result.

Every answer is what the Python client `audoai-noise-removal` can read: what is
wrong with a request is a 422, never a 400, which it takes for a lack of credits.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from typing_extensions import TypedDict

from clearstem.errors import JobNotFound, NotFinished, TrackNotFound
from clearstem.jobs import Job
from clearstem.recipes import DENOISE
from functions.dialects import audo
from functions.form_upload import Form, receive_form
from functions.routes import examples
from functions.routes.calls import Call, CurrentCall, job_uuid, shared_reads
from functions.routes.rates import COUNTED_BY_ADDRESS
from functions.routes.sending import send_track
from functions.routes.sizes import refuse_large
from functions.telemetry import logger

router: Final = APIRouter(prefix="/v1", tags=["noise removal (Audo)"])

# What is read into memory to be parsed: two presigned addresses take some 4 KB.
_JSON_BYTES: Final = 32 * 1024

_KEY_IS_GOOD: Final = {"status": "success", "detail": "Successfully authorized with api key"}
_DELETED: Final = {"status": "success", "detail": "The results were deleted"}
_UPLOAD_BODY: Final = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        }
    },
}
_REMOVAL_BODY: Final = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "input": {"type": "string", "description": "A fileId, or a URL"},
                    "fileId": {"type": "string", "description": "The same as `input`"},
                    "output": {"type": ["string", "null"], "description": "URL for a PUT"},
                    "outputExtension": {"type": ["string", "null"]},
                    "autoVolume": {"type": ["boolean", "number", "null"]},
                    "noiseReductionAmount": {"type": "number", "minimum": 1, "maximum": 100},
                    "cache": {
                        "type": ["boolean", "null"],
                        "description": "Clearstem's own: false has it worked on in any case",
                    },
                    **examples.ATTACHED,
                },
            },
            "example": {"input": examples.JOB_ID, "outputExtension": "mp3"},
        }
    },
}


class FileDocument(TypedDict):
    """An upload by its id."""

    fileId: str


class JobIdDocument(TypedDict):
    """A job by its id."""

    jobId: str


class VerdictDocument(TypedDict):
    """That something went well."""

    status: str
    detail: str


@router.post(
    "/upload",
    summary="Send a recording",
    response_model=FileDocument,
    responses={
        200: examples.answer({"fileId": examples.JOB_ID}),
        **examples.AUDO_NEEDS_KEY,
        413: examples.told("File is larger than …", description="Too large"),
        422: examples.told("a.wav is empty (0 bytes)", description="Not a recording"),
    },
    openapi_extra={"requestBody": _UPLOAD_BODY},
)
async def upload(
    request: Request,
    call: CurrentCall,
    input_extension: Annotated[
        str | None, Query(alias="inputExt", description="What the file is, whatever its name")
    ] = None,
) -> JSONResponse:
    """Store a recording, audio or video, of which jobs can be made for a week."""
    refuse_large(request, limit=call.service.settings.max_upload_bytes)
    stored, _ = await receive_form(
        request.stream(),
        # Other fields are let pass: the API publishes none, and refuses none.
        form=Form(lambda _: None, recipe=DENOISE, extension=input_extension),
        content_type=request.headers.get("content-type", ""),
        owner=call.owner,
        intake=call.service.intake,
        blocking=call.blocking,
    )
    # With its hash: what was asked of the same bytes before is answered at once.
    kept = await call.blocking.call(call.service.intake.keep, stored)
    return JSONResponse({"fileId": kept.upload_id})


@router.post(
    "/remove-noise",
    max_body_size=_JSON_BYTES,
    summary="Start the noise removal of an upload or a URL",
    response_model=JobIdDocument,
    responses={
        200: examples.answer({"jobId": examples.JOB_ID}),
        **examples.AUDO_NEEDS_KEY,
        404: examples.told("no upload …", description="No such upload of this owner"),
        422: examples.told("autoVolume 3 …", description="Not a request that can be met"),
    },
    openapi_extra={"requestBody": _REMOVAL_BODY},
)
async def remove_noise(request: Request, call: CurrentCall) -> JSONResponse:
    """Make a job, whose state is at `…/{jobId}/status` and on the WebSocket."""
    asked = audo.removal(await request.body())
    job = await call.blocking.submit(_submit, call, asked)
    logger().info("job submitted", job_id=job.job_id)
    return JSONResponse({"jobId": job.job_id})


@router.get(
    "/remove-noise/{job_id}/status",
    summary="The state of a job",
    responses={
        200: examples.answer({"state": "in_progress", "percent": 42.5}),
        **examples.AUDO_NO_JOB,
    },
)
async def status(job_id: str, call: CurrentCall) -> Response:
    """Tell one of five states: downloading, queued, in_progress, succeeded, failed.

    The WebSocket `/v1/wss/remove-noise/{jobId}/status` sends the same at every change.
    """
    job = await call.job(job_id)
    ahead = await call.blocking.call(call.service.jobs.jobs_ahead, job)
    return Response(audo.render(job, ahead), media_type="application/json")


@router.post(
    "/remove-noise/{job_id}/delete-results",
    summary="Give the results of a job out no more",
    responses={
        200: examples.answer(_DELETED),
        **examples.AUDO_NO_JOB,
        409: examples.told("the job is running", description="There are no results yet"),
    },
)
async def delete_results(job_id: str, call: CurrentCall) -> JSONResponse:
    """Delete what a job that is over has made; a second time does nothing."""
    job = await call.job(job_id)
    if not job.state.is_final:
        raise NotFinished(f"the job is {job.state}: it has no results to delete yet")
    await call.blocking.call(call.service.removal.delete_results, job.job_id)
    return JSONResponse(_DELETED)


@router.get(
    "/apiKey/test",
    summary="Whether a key is good",
    response_model=VerdictDocument,
    responses={200: examples.answer(_KEY_IS_GOOD), **examples.AUDO_NEEDS_KEY},
)
async def try_key(call: CurrentCall) -> JSONResponse:
    """Say that the key is good; without a good one there is no answer but 401."""
    return JSONResponse(_KEY_IS_GOOD)


@router.head("//dl/{token}/{file_name}", include_in_schema=False)
@router.get("//dl/{token}/{file_name}", include_in_schema=False)
@router.head("/dl/{token}/{file_name}", include_in_schema=False)
@router.get(
    "/dl/{token}/{file_name}",
    summary="The result of a job",
    response_class=Response,
    responses={
        200: {"description": "The recording", "content": {"audio/*": {}, "video/*": {}}},
        206: {"description": "The bytes asked for by `Range`"},
        307: {"description": "The recording lies at the link in `Location`"},
        404: examples.told("Track not found", description="No such result"),
        416: examples.told("…", description="The range lies behind the end"),
        **examples.AUDO_TOO_OFTEN,
    },
)
async def download(
    token: str, file_name: str, request: Request, _: Annotated[None, COUNTED_BY_ADDRESS]
) -> Response:
    """Send a result by its `downloadPath`, which nobody can guess and which needs no key."""
    try:
        job_id = job_uuid(audo.job_of_file(file_name) or "")
        snapshot = await shared_reads(request).get(job_id)
    except JobNotFound as exc:
        # In the words of a wrong token: strangers are not told which jobs there are.
        raise TrackNotFound("Track not found") from exc
    track = audo.downloaded(snapshot.job, path=f"/dl/{token}/{file_name}")
    return await send_track(track, request, file_name=file_name)


def _submit(call: Call, asked: audo.Removal) -> Job:
    intake = call.service.intake
    if asked.is_remote:
        return intake.submit_url(
            asked.source,
            asked.options,
            owner=call.owner,
            output_url=asked.output_url,
            callback_url=asked.beside.callback_url,
            terms=asked.beside.terms,
        )
    stored = call.service.uploads.get(asked.source, owner=call.owner)
    return intake.submit_upload(
        stored,
        asked.options,
        output_url=asked.output_url,
        callback_url=asked.beside.callback_url,
        terms=asked.beside.terms,
    )
