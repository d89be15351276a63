"""The HTTP API: a FastAPI application, and the Lambda handler around it.

The local edge serves `create_app` by uvicorn; on AWS, API Gateway calls
`handler`, and Mangum turns its events into the same requests.
"""

from collections.abc import Awaitable, Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from aws_lambda_powertools.utilities.typing import LambdaContext
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from mangum import Mangum

from clearstem import limits, removal  # noqa: F401 - the first event composes it; loaded before
from clearstem.edge_proof import EdgeProof
from clearstem.service import Service
from functions import answers, wiring
from functions.blocking import Blocking
from functions.description import describe
from functions.dialects import pipeline
from functions.envelope import API_VERSION_HEADER, REQUEST_ID, Envelope
from functions.event_stream import JobFeed
from functions.faults import Faults
from functions.idempotency import REPLAYED, Idempotent
from functions.job_reads import JobReads
from functions.lingering import Lingering
from functions.routes import audo as audo_routes
from functions.routes import descriptions, downloads, examples, jobs, originals, submissions
from functions.routes import munsit as munsit_routes
from functions.routes import pipeline as pipeline_routes
from functions.routes import problems as problem_routes
from functions.routes import tickets as ticket_routes
from functions.routes import uploads as upload_routes
from functions.routes import usage as usage_routes
from functions.routes import webhooks as webhook_routes
from functions.security import page_policy
from functions.telemetry import Event, entry_point

_CONSOLE: Final = Path(__file__).with_name("console") / "index.html"

# Where Swagger UI's files come from where this host has none.
_DOCS_CDN: Final = "https://cdn.jsdelivr.net"
# What a page of another origin may read of an answer's headers.
_EXPOSED: Final = (
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    API_VERSION_HEADER,
    REQUEST_ID,
    "X-Upload-Id",
    REPLAYED,
)

_DESCRIPTION: Final = """\
A recording goes in, nine tracks come out: vocals, drums, bass and other; harmonic and percussive;
main, main_harmonic and main_percussive.

**Progress** comes over a WebSocket: `/v1/wss/job/{job_id}` on this host (behind API Gateway, the
WebSocket API's own address with `?job_id={job_id}`) sends the document of `GET /job/{job_id}` at
once and then at every change, and closes after the last. A connection to `/v1/wss` watches what it
asks for by messages: `{"action": "subscribe", "job_id": "…"}`. A client that cannot send the header
`x-api-key`, as a browser's WebSocket, asks `POST /tickets` for a ticket and gives it as the query
parameter `ticket`; it is good once, for a minute. What is told over WebSockets, event streams and
webhooks is described by AsyncAPI, in `asyncapi.json` beside this document.

**Retries** of any POST are safe with the header `Idempotency-Key`: within 24 hours the same request
with the same key gets the same answer and does nothing again; another request with that key, or one
that comes while the first is still under way, is a 409.

**Errors** are problem details (RFC 9457, `application/problem+json`); `detail` says what is wrong,
`type` leads to what that kind of error means. The Audo and Munsit routes keep the errors of their
published APIs. Every answer has an `X-Request-Id`, by which the service's logs know it, and the
API's version in `X-API-Version`: minor versions change it compatibly, major ones may break. All
routes allow calls from other origins as the deployment decides.
"""


def create_app(
    service: Service, *, docs_assets: str | None = None, adapted: bool = False
) -> FastAPI:
    """The application over a given core.

    Parameters
    ----------
    docs_assets : str or None
        Where this host serves Swagger UI's two files, relative to ``/docs``;
        None: the page loads them from their CDN.
    adapted : bool
        Whether only the Lambda Web Adapter can reach the server of the application.
    """
    app = FastAPI(
        title="clearstem",
        version=pipeline.API_VERSION,
        summary="Separation of music into nine tracks",
        description=_DESCRIPTION,
        # Relative, since API Gateway puts the stage's name before every path.
        servers=[{"url": ".", "description": "this deployment"}],
        # Also keeps FastAPI from describing a 422 that this dialect never gives.
        responses={"4XX": examples.problem(400, "…", description="Refused; `detail` says why")},
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.blocking = blocking = Blocking()
    app.state.reads = JobReads(service.jobs, blocking=blocking)
    app.state.feed = JobFeed(app.state.reads)
    app.state.edge_proof = EdgeProof(
        lambda: service.client("secretsmanager"), secret_arn=service.settings.edge_secret_arn
    )
    app.state.own_rates = limits.OwnRates(service.jobs.quotas)
    app.include_router(pipeline_routes.router)
    app.include_router(submissions.router)
    app.include_router(jobs.router)
    app.include_router(upload_routes.router)
    app.include_router(downloads.router)
    app.include_router(audo_routes.router)
    app.include_router(munsit_routes.router)
    app.include_router(originals.router)
    app.include_router(webhook_routes.router)
    app.include_router(ticket_routes.router)
    app.include_router(usage_routes.router)
    app.include_router(problem_routes.router)
    app.include_router(descriptions.router)
    storage = _origin(service.store.client.meta.endpoint_url)
    app.add_api_route("/", _console_route(storage), include_in_schema=False)
    app.add_api_route("/docs", _docs_route(docs_assets), include_in_schema=False)
    describe(app)
    _wrap(app, origins=service.settings.cors_origins, adapted=adapted)
    return app


def _wrap(app: FastAPI, *, origins: Collection[str], adapted: bool) -> None:
    """Put around the routes what every answer has; the last that is added stands outermost."""
    answers.add_handlers(app)
    app.add_middleware(Idempotent, problem=answers.told)
    app.add_middleware(Faults)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    app.add_middleware(Envelope, adapted=adapted)
    app.add_middleware(Lingering)


@entry_point
def handler(event: Event, context: LambdaContext) -> dict[str, Any]:
    """Answer one request of API Gateway."""
    # Mangum only hands the context on; its type and Powertools' differ by names.
    return _gateway()(event, cast("Any", context))


@cache
def _gateway() -> Mangum:
    return Mangum(create_app(wiring.service()), lifespan="off")


def _console_route(storage: str) -> Callable[[], Awaitable[HTMLResponse]]:
    async def console() -> HTMLResponse:
        return _page(_console(), storage=[storage])

    return console


@cache
def _console() -> str:
    return _CONSOLE.read_text(encoding="utf-8")


def _page(page: str, **allowed: Collection[str]) -> HTMLResponse:
    policy = page_policy(page, **allowed)
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _docs_route(assets: str | None) -> Callable[[], Awaitable[HTMLResponse]]:
    local: dict[str, Any] = {"swagger_favicon_url": "data:,"}
    loaded_from = ("'self'",) if assets is not None else ("'self'", _DOCS_CDN)
    if assets is not None:
        local["swagger_js_url"] = f"{assets}/swagger-ui-bundle.js"
        local["swagger_css_url"] = f"{assets}/swagger-ui.css"

    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(openapi_url="openapi.json", title="clearstem", **local)
        return _page(bytes(page.body).decode(), storage=(), assets=loaded_from)

    return docs
