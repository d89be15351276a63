"""Examples of a job's course that the OpenAPI description shows."""

import json
from typing import Any, Final

from functions.dialects import job_life
from functions.dialects import pipeline_documents as documents
from functions.routes import examples
from functions.routes.examples import JOB_ID, QUEUED_JOB, answer

EVENTS: Final[job_life.EventsDocument] = {
    "events": [
        {
            "number": 1,
            "type": "job.queued",
            "at": "2024-01-15T10:30:45.123456",
            "attempt": 1,
            "percent": 0.0,
            "stage": None,
            "error": None,
        },
        {
            "number": 2,
            "type": "job.started",
            "at": "2024-01-15T10:30:46.123456",
            "attempt": 1,
            "percent": 0.0,
            "stage": None,
            "error": None,
        },
        {
            "number": 3,
            "type": "job.stage.started",
            "at": "2024-01-15T10:30:46.123456",
            "attempt": 1,
            "percent": 0.0,
            "stage": "audio_separation",
            "error": None,
        },
    ],
    "last": 3,
    "more": False,
}

_STREAM: Final = "".join(
    f"id: {event['number']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"
    for event in EVENTS["events"]
)
# The one or the other, as the request's `Accept` asks.
EVENTS_ANSWER: Final[dict[str, Any]] = {
    "description": "A page of the log, or the log as a stream",
    "content": {**answer(EVENTS)["content"], "text/event-stream": {"example": _STREAM}},
}

CANCELLED_JOB: Final[documents.JobDocument] = {
    **QUEUED_JOB,
    "status": "failed",
    "error": {
        "stage": "audio_separation",
        "name": "Clearstem.Cancelled",
        "message": "cancelled by its owner",
    },
}

RETRIED_JOB: Final[documents.JobDocument] = {**QUEUED_JOB, "attempt": 2}

RECEIPT: Final[job_life.ReceiptDocument] = {
    "job_id": JOB_ID,
    "state": "succeeded",
    "created_at": "2024-01-15T10:30:45.123456",
    "deleted_at": "2024-01-20T08:00:00.000000",
    "files": 27,
    "size_bytes": 1270473216,
    "source_kept": False,
    "record_kept": False,
    "deliveries": 7,
    "deliveries_pending": 0,
}

NO_JOB: Final[dict[int | str, dict[str, Any]]] = {
    **examples.NO_JOB,
    410: examples.problem(
        410,
        "the job was deleted at …",
        description="Deleted; `receipt` says what went",
        model=job_life.DeletedDocument,
        receipt=RECEIPT,
    ),
}
