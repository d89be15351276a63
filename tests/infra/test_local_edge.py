"""The edge and the guard: paths to query strings, sockets both ways, and foreign pages outside."""

import asyncio
import contextlib
import http.client
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from infra.local.edge import WebSocketTarget, create_edge, query_of
from infra.local.guard import is_loopback, judge
from infra.local.processes import HOST, free_port
from tests.emulator import Account, Emulator, until

JOB = "0e8400e2-9b41-4d44-a716-446655440000"

HANDLER = """
import boto3, json, os
def handler(event, context):
    route = event["requestContext"]["routeKey"]
    connection = event["requestContext"]["connectionId"]
    if route == "$connect":
        query = event.get("queryStringParameters") or {}
        key = {name.lower(): value for name, value in event["headers"].items()}.get("x-api-key")
        if query.get("job_id", "").startswith("1"):
            return {"statusCode": 418}
        with open(os.environ["TMP_FILE"], "w") as file:
            json.dump({**query, "key": key}, file)
    elif route == "$default" and event["body"] == "bye":
        request = event["requestContext"]
        url = "/".join((os.environ["AWS_ENDPOINT_URL"], "_aws/execute-api",
                        request["apiId"], request["stage"]))
        boto3.client("apigatewaymanagementapi", endpoint_url=url).delete_connection(
            ConnectionId=connection)
    elif route == "$default":
        return {"statusCode": 200, "body": "you said " + event["body"]}
    return {"statusCode": 200}
"""


@dataclass(frozen=True)
class Edge:
    """A served edge."""

    port: int
    seen: Any

    def request(self, method: str, path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            return connection.getresponse().status

    @contextlib.asynccontextmanager
    async def socket(self, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
        async with connect(f"ws://localhost:{self.port}{path}", proxy=None, **options) as socket:
            yield socket


async def http_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def edge(aws: Account, tmp_path: Any) -> Iterator[Edge]:
    app = create_edge(http_app, websockets=WebSocketTarget(make_websocket_api(aws, tmp_path)))
    port = free_port()
    config = uvicorn.Config(
        app, host=HOST, port=port, log_config=None, ws="websockets-sansio", lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield Edge(port, tmp_path / "seen.json")
    server.should_exit = True
    thread.join()


def make_websocket_api(aws: Account, tmp_path: Any) -> str:
    """A WebSocket API of one function; its URL on the emulator."""
    arn = aws.function("socket", HANDLER)
    aws.client("lambda").update_function_configuration(
        FunctionName="socket", Environment={"Variables": {"TMP_FILE": str(tmp_path / "seen.json")}}
    )
    gateway = aws.client("apigatewayv2")
    api = gateway.create_api(
        Name="live", ProtocolType="WEBSOCKET", RouteSelectionExpression="$request.body.action"
    )["ApiId"]
    integration = gateway.create_integration(
        ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=arn
    )["IntegrationId"]
    for route in ("$connect", "$disconnect", "$default"):
        gateway.create_route(ApiId=api, RouteKey=route, Target=f"integrations/{integration}")
    gateway.create_stage(ApiId=api, StageName="live", AutoDeploy=True)
    return f"{aws.endpoint.replace('http', 'ws')}/_aws/execute-api/{api}/live"


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/v1/wss", "", ""),
        ("/v1/wss", f"job_id={JOB}&dialect=audo", f"job_id={JOB}&dialect=audo"),
        (f"/v1/wss/job/{JOB}", "", f"job_id={JOB}&dialect=pipeline"),
        (f"/v1/wss/job/{JOB}", "key=k&job_id=other", f"job_id={JOB}&dialect=pipeline&key=k"),
        (f"/v1/wss/remove-noise/{JOB}/status", "", f"job_id={JOB}&dialect=audo"),
        ("/v1/wss/job/../../etc", "", None),
        (f"/v1/wss/remove-noise/{JOB}", "", None),
        ("/v1/other", "", None),
    ],
)
def test_the_path_of_a_socket_becomes_its_query_string(
    path: str, query: str, expected: str | None
) -> None:
    assert query_of(path, query) == expected


def test_a_socket_is_bridged_with_its_key_and_its_job(edge: Edge) -> None:
    async def talk() -> str:
        headers = {"x-api-key": "cs_secret"}
        async with edge.socket(f"/v1/wss/job/{JOB}", additional_headers=headers) as socket:
            await socket.send("hello")
            return str(await asyncio.wait_for(socket.recv(), 10))

    assert asyncio.run(talk()) == "you said hello"
    seen = json.loads(edge.seen.read_text())
    assert seen == {"job_id": JOB, "dialect": "pipeline", "key": "cs_secret"}


def test_the_close_of_the_api_closes_the_callers_socket(edge: Edge) -> None:
    async def talk() -> int:
        async with edge.socket("/v1/wss") as socket:
            await socket.send("bye")
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 10)
            return socket.close_code or 0

    assert asyncio.run(talk()) == 1000


