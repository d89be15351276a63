"""Webhooks: registering addresses that are told of jobs, their secrets and their deliveries."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from clearstem.webhook_deliveries import LISTABLE
from clearstem.webhook_endpoints import (
    CALLBACKS,
    SENT_KINDS,
    Endpoint,
    check_callback,
    event_kinds,
)
from clearstem.webhook_secrets import Secrets, new_secret
from functions.dialects import webhooks as documents
from functions.routes import examples
from functions.routes import webhook_examples as shown_as
from functions.routes.calls import Call, CurrentCall

router: Final = APIRouter(prefix="/webhooks", tags=["webhooks"])

_JSON_BYTES: Final = 16 * 1024

_NO_WEBHOOK: Final[dict[int | str, dict[str, Any]]] = {
    **examples.NEEDS_KEY,
    404: examples.problem(404, "no webhook …", description="No such webhook of this owner"),
}


class WebhookRequest(BaseModel):
    """An address, and what it wants to be told."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(examples=["https://example.org/hooks/clearstem"])
    events: list[str] | None = Field(
        default=None,
        max_length=50,
        description=f"Of {', '.join(SENT_KINDS)}; all of them where none are named.",
    )


class RedeliverRequest(BaseModel):
    """An event that is to be sent once more."""

    model_config = ConfigDict(extra="forbid")

    event_id: str = Field(max_length=100)


@router.post(
    "",
    max_body_size=_JSON_BYTES,
    summary="Register an address that is told of all jobs",
    response_model=documents.NewWebhookDocument,
    responses={200: examples.answer(shown_as.NEW_WEBHOOK), **examples.NEEDS_KEY},
)
async def register(body: WebhookRequest, call: CurrentCall) -> JSONResponse:
    """Register an address; its secret is in the answer."""
    check_callback(body.url, settings=call.service.settings)
    secrets = Secrets(new_secret())
    endpoint = Endpoint(
        call.service.next_id(),
        call.owner,
        body.url,
        created_at=call.service.now(),
        events=event_kinds(body.events),
        secrets=secrets,
    )
    made = await call.blocking.call(call.service.endpoints.register, endpoint)
    return JSONResponse(documents.new_webhook_document(made, made.secrets or secrets))


@router.get(
    "",
    summary="The caller's webhooks",
    response_model=documents.WebhooksDocument,
    responses={200: examples.answer(shown_as.WEBHOOKS), **examples.NEEDS_KEY},
)
async def listed(call: CurrentCall) -> JSONResponse:
    """List what the caller registered, without secrets."""
    found = await call.blocking.call(call.service.endpoints.registered, call.owner)
    return JSONResponse(documents.webhooks_document(found))


@router.get(
    "/{webhook_id}",
    summary="A webhook with its secret",
    response_model=documents.NewWebhookDocument | documents.SecretDocument,
    responses={200: examples.answer(shown_as.NEW_WEBHOOK), **_NO_WEBHOOK},
)
async def shown(webhook_id: str, call: CurrentCall) -> JSONResponse:
    """Show a webhook and its secret; `callbacks` is what signs jobs' `callback_url`s."""
    endpoints = call.service.endpoints
    if webhook_id == CALLBACKS:
        secrets = await call.blocking.call(endpoints.callback_secrets, call.owner)
        return JSONResponse(documents.secret_document(secrets))
    endpoint = await _endpoint(call, webhook_id)
    secrets = await call.blocking.call(endpoints.secrets_of, endpoint)
    return JSONResponse(documents.new_webhook_document(endpoint, secrets))


@router.delete(
    "/{webhook_id}",
    summary="Send nothing to this webhook any more",
    status_code=204,
    response_class=Response,
    responses=_NO_WEBHOOK,
)
async def removed(webhook_id: str, call: CurrentCall) -> Response:
    """Remove a webhook; what is still on its way to it is dropped."""
    await call.blocking.call(
        call.service.endpoints.delete, webhook_id, owner=call.owner, at=call.service.now()
    )
    return Response(status_code=204)


@router.post(
    "/{webhook_id}/rotate",
    summary="Give a webhook a new secret",
    response_model=documents.SecretDocument,
    responses={200: examples.answer(shown_as.SECRET), **_NO_WEBHOOK},
)
async def rotated(webhook_id: str, call: CurrentCall) -> JSONResponse:
    """Sign with a new secret, and for 24 h with the one before it as well."""
    service = call.service
    secrets = await call.blocking.call(
        service.endpoints.rotate,
        webhook_id,
        owner=call.owner,
        rotation=service.next_id(),
        at=service.now(),
    )
    return JSONResponse(documents.secret_document(secrets))


@router.get(
    "/{webhook_id}/deliveries",
    summary="What was sent to a webhook, newest first",
    response_model=documents.DeliveriesDocument,
    responses={200: examples.answer(shown_as.DELIVERIES), **_NO_WEBHOOK},
)
async def deliveries(
    webhook_id: str,
    call: CurrentCall,
    limit: Annotated[int, Query(ge=1, le=LISTABLE, description="Deliveries to a page")] = 20,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
) -> JSONResponse:
    """List deliveries with the attempts made and when the next is due; kept for 30 days."""
    endpoint = await _endpoint(call, webhook_id)
    page = await call.blocking.call(
        call.service.deliveries.page,
        endpoint.webhook_id,
        owner=call.owner,
        limit=limit,
        cursor=cursor,
    )
    return JSONResponse(documents.deliveries_document(page))


@router.post(
    "/{webhook_id}/redeliver",
    max_body_size=_JSON_BYTES,
    summary="Send an event to a webhook once more",
    response_model=documents.DeliveryDocument,
    responses={200: examples.answer(shown_as.DELIVERY), **_NO_WEBHOOK},
)
async def redelivered(webhook_id: str, body: RedeliverRequest, call: CurrentCall) -> JSONResponse:
    """Send an event again, under the same id, with the whole schedule of attempts."""
    endpoint = await _endpoint(call, webhook_id)
    delivery = await call.blocking.call(
        call.service.announcer.redeliver, body.event_id, endpoint=endpoint
    )
    return JSONResponse(documents.delivery_document(delivery))


async def _endpoint(call: Call, webhook_id: str) -> Endpoint:
    return await call.blocking.call(call.service.endpoints.get, webhook_id, owner=call.owner)
