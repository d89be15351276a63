"""The JSON documents of webhooks, as their types: what owners are shown, and receivers are sent."""

from typing import NotRequired, TypedDict

from clearstem.client.documents import JobDocument


class MessageDocument(TypedDict):
    """What a receiver is sent: an event, and its job as it was then.

    ``number`` counts the events of the job from 1. Messages come in any order: of one
    job, what has a smaller number than the largest seen tells of an earlier state.
    A message that was made before messages had numbers has none, and is sent for days.
    """

    type: str
    timestamp: str
    number: NotRequired[int]
    data: JobDocument


class WebhookDocument(TypedDict):
    """An address that is told of jobs; ``disabled_at`` is when it answered 410."""

    webhook_id: str
    url: str
    events: list[str]
    created_at: str
    disabled_at: str | None


class WebhooksDocument(TypedDict):
    """An owner's webhooks, the oldest first."""

    webhooks: list[WebhookDocument]


class SecretDocument(TypedDict):
    """What messages are signed with; the previous secret signs beside it for a while."""

    secret: str
    previous_secret_until: str | None


class NewWebhookDocument(WebhookDocument, SecretDocument):
    """A webhook with its secret."""


class TryDocument(TypedDict):
    """One attempt of a delivery; ``error`` is null where it arrived."""

    at: str
    duration_s: float
    status: int | None
    error: str | None


class DeliveryDocument(TypedDict):
    """One event on its way to one webhook."""

    event_id: str
    type: str
    job_id: str
    status: str
    created_at: str
    attempts: int
    next_attempt_at: str | None
    tries: list[TryDocument]


class DeliveriesDocument(TypedDict):
    """Some deliveries to a webhook, newest first."""

    deliveries: list[DeliveryDocument]
    next_cursor: str | None
