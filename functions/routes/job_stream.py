"""A job's log as server-sent events, resumable from any of them."""

import json
import time
from collections.abc import AsyncIterator
from typing import Final

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from clearstem.errors import InvalidRequest, JobNotFound
from clearstem.job_events import JobEvent
from clearstem.job_log import LARGEST_NUMBER, LISTABLE
from functions.dialects import job_life
from functions.event_stream import JobFeed
from functions.job_reads import Snapshot
from functions.routes.calls import Call

MEDIA_TYPE: Final = "text/event-stream"
# Of the numbers behind which a log can be read on.
LATEST: Final = LARGEST_NUMBER - 1
# Proxies give a silent connection up after half a minute or so.
_PING_S: Final = 15.0
_PING: Final = ": ping\n\n"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def is_asked_for(request: Request) -> bool:
    """Whether the client wants a stream and not a page."""
    return MEDIA_TYPE in request.headers.get("accept", "")


def last_seen(request: Request, *, after: int) -> int:
    """The number of the last event the client has; a reconnecting one tells it in a header.

    Raises
    ------
    InvalidRequest
        The header ``Last-Event-ID`` holds no number that an event may have.
    """
    told = request.headers.get("last-event-id", "")
    if not told:
        return after
    if not told.isdecimal() or len(told) > len(str(LATEST)) or int(told) > LATEST:
        raise InvalidRequest(
            f"Last-Event-ID {told[:40]!r} is not the number of an event, 0 to {LATEST}",
            facts={
                "field": "Last-Event-ID",
                "value": told[:40],
                "accepted": {"minimum": 0, "maximum": LATEST},
            },
        )
    return int(told)


def stream(request: Request, call: Call, snapshot: Snapshot, *, after: int) -> Response:
    """The events after that number, then each as it happens, until the job is over.

    A client that has seen the last event of a job that is over is answered 204,
    by which an `EventSource` knows to come back no more.
    """
    if snapshot.job.state.is_final and snapshot.job.logged <= after:
        return Response(status_code=204)
    told = _told(request, call, snapshot, after=after)
    return StreamingResponse(told, media_type=MEDIA_TYPE, headers=_HEADERS)


async def _told(
    request: Request, call: Call, snapshot: Snapshot, *, after: int
) -> AsyncIterator[str]:
    feed: JobFeed = request.app.state.feed
    job_id, end = snapshot.job.job_id, time.monotonic() + call.service.settings.event_stream_s
    # Behind a function that answers once: what there is, and the end.
    follows = "aws.event" not in request.scope
    while True:
        left_s = end - time.monotonic() if follows else 0.0
        async for seen in feed.changes(snapshot, idle_s=_PING_S, limit_s=left_s):
            snapshot = seen
            while snapshot.job.logged > after:
                events = await _after(call, job_id, number=after)
                if not events:
                    return  # the job was deleted, and its log with it
                for event in events:
                    yield _text(event)
                after = events[-1].number
        if snapshot.job.state.is_final or time.monotonic() >= end or not follows:
            return
        yield _PING
        try:
            snapshot = await call.reads.get(job_id)
        except JobNotFound:
            return


async def _after(call: Call, job_id: str, *, number: int) -> tuple[JobEvent, ...]:
    log = call.service.log
    return await call.blocking.call(log.after, number, job_id=job_id, limit=LISTABLE)


def _text(event: JobEvent) -> str:
    data = json.dumps(job_life.event_document(event), ensure_ascii=False)
    return f"id: {event.number}\nevent: {event.kind.value}\ndata: {data}\n\n"
