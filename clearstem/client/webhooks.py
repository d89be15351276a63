"""Webhooks from both sides: an owner's registrations, and a receiver's verification."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, cast

from standardwebhooks import Webhook, WebhookVerificationError
from standardwebhooks.webhooks import EmptyWebhookSecretError

from clearstem.client.calling import Caller
from clearstem.client.errors import ClientError, NotGenuine
from clearstem.client.webhook_documents import (
    DeliveriesDocument,
    DeliveryDocument,
    MessageDocument,
    NewWebhookDocument,
    SecretDocument,
    WebhookDocument,
    WebhooksDocument,
)

CALLBACKS: Final = "callbacks"
"""Stands for the callbacks of all jobs where a webhook's secret is asked for or rotated."""


def verify(body: bytes | str, headers: Mapping[str, str], *, secret: str) -> MessageDocument:
    """A message that a receiver was sent, once its signature is found to be good.

    Messages come at least once: ``headers["webhook-id"]`` is the same at each attempt.

    Parameters
    ----------
    body : bytes or str
        Exactly as it came.
    headers : mapping
        Of the request; names in any case.
    secret : str
        As it was shown, ``whsec_…``.

    Raises
    ------
    NotGenuine
        The signature is not good, or older than five minutes; or the body is no message.
    ClientError
        `secret` is none.
    """
    webhook = signed_by(secret)
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        found = webhook.verify(body, lower)
    except (WebhookVerificationError, ValueError) as exc:
        raise NotGenuine(f"not a message of this webhook: {exc}") from exc
    if not isinstance(found, dict) or not found.keys() >= MessageDocument.__required_keys__:
        raise NotGenuine("signed, but not a message of clearstem's")
    return cast("MessageDocument", found)


def signed_by(secret: str) -> Webhook:
    """What verifies the messages that a secret signs.

    Raises
    ------
    ClientError
        It is none; the error does not show it, as it may be one that was copied badly.
    """
    try:
        return Webhook(secret)
    except (EmptyWebhookSecretError, ValueError) as exc:
        raise ClientError("the secret of the webhook is none: one is whsec_ and base64") from exc


class AsyncWebhooks:
    """An owner's webhooks; calls take the scope ``admin`` and raise as `AsyncClient`'s do."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def register(
        self, url: str, *, events: Sequence[str] | None = None
    ) -> NewWebhookDocument:
        """Have an address told of all jobs; the webhook with its secret.

        Parameters
        ----------
        events : sequence of str or None
            Names such as ``job.succeeded``; None: all that are sent.
        """
        body = {"url": url, "events": None if events is None else list(events)}
        return await self._caller.post("/webhooks", NewWebhookDocument, body=body)

    async def registered(self) -> list[WebhookDocument]:
        """The webhooks that there are, the oldest first."""
        found = await self._caller.get("/webhooks", WebhooksDocument)
        return found["webhooks"]

    async def secret(self, webhook_id: str = CALLBACKS) -> SecretDocument:
        """What a webhook's messages are signed with, or those of all jobs' callbacks."""
        return await self._caller.get(f"/webhooks/{webhook_id}", SecretDocument)

    async def rotate(self, webhook_id: str = CALLBACKS) -> SecretDocument:
        """Sign with a new secret, and for a day with the one before it as well."""
        return await self._caller.post(f"/webhooks/{webhook_id}/rotate", SecretDocument)

    async def delete(self, webhook_id: str) -> None:
        """Send nothing to a webhook any more."""
        await self._caller.remove(f"/webhooks/{webhook_id}")

    async def deliveries(
        self, webhook_id: str, *, page: int = 20
    ) -> AsyncIterator[DeliveryDocument]:
        """What was sent to a webhook, newest first, page after page as they are read."""
        path, query = f"/webhooks/{webhook_id}/deliveries", {"limit": page}
        async for found in self._caller.pages(path, DeliveriesDocument, query=query):
            for delivery in found["deliveries"]:
                yield delivery

    async def redeliver(self, webhook_id: str, event_id: str) -> DeliveryDocument:
        """Send an event once more, by the whole schedule; the delivery as it is then."""
        path, body = f"/webhooks/{webhook_id}/redeliver", {"event_id": event_id}
        return await self._caller.post(path, DeliveryDocument, body=body)
