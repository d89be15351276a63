"""WebSocket connections: who is there, and which jobs they watch.

Nothing is sent on connecting, when nothing can be: what is written here comes
down the table's stream, and the push function sends the first snapshot.
"""

import json
from typing import Any, Final
from uuid import UUID

from aws_lambda_powertools.utilities.typing import LambdaContext

from clearstem.connections import Connection
from clearstem.errors import InvalidRequest, JobNotFound, RequestError, Unauthorized
from clearstem.service import Service
from functions import dialects, wiring
from functions.dialects.pipeline_documents import DetailDocument
from functions.telemetry import Event, entry_point, logger

_OK: Final = {"statusCode": 200}


@entry_point
def handler(event: Event, _: LambdaContext) -> dict[str, Any]:
    """Answer one event of a connection."""
    match event["requestContext"]["routeKey"]:
        case "$connect":
            return _connect(event, service=wiring.service())
        case "$disconnect":
            wiring.service().connections.close(_connection_id(event))
            return _OK
        case _:
            return _subscribe(event, service=wiring.service())


def _connect(event: Event, *, service: Service) -> dict[str, Any]:
    asked = event.get("queryStringParameters") or {}  # null where there is no query string
    job_id = asked.get("job_id") or None
    try:
        owner = _owner(event)
        connection = Connection(
            connection_id=_connection_id(event),
            owner=owner,
            dialect=_dialect(asked.get("dialect")),
            job_id=job_id and _owned_job(job_id, owner=owner, service=service),
        )
    except RequestError as exc:
        return {"statusCode": exc.http_status, "body": json.dumps({"detail": str(exc)})}
    service.connections.open(connection, at=service.now())
    if connection.job_id is not None:
        logger().append_keys(job_id=connection.job_id)
        service.connections.watch(connection, job_id=connection.job_id, at=service.now())
    logger().info("connection opened", dialect=connection.dialect)
    return _OK


def _subscribe(event: Event, *, service: Service) -> dict[str, Any]:
    connection_id = _connection_id(event)
    try:
        connection = service.connections.get(connection_id)
        if connection is None:
            raise Unauthorized("the connection is not known any more; open another")
        job_id = _owned_job(_asked_job(event.get("body")), owner=connection.owner, service=service)
    except RequestError as exc:
        # An error frame is no snapshot: no change of the table brings it about.
        refusal: DetailDocument = {"detail": str(exc)}
        service.broadcast(dialects.RENDERERS).say(connection_id, json.dumps(refusal))
        return _OK
    service.connections.watch(connection, job_id=job_id, at=service.now())
    return _OK


def _connection_id(event: Event) -> str:
    return str(event["requestContext"]["connectionId"])


def _asked_job(body: str | None) -> str:
    try:
        message = json.loads(body or "")
        action, job_id = message["action"], message["job_id"]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise InvalidRequest('expected {"action": "subscribe", "job_id": "…"}') from exc
    if action != "subscribe":
        raise InvalidRequest(f"action {str(action)[:40]!r} is not known; subscribe is")
    return str(job_id)


def _owned_job(job_id: str, *, owner: str, service: Service) -> str:
    """The id of an owner's job; another's is as unknown as none."""
    try:
        job = service.jobs.get(str(UUID(job_id)))
    except ValueError as exc:
        raise JobNotFound("Job not found") from exc
    if job.owner != owner:
        raise JobNotFound("Job not found")
    return job.job_id


def _dialect(asked: str | None) -> str:
    dialect = asked or dialects.DEFAULT
    if dialect not in dialects.RENDERERS:
        raise InvalidRequest(f"dialect {dialect!r} is not one of {', '.join(dialects.RENDERERS)}")
    return dialect


def _owner(event: Event) -> str:
    authorizer = event["requestContext"].get("authorizer") or {}
    if not authorizer.get("owner"):
        raise Unauthorized("Invalid or missing API key")
    return str(authorizer["owner"])
