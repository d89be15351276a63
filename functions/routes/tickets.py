"""Tickets: how a page opens a WebSocket or an event stream without a key in its address."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from clearstem.entry_tickets import LIFETIME
from functions.routes import examples
from functions.routes import webhook_examples as shown_as
from functions.routes.calls import CurrentCall

router: Final = APIRouter(tags=["service"])


class TicketDocument(TypedDict):
    """A ticket, good once."""

    ticket: str
    expires_in_s: int


@router.post(
    "/tickets",
    summary="Get a ticket for one WebSocket or event stream",
    response_model=TicketDocument,
    responses={200: examples.answer(shown_as.TICKET), **examples.NEEDS_KEY},
)
async def ticket(call: CurrentCall) -> JSONResponse:
    """Give a ticket for the query parameter `ticket`; it is good once, for a minute."""
    text = await call.blocking.call(
        call.service.entry_tickets.issue, call.owner, at=call.service.now()
    )
    return JSONResponse({"ticket": text, "expires_in_s": int(LIFETIME.total_seconds())})
