"""The description of what is told unasked, beside the one of requests that FastAPI serves."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from functions.asyncapi import asyncapi_document
from functions.routes.addresses import base_url
from functions.routes.rates import COUNTED_BY_ADDRESS

router: Final = APIRouter(include_in_schema=False, dependencies=[COUNTED_BY_ADDRESS])


@router.get("/asyncapi.json")
async def asyncapi(request: Request) -> JSONResponse:
    """Give the AsyncAPI document of this deployment; needs no key, as `openapi.json` does not."""
    return JSONResponse(asyncapi_document(await base_url(request)))
