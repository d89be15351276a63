"""The HTTP API where an answer outlasts, or outgrows, what a buffered one may.

The same application as ``functions.rest``, behind a server of its own: in a
container with the Lambda Web Adapter, which hands its bytes on as they come.
API Gateway sends it event streams, archives and unpaged histories, and nothing else.

What API Gateway says of a call, its authorizer's finding included, the adapter
puts into a header, in the place of whatever the caller wrote there. Here, where
nothing but the adapter reaches the server, it is believed; it has to be, since
a ticket that the authorizer took is used up.

``python -m functions.stream`` is the image's smoke test: the application's
answer to the adapter's readiness check, without a network and without AWS.
"""

import asyncio
import sys
from typing import Any

import boto3
from fastapi import FastAPI

from clearstem.service import Service
from clearstem.settings import Settings
from functions import wiring
from functions.rest import create_app


def app() -> FastAPI:
    """The application; uvicorn calls this once per process."""
    return create_app(wiring.service(), adapted=True)


async def _answered(application: FastAPI, path: str) -> tuple[int, bytes]:
    """Status and body of a GET, asked of the application itself."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asked = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode()}
    beside = {"headers": [], "query_string": b"", "scheme": "http", "http_version": "1.1"}
    await application({**asked, **beside, "server": ("smoke", 80)}, receive, send)
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent)


def main() -> int:
    """Print the answer to ``/health``; 0 if it is a good one."""
    settings = Settings("table", "uploads", "work", "tracks", "drop")
    nobody = boto3.Session("none", "none", region_name="us-east-1")
    service = Service.over(settings, session=nobody)
    status, body = asyncio.run(_answered(create_app(service), "/health"))
    sys.stdout.write(f"{status} {body.decode()}\n")
    return int(status != 200)


if __name__ == "__main__":
    sys.exit(main())
