"""The Munsit dialect's routes: a recording in, the history, and progress as events."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from clearstem.errors import MissingFile, TooLarge
from clearstem.jobs import Job
from clearstem.media import MEBIBYTE
from clearstem.options import DenoiseOptions, read_switch
from clearstem.recipes import DENOISE
from clearstem.settings import Settings
from functions.dialects import munsit
from functions.event_stream import JobFeed
from functions.form_upload import Form, receive_form, with_attached
from functions.job_reads import Snapshot
from functions.routes import munsit_examples as shown
from functions.routes.addresses import base_url
from functions.routes.calls import Call, CurrentCall
from functions.routes.examples import answer
from functions.routes.sizes import announced_bytes
from functions.telemetry import logger

router: Final = APIRouter(prefix="/api/v1", tags=["noise removal (Munsit)"])

_FIELD: Final = "audio"
# Boundaries and part headers around the file itself.
_FORM_SLACK_BYTES: Final = MEBIBYTE
# A 32-bit count, which no history reaches.
_MOST: Final = 2**31 - 1


@router.post(
    "/denoise",
    summary="Send a recording and start its noise removal",
    responses={200: answer(shown.ACCEPTED), 400: shown.NO_FILE, **shown.NEEDS_KEY},
    openapi_extra={"requestBody": shown.BODY},
)
async def denoise(request: Request, call: CurrentCall) -> JSONResponse:
    """Take one file, store it, and answer before the work begins."""
    limit = call.service.settings.voice_max_upload_bytes
    announced = announced_bytes(request) or 0
    if announced > limit + _FORM_SLACK_BYTES:
        raise TooLarge(munsit.size_message(announced, limit_bytes=limit))
    job = await _submitted(request, call, announced=announced)
    logger().info("job submitted", job_id=job.job_id, size_bytes=job.source.size_bytes)
    return JSONResponse(munsit.accepted(job))


@router.get(
    "/denoise",
    summary="The caller's jobs, newest first",
    responses={200: answer([shown.RECORD]), 400: shown.NO_PAGE, **shown.NEEDS_KEY},
)
async def history(
    request: Request,
    call: CurrentCall,
    offset: Annotated[int, Query(ge=0, le=_MOST)] = 0,
    limit: Annotated[int | None, Query(ge=1, le=_MOST)] = None,
) -> Response:
    """Give the jobs of all dialects, some of them or all."""
    base = await base_url(request)
    records = _history(call, base=base, offset=offset, limit=limit)
    chunks = await call.blocking.opened(records)
    return StreamingResponse(chunks, media_type="application/json")


async def _watched(denoise_id: str, call: CurrentCall, response: Response) -> Snapshot:
    """The job, or the refusal, before the stream begins; and the stream's headers."""
    # Beside the ``no-cache`` that FastAPI gives all event streams.
    response.headers["Cache-Control"] = "no-store"
    return await call.snapshot(denoise_id)


@router.get(
    "/denoise/{denoise_id}/progress",
    summary="How a job goes on, as events",
    response_class=EventSourceResponse,
    responses={200: shown.EVENT_STREAM, 404: shown.NO_JOB, **shown.NEEDS_KEY},
)
async def progress(
    request: Request,
    call: CurrentCall,
    job: Annotated[Snapshot, Depends(_watched)],
) -> AsyncIterator[ServerSentEvent]:
    """Send the job as it is, then its changes, until it is over or quiet for 15 minutes.

    Comments (`: ping`) keep a quiet stream alive. A job that is over replays its last event.
    """
    base, last = await base_url(request), ""
    async for snapshot in _changes(request, call, job):
        text = munsit.event_text(snapshot.job, base_url=base)
        if text != last:
            yield ServerSentEvent(raw_data=text)
        last = text


async def _changes(request: Request, call: Call, job: Snapshot) -> AsyncIterator[Snapshot]:
    if "aws.event" in request.scope:
        # Behind a function that answers once: the state there is, and the end.
        yield job
        return
    feed: JobFeed = request.app.state.feed
    limit_s = call.service.settings.event_stream_s
    async for snapshot in feed.changes(job, idle_s=munsit.IDLE_S, limit_s=limit_s):
        yield snapshot


async def _submitted(request: Request, call: Call, *, announced: int) -> Job:
    settings, intake = call.service.settings, call.service.intake
    limit = settings.voice_max_upload_bytes
    content_type = request.headers.get("content-type", "")
    if not content_type.startswith("multipart/form-data"):
        raise MissingFile("the body is no form")
    try:
        upload, (options, beside) = await receive_form(
            request.stream(),
            form=Form(
                # Further fields are let pass: the API publishes none, and refuses none.
                with_attached(lambda given: _options(given, settings=settings)),
                file_field=_FIELD,
                recipe=DENOISE,
                max_bytes=limit,
            ),
            content_type=content_type,
            owner=call.owner,
            intake=intake,
            blocking=call.blocking,
        )
    except TooLarge as exc:
        size = max(announced, limit + 1)
        raise TooLarge(munsit.size_message(size, limit_bytes=limit)) from exc
    return await call.blocking.submit(
        intake.submit_received,
        upload,
        options,
        callback_url=beside.callback_url,
        terms=beside.terms,
    )


def _options(given: Mapping[str, str], *, settings: Settings) -> DenoiseOptions:
    """The published API has none; `cache` is our own, since there has to be a way out."""
    cache = read_switch("cache", given.get("cache") or "true")
    return DenoiseOptions(max_duration_s=settings.voice_max_duration_s, cache=cache)


def _history(call: Call, *, base: str, offset: int, limit: int | None) -> Iterator[bytes]:
    """A JSON array, made while it is sent: a history may be long."""
    opening = b"["
    pages = call.service.jobs.history_from(call.owner, offset=offset, limit=limit)
    for jobs in pages:
        records = ",".join(munsit.record_text(job, base_url=base) for job in jobs)
        if records:
            yield opening + records.encode()
            opening = b","
    yield b"[]" if opening == b"[" else b"]"
