"""What a caller uses and may use, so that nobody has to run into a limit to know it."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from clearstem.usage import month_at
from functions.dialects import usage as documents
from functions.routes import examples
from functions.routes.calls import Call, CurrentCall

router: Final = APIRouter(tags=["service"])

_USAGE: Final[documents.UsageDocument] = {
    "owner": "alice",
    "month": "2024-01",
    "unfinished_jobs": {"used": 2, "limit": 20},
    "minutes_per_month": {
        "used": 93.25,
        "limit": 600.0,
        "resets_at": "2024-02-01T00:00:00+00:00",
    },
    "stored_bytes": {"used": 1270473216, "limit": None},
    "requests_per_s": {"limit": 20.0, "burst": 200},
}


@router.get(
    "/usage",
    summary="What the caller uses, and may use",
    response_model=documents.UsageDocument,
    responses={200: examples.answer(_USAGE), **examples.NEEDS_KEY},
)
async def usage(call: CurrentCall) -> JSONResponse:
    """Tell the caller's limits and what is used of them; null is no limit."""
    return JSONResponse(await call.blocking.call(_used, call))


def _used(call: Call) -> documents.UsageDocument:
    service, at = call.service, call.service.now()
    quotas = service.jobs.quotas
    quota = quotas.of(call.owner)
    return documents.usage_document(
        call.owner,
        quota,
        quotas.used(call.owner, month=month_at(at)),
        rates=service.limits.of(quota),
        at=at,
    )
