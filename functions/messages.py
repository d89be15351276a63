"""What the service tells of its own accord, and over which channel.

Frames of WebSockets, events of streams, webhooks: each message has a name, the
typed document that its sender writes, and the fields by which its kind is
known. `functions.asyncapi` describes the service by this list, and tests hold
against it whatever a handler sends.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from clearstem.job_events import EventKind
from clearstem.webhook_endpoints import SENT_KINDS
from functions.dialects import audo, munsit
from functions.dialects.job_life import EventDocument
from functions.dialects.pipeline_documents import DetailDocument, JobDocument, SubscribeDocument
from functions.dialects.webhooks import MessageDocument

Schema = Mapping[str, Any]


class Place(StrEnum):
    """Whose address a channel's begins with."""

    SOCKETS = "sockets"
    STREAMS = "streams"
    RECEIVER = "receiver"


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of message.

    Attributes
    ----------
    name : str
        Unique among all messages.
    payload : type
        The typed dictionary of its JSON.
    fixed : Mapping[str, str]
        Fields of the payload that have this value in every message of the kind.
    headers : Mapping[str, Schema]
        What goes beside the payload, by name: HTTP headers, or the fields of an event.
    """

    name: str
    summary: str
    payload: type
    fixed: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Channel:
    """An address, and what is said there.

    Attributes
    ----------
    name : str
        Unique among all channels.
    address : str or None
        The path; None where only the receiver's owner knows it.
    sent, taken : tuple of Message
        What the service says, and what it is told.
    query : Mapping[str, Schema]
        What the address of the opening request may carry.
    """

    name: str
    place: Place
    address: str | None
    title: str
    description: str
    sent: tuple[Message, ...]
    taken: tuple[Message, ...] = ()
    query: Mapping[str, Schema] = field(default_factory=dict)


_MOMENTS: Final[Mapping[EventKind, str]] = {
    EventKind.QUEUED: "A job was submitted and waits",
    EventKind.STARTED: "The work on a job has begun",
    EventKind.STAGE_STARTED: "A stage of a job has begun",
    EventKind.STAGE_INTERRUPTED: "A stage broke off and is tried again",
    EventKind.STAGE_COMPLETED: "A stage of a job is done",
    EventKind.PROGRESS: "Another tenth of a job's work is done",
    EventKind.SUCCEEDED: "A job is done and its tracks are there",
    EventKind.FAILED: "A job has failed",
    EventKind.CANCELLED: "A job was cancelled",
    EventKind.RETRIED: "A job that had failed was retried and waits again",
    EventKind.RESULTS_DELETED: "The files of a job were deleted",
}

_JOB: Final = Message("job", "A job as it is, in the form of `GET /job/{job_id}`", JobDocument)
_REFUSAL: Final = Message("refusal", "Why a client's message comes to nothing", DetailDocument)
_SUBSCRIBE: Final = Message("subscribe", "Asks to be told of a job as well", SubscribeDocument)

_AUDO_STATES: Final = (
    Message("audo.downloading", "The recording is fetched", audo.DownloadingState),
    Message("audo.queued", "The job waits", audo.QueuedState),
    Message("audo.in_progress", "The job is worked on", audo.InProgressState),
    Message("audo.succeeded", "The result is there", audo.SucceededState),
    Message("audo.failed", "There is no result", audo.FailedState),
)
_MUNSIT_EVENTS: Final = (
    Message("munsit.processing", "The job waits or is worked on", munsit.ProcessingEvent),
    Message("munsit.done", "The result is there; the last event", munsit.DoneEvent),
    Message("munsit.error", "There is no result; the last event", munsit.ErrorEvent),
)
_LOGGED: Final = tuple(
    Message(
        f"event.{kind}",
        _MOMENTS[kind],
        EventDocument,
        fixed={"type": kind.value},
        headers={
            "id": {"type": "integer", "minimum": 1, "description": "The event's number"},
            "event": {"type": "string", "const": kind.value},
        },
    )
    for kind in EventKind
)
_SIGNED: Final[Mapping[str, Schema]] = {
    "content-type": {"type": "string", "const": "application/json"},
    "webhook-id": {
        "type": "string",
        "pattern": "^evt_[0-9a-f-]{36}_[1-9][0-9]*$",
        "description": "The same at each attempt: what came before may be dropped by it",
    },
    "webhook-timestamp": {
        "type": "string",
        "pattern": "^[0-9]+$",
        "description": "Of the attempt, in seconds since 1970",
    },
    "webhook-signature": {
        "type": "string",
        "pattern": "^v1,[A-Za-z0-9+/=]+( v1,[A-Za-z0-9+/=]+)?$",
        "description": "By Standard Webhooks; two while a secret is being replaced",
    },
}
_WEBHOOKS: Final = tuple(
    Message(
        f"webhook.{kind}",
        _MOMENTS[kind],
        MessageDocument,
        fixed={"type": kind.value},
        headers=_SIGNED,
    )
    for kind in SENT_KINDS
)

_TICKET: Final[Mapping[str, Schema]] = {
    "ticket": {
        "type": "string",
        "description": "Of `POST /tickets`, instead of a key; good once: coming back takes another",
    }
}
_OPENING: Final[Mapping[str, Schema]] = {
    **_TICKET,
    "api_key": {"type": "string", "description": "The key, where no header can be sent"},
}

CHANNELS: Final = (
    Channel(
        "job",
        Place.SOCKETS,
        "/v1/wss/job/{job_id}",
        "One job",
        "Sends the job at once and at every change, and closes after its end. A handshake for a "
        "job that is not the caller's is refused.",
        sent=(_JOB, _REFUSAL),
        taken=(_SUBSCRIBE,),
        query=_OPENING,
    ),
    Channel(
        "jobs",
        Place.SOCKETS,
        "/v1/wss",
        "Any jobs",
        "Sends the jobs that it is asked for by messages, each at once and at every change.",
        sent=(_JOB, _REFUSAL),
        taken=(_SUBSCRIBE,),
        query=_OPENING,
    ),
    Channel(
        "audoStatus",
        Place.SOCKETS,
        "/v1/wss/remove-noise/{job_id}/status",
        "One job, in the Audo dialect",
        "Sends the job's state at once and at every change, and closes after its end.",
        sent=(*_AUDO_STATES, _REFUSAL),
        taken=(_SUBSCRIBE,),
        query=_OPENING,
    ),
    Channel(
        "jobEvents",
        Place.STREAMS,
        "/job/{job_id}/events",
        "The log of a job, as server-sent events",
        "Asked for by `Accept: text/event-stream`. Sends the entries of the log from the first, "
        "or behind the one that `Last-Event-ID` or `after` names, and each as it happens; the "
        "response ends with the job. Comments (`: ping`) keep it open. A job that is over and seen "
        "to its end is answered 204.",
        sent=_LOGGED,
        query={**_TICKET, "after": {"type": "integer", "minimum": 0, "default": 0}},
    ),
    Channel(
        "munsitProgress",
        Place.STREAMS,
        "/api/v1/denoise/{job_id}/progress",
        "One job, in the Munsit dialect, as server-sent events",
        "Sends the job's progress at once and at every change, and ends with it, or after 15 "
        "minutes without one. Events have `data:` lines alone; comments keep the response open.",
        sent=_MUNSIT_EVENTS,
        query=_TICKET,
    ),
    Channel(
        "webhooks",
        Place.RECEIVER,
        None,
        "Webhooks",
        "A POST to each address that an owner registered at `/webhooks`, and to a job's "
        "`callback_url`: at least once, signed by Standard Webhooks, until it is answered by a 2xx "
        "or the schedule of attempts has come to its end.",
        sent=_WEBHOOKS,
    ),
)
