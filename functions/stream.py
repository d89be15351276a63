"""The HTTP API where an answer outlasts, or outgrows, what a buffered one may.

The same application as ``functions.rest``, behind a server of its own: in a
container with the Lambda Web Adapter, which hands its bytes on as they come.
API Gateway sends it event streams and archives, and nothing else.

What API Gateway says of a call, its authorizer's finding included, the adapter
puts into a header, in the place of whatever the caller wrote there. Here, where
nothing but the adapter reaches the server, it is believed; it has to be, since
a ticket that the authorizer took is used up.
"""

from fastapi import FastAPI

from functions import wiring
from functions.rest import create_app


def app() -> FastAPI:
    """The application; uvicorn calls this once per process."""
    return create_app(wiring.service(), adapted=True)