def test_an_idle_socket_stays_open(edge: Edge) -> None:
    async def talk() -> str:
        async with edge.socket("/v1/wss") as socket:
            await asyncio.sleep(1.5)  # longer than any of the polls behind
            await socket.send("still here")
            return str(await asyncio.wait_for(socket.recv(), 10))

    assert asyncio.run(talk()) == "you said still here"


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/wss/nothing", 404), (f"/v1/wss/job/1{JOB[1:]}", 418)]
)
def test_a_refused_socket_is_refused_with_its_status(edge: Edge, path: str, status: int) -> None:
    async def talk() -> int:
        with pytest.raises(InvalidStatus) as refused:
            async with edge.socket(path):
                pass
        return refused.value.response.status_code

    assert asyncio.run(talk()) == status


def test_a_foreign_page_may_not_open_a_socket(edge: Edge) -> None:
    async def talk() -> int:
        with pytest.raises(InvalidStatus) as refused:
            async with edge.socket("/v1/wss", origin="https://evil.example"):
                pass
        return refused.value.response.status_code

    assert asyncio.run(talk()) == 403


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("POST", {}, 200),
        ("POST", {"origin": "http://localhost:5173"}, 200),
        ("POST", {"origin": "http://127.0.0.1:8000"}, 200),
        ("POST", {"origin": "https://evil.example"}, 403),
        ("POST", {"origin": "http://localhost.evil.example"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("DELETE", {"origin": "https://evil.example"}, 403),
        ("GET", {"origin": "https://evil.example"}, 200),
        ("GET", {"host": "evil.example"}, 421),
        ("GET", {"host": "localhost:1"}, 200),
        ("GET", {"host": "127.0.0.1.evil.example:8000"}, 421),
    ],
)
def test_the_edge_lets_in_programs_and_pages_of_this_machine(
    edge: Edge, method: str, headers: dict[str, str], status: int
) -> None:
    assert edge.request(method, "/", **headers) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://localhost:3000"}, 200),
    ],
)
def test_the_emulator_answers_no_foreign_page_at_all(
    emulator: Emulator, headers: dict[str, str], status: int
) -> None:
    port = emulator.settings.port
    assert Edge(port, None).request("GET", "/_ministack/health", **headers) == status


def test_a_body_above_the_gateways_quota_is_refused(emulator: Emulator) -> None:
    length = str(10 * 1024 * 1024 + 1)
    status = Edge(emulator.settings.port, None).request(
        "POST", "/_aws/execute-api/abc/live/x", content_length=length
    )
    assert status == 413


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("[::1]:8000", True),
        ("abc.execute-api.localhost:1", True),
        ("localhost.evil.example", False),
        ("127.0.0.1@evil.example", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_loopback_names(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_null_is_an_origin_only_where_it_is_listed() -> None:
    headers = {"host": "localhost", "origin": "null"}
    assert judge(headers, method="POST", allowed_origins=()) is not None
    assert judge(headers, method="POST", allowed_origins=("null",)) is None
