"""Webhooks on the wire: what receivers get, and what their owners are shown of them.

A message has the form that the Standard Webhooks specification recommends:
``type``, ``timestamp`` and ``data``, which is the job's manifest, the document
that ``GET /job/{job_id}`` shows, as it was at the event. ``number`` is beside
them: messages overtake each other, and by it a receiver puts those of one job
into the order of their events.
"""

import json
from collections.abc import Sequence
from datetime import datetime

from typing_extensions import TypedDict

from clearstem.job_events import JobEvent
from clearstem.jobs import Job
from clearstem.webhook_deliveries import Delivery, DeliveryPage, DeliveryState
from clearstem.webhook_endpoints import Endpoint
from clearstem.webhook_secrets import Secrets
from functions.dialects.pipeline import job_document, timestamp
from functions.dialects.pipeline_documents import JobDocument


class MessageDocument(TypedDict):
    """What a receiver is sent: an event, its place in its job's log, and the job as it was then."""

    type: str
    timestamp: str
    number: int
    data: JobDocument


class WebhookDocument(TypedDict):
    """An endpoint."""

    webhook_id: str
    url: str
    events: list[str]
    created_at: str
    disabled_at: str | None


class WebhooksDocument(TypedDict):
    """An owner's endpoints, the oldest first."""

    webhooks: list[WebhookDocument]


class SecretDocument(TypedDict):
    """What messages are signed with; the previous secret signs beside it for a while."""

    secret: str
    previous_secret_until: str | None


class NewWebhookDocument(WebhookDocument, SecretDocument):
    """An endpoint with its secret."""


class TryDocument(TypedDict):
    """One attempt of a delivery; ``error`` is null where it arrived."""

    at: str
    duration_s: float
    status: int | None
    error: str | None


class DeliveryDocument(TypedDict):
    """One event on its way to one endpoint."""

    event_id: str
    type: str
    job_id: str
    status: str
    created_at: str
    attempts: int
    next_attempt_at: str | None
    tries: list[TryDocument]


class DeliveriesDocument(TypedDict):
    """Some deliveries to an endpoint, newest first."""

    deliveries: list[DeliveryDocument]
    next_cursor: str | None


def event_body(job: Job, event: JobEvent) -> str:
    """What is sent of an event; receivers verify exactly this text."""
    document: MessageDocument = {
        "type": event.kind.value,
        "timestamp": f"{timestamp(event.at)}Z",
        "number": event.number,
        "data": job_document(job),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def webhook_document(endpoint: Endpoint) -> WebhookDocument:
    """An endpoint, without its secret."""
    return {
        "webhook_id": endpoint.webhook_id,
        "url": endpoint.url,
        "events": [kind.value for kind in endpoint.events],
        "created_at": timestamp(endpoint.created_at),
        "disabled_at": _time(endpoint.disabled_at),
    }


def webhooks_document(endpoints: Sequence[Endpoint]) -> WebhooksDocument:
    """An owner's endpoints."""
    return {"webhooks": [webhook_document(endpoint) for endpoint in endpoints]}


def new_webhook_document(endpoint: Endpoint, secrets: Secrets) -> NewWebhookDocument:
    """An endpoint with its secret."""
    document, secret = webhook_document(endpoint), secret_document(secrets)
    return {
        "webhook_id": document["webhook_id"],
        "url": document["url"],
        "events": document["events"],
        "created_at": document["created_at"],
        "disabled_at": document["disabled_at"],
        "secret": secret["secret"],
        "previous_secret_until": secret["previous_secret_until"],
    }


def secret_document(secrets: Secrets) -> SecretDocument:
    """The secret that signs, and until when the one before it does."""
    return {
        "secret": secrets.current,
        "previous_secret_until": _time(secrets.previous_until),
    }


def delivery_document(delivery: Delivery) -> DeliveryDocument:
    """A delivery, without the message itself."""
    pending = delivery.state is DeliveryState.PENDING
    return {
        "event_id": delivery.event_id,
        "type": delivery.kind.value,
        "job_id": delivery.job_id,
        "status": delivery.state.value,
        "created_at": timestamp(delivery.created_at),
        "attempts": delivery.attempts,
        "next_attempt_at": timestamp(delivery.updated_at) if pending else None,
        "tries": [
            {
                "at": timestamp(made.at),
                "duration_s": made.duration_s,
                "status": made.status,
                "error": made.error,
            }
            for made in delivery.tries
        ],
    }


def deliveries_document(page: DeliveryPage) -> DeliveriesDocument:
    """A page of deliveries."""
    return {
        "deliveries": [delivery_document(delivery) for delivery in page.deliveries],
        "next_cursor": page.cursor,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
