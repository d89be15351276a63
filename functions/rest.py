"""The HTTP API: a FastAPI application, and the Lambda handler around it.

The local edge serves `create_app` by uvicorn; on AWS, API Gateway calls
`handler`, and Mangum turns its events into the same requests.
"""

from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from aws_lambda_powertools.utilities.typing import LambdaContext
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response
from mangum import Mangum
from starlette.requests import ClientDisconnect

from clearstem import limits, removal  # noqa: F401 - the first event composes it; loaded before
from clearstem.errors import ClearstemError, Contention, InvalidRequest, TooManyRequests
from clearstem.service import Service
from functions import dialects, wiring
from functions.blocking import Blocking
from functions.dialects import pipeline
from functions.event_stream import JobFeed
from functions.job_reads import JobReads
from functions.lingering import Lingering
from functions.routes import audo as audo_routes
from functions.routes import downloads, examples, jobs, originals, submissions
from functions.routes import munsit as munsit_routes
from functions.routes import pipeline as pipeline_routes
from functions.routes import uploads as upload_routes
from functions.telemetry import Event, count, entry_point, logger

_CONSOLE: Final = Path(__file__).with_name("console") / "index.html"

_FAULT: Final = "Internal server error"
_SUBMITTING: Final = (
    ("POST", "/process"),
    ("POST", "/jobs"),
    ("POST", "/v1/remove-noise"),
    ("POST", "/api/v1/denoise"),
)

_DESCRIPTION: Final = """\
A recording goes in, nine tracks come out: vocals, drums, bass and other; harmonic and percussive;
main, main_harmonic and main_percussive.

**Progress** comes over a WebSocket: `/v1/wss/job/{job_id}` on this host (behind API Gateway, the
WebSocket API's own address with `?job_id={job_id}`) sends the document of `GET /job/{job_id}` at
once and then at every change, and closes after the last. A connection to `/v1/wss` watches what it
asks for by messages: `{"action": "subscribe", "job_id": "…"}`. A client that cannot send the header
`x-api-key`, as a browser's WebSocket, gives its key as the query parameter `api_key`.

**Errors** have the body `{"detail": "…"}`. All routes of the API allow calls from other origins as
the deployment decides.
"""


def create_app(service: Service, *, docs_assets: str | None = None) -> FastAPI:
    """The application over a given core.

    Parameters
    ----------
    docs_assets : str or None
        Where this host serves Swagger UI's two files, relative to ``/docs``;
        None: the page loads them from their CDN.
    """
    app = FastAPI(
        title="clearstem",
        version=pipeline.API_VERSION,
        summary="Separation of music into nine tracks",
        description=_DESCRIPTION,
        # Relative, since API Gateway puts the stage's name before every path.
        servers=[{"url": ".", "description": "this deployment"}],
        # Also keeps FastAPI from describing a 422 that this dialect never gives.
        responses={"4XX": examples.problem("…", description="Refused; `detail` says why")},
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.blocking = blocking = Blocking()
    app.state.reads = JobReads(service.jobs, blocking=blocking)
    app.state.feed = JobFeed(app.state.reads)
    app.include_router(pipeline_routes.router)
    app.include_router(submissions.router)
    app.include_router(jobs.router)
    app.include_router(upload_routes.router)
    app.include_router(downloads.router)
    app.include_router(audo_routes.router)
    app.include_router(munsit_routes.router)
    app.include_router(originals.router)
    app.add_api_route("/", _console, include_in_schema=False)
    app.add_api_route("/docs", _docs_route(docs_assets), include_in_schema=False)
    app.add_exception_handler(ClearstemError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _fault)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(service.settings.cors_origins),
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=[
            "Content-Disposition",
            "Content-Range",
            "ETag",
            "Retry-After",
            "X-Upload-Id",
        ],
    )
    app.add_middleware(Lingering)
    return app


@entry_point
def handler(event: Event, context: LambdaContext) -> dict[str, Any]:
    """Answer one request of API Gateway."""
    # Mangum only hands the context on; its type and Powertools' differ by names.
    answer = _gateway()(event, cast("Any", context))
    if (event["httpMethod"], event["path"]) in _SUBMITTING and answer["statusCode"] == 200:
        count("JobsSubmitted")
    return answer


@cache
def _gateway() -> Mangum:
    return Mangum(create_app(wiring.service()), lifespan="off")


async def _console() -> HTMLResponse:
    return HTMLResponse(_page())


@cache
def _page() -> str:
    return _CONSOLE.read_text(encoding="utf-8")


def _docs_route(assets: str | None) -> Callable[[], Awaitable[HTMLResponse]]:
    local: dict[str, Any] = {"swagger_favicon_url": "data:,"}
    if assets is not None:
        local["swagger_js_url"] = f"{assets}/swagger-ui-bundle.js"
        local["swagger_css_url"] = f"{assets}/swagger-ui.css"

    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(openapi_url="openapi.json", title="clearstem", **local)

    return docs


async def _problem(request: Request, error: Exception) -> Response:
    """An error in the words of the dialect that was spoken to."""
    known = error if isinstance(error, ClearstemError) else ClearstemError(_FAULT)
    status, body = dialects.PROBLEMS[dialects.dialect_of(request.url.path)](known)
    wait_s = _retry_after_s(known)
    headers = None if wait_s is None else {"Retry-After": str(wait_s)}
    return JSONResponse(dict(body), status_code=status, headers=headers)


def _retry_after_s(error: ClearstemError) -> int | None:
    if isinstance(error, TooManyRequests):
        return error.retry_after_s
    return 1 if isinstance(error, Contention) else None


async def _invalid(request: Request, error: Exception) -> Response:
    """The first thing wrong, in one sentence, never a list."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
    return await _problem(request, InvalidRequest(f"{where or 'body'}: {first['msg']}"))


async def _gone(_: Request, __: Exception) -> Response:
    """The client left while it was sending: nobody reads this answer."""
    return Response(status_code=400)


async def _fault(request: Request, error: Exception) -> Response:
    logger().error("request failed", path=request.url.path, exc_info=error)
    return await _problem(request, error)
