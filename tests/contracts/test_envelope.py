"""What every answer carries: problem documents, request ids and security headers."""

import asyncio
import base64
import hashlib
import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi.testclient import TestClient

from clearstem.errors import ClearstemError, StageError
from clearstem.service import Service
from functions import rest
from functions.blocking import Blocking
from functions.dialects import problems
from functions.rest import create_app
from functions.telemetry import logger
from tests.fakes import Invocation, recorded
from tests.problems import refusal
from tests.submitted import wav

PAGES = ("/", "/docs")
ANSWERS = ("/health", "/job/x", "/no/such/path", "/v1/apiKey/test", "/api/v1/denoise", *PAGES)
ORIGIN = {"Origin": "https://page.example"}


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service)) as client:
        yield client


@pytest.fixture
def faulty(service: Service) -> Iterator[TestClient]:
    app = create_app(replace(service, jobs=replace(service.jobs, table="no-such-table")))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_a_refused_option_tells_its_name_its_value_and_what_is_taken(api: TestClient) -> None:
    files = {"file": ("a.wav", wav())}
    answer = api.post("/process", files=files, data={"target_lufs": "-99"})
    assert refusal(answer) == (400, "target_lufs -99 is outside -40 to -5 LUFS")
    told = answer.json()
    assert (told["name"], told["type"]) == ("Clearstem.InvalidOption", "/problems/invalid-option")
    assert (told["field"], told["value"]) == ("target_lufs", -99.0)
    assert told["accepted"] == {"minimum": -40.0, "maximum": -5.0}


def test_a_refused_choice_tells_what_there_is_to_choose(api: TestClient) -> None:
    told = api.post("/jobs", json={"upload_id": "x", "engine": "magic"}).json()
    assert told["accepted"] == {"one_of": ["auto", "demucs", "spectral"]}
    assert (told["field"], told["value"]) == ("engine", "magic")


def test_a_parameter_out_of_range_tells_the_range(api: TestClient) -> None:
    told = api.get("/jobs?limit=500").json()
    assert (told["field"], told["value"], told["accepted"]) == ("limit", "500", {"maximum": 100})


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("option", ["target_lufs", "hpss_kernel"])
def test_a_value_that_json_has_no_word_for_is_told_all_the_same(
    api: TestClient, option: str, value: str
) -> None:
    answer = api.post("/process", files={"file": ("a.wav", wav())}, data={option: value})
    assert refusal(answer)[0] == 400
    assert answer.json()["value"] == value


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing/here", 404), ("PUT", "/health", 405)]
)
def test_what_the_framework_refuses_is_a_problem_as_well(
    api: TestClient, method: str, path: str, status: int
) -> None:
    answer = api.request(method, path)
    assert refusal(answer)[0] == status
    assert answer.json()["type"] == "about:blank"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/nothing", {"detail": "Not Found"}),
        ("/api/v1/nothing", {"errorCode": "40401", "errorMessage": "Not Found"}),
    ],
)
def test_what_the_framework_refuses_is_said_in_the_dialects_words(
    api: TestClient, path: str, body: dict[str, str]
) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.json()) == (404, body)
    assert answer.headers["content-type"] == "application/json"


def test_a_method_that_is_none_is_told_in_munsits_words(api: TestClient) -> None:
    answer = api.put("/api/v1/denoise")
    told = {"errorCode": "40501", "errorMessage": "Method Not Allowed"}
    assert (answer.status_code, answer.json()) == (405, told)
    assert answer.headers["allow"]


def test_every_type_of_problem_is_explained_at_its_address(api: TestClient) -> None:
    kinds = problems.kinds()
    assert kinds["track-not-found"].__name__ == "TrackNotFound"
    assert not any(issubclass(kind, StageError) for kind in kinds.values())
    for slug, kind in kinds.items():
        told = api.get(f"/problems/{slug}").json()
        assert told["status"] == kind.http_status
        assert told["meaning"].endswith(".")
        assert problems.problem(_made(kind))[1]["type"] == told["type"]


def _made(kind: type[ClearstemError]) -> ClearstemError:
    made = kind.__new__(kind)
    ClearstemError.__init__(made, "…")
    return made


def test_an_unknown_type_of_problem_is_a_problem(api: TestClient) -> None:
    assert refusal(api.get("/problems/stage-crashed"))[0] == 404


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_has_an_id_of_its_own(api: TestClient, path: str) -> None:
    ids = {str(UUID(api.get(path).headers["x-request-id"])) for _ in range(2)}
    assert len(ids) == 2


def test_every_answer_tells_the_version_of_the_api(api: TestClient) -> None:
    version = api.get("/openapi.json").json()["info"]["version"]
    assert api.get("/health").json()["version"] == version
    assert {api.get(path).headers["x-api-version"] for path in ANSWERS} == {version}


def test_a_callers_own_id_is_not_taken(api: TestClient) -> None:
    mine = str(uuid4())
    assert api.get("/health", headers={"X-Request-Id": mine}).headers["x-request-id"] != mine


def test_behind_the_gateway_the_id_is_the_gateways(deployed: Service) -> None:
    event = recorded("rest_health")
    event["requestContext"]["requestId"] = known = str(uuid4())
    answer = rest.handler(event, Invocation())
    assert answer["headers"]["x-request-id"] == known


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logger().registered_formatter)
    logger().addHandler(handler)
    yield stream
    logger().removeHandler(handler)


def test_log_lines_carry_the_id_of_their_request(service: Service, logged: io.StringIO) -> None:
    app, blocking = create_app(service), Blocking()

    async def say(number: int) -> int:
        logger().error("in the route", number=number)
        await blocking.call(logger().error, "in a thread", number=number)
        return number

    app.add_api_route("/say/{number}", say)
    transport = httpx.ASGITransport(app)

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await asyncio.gather(*(client.get(f"/say/{number}") for number in range(6)))

    ids = {answer.json(): answer.headers["x-request-id"] for answer in asyncio.run(ask())}
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert sorted((line["number"], line["correlation_id"]) for line in lines) == sorted(
        list(ids.items()) * 2
    )
    logger().error("after all")
    last = json.loads(logged.getvalue().splitlines()[-1])
    assert last.get("correlation_id") not in ids.values()


def test_a_fault_is_readable_from_another_origin(faulty: TestClient) -> None:
    answer = faulty.get(f"/job/{uuid4()}", headers=ORIGIN)
    assert refusal(answer) == (500, "Internal server error")
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_page_may_read_what_it_has_to_obey(api: TestClient) -> None:
    exposed = api.get("/health", headers=ORIGIN).headers["access-control-expose-headers"]
    names = {name.strip() for name in exposed.split(",")}
    assert {"RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id", "Location"} <= names


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_has_the_security_headers_once(api: TestClient, path: str) -> None:
    headers = api.get(path).headers
    assert headers.get_list("x-content-type-options") == ["nosniff"]
    assert headers.get_list("referrer-policy") == ["same-origin"]
    (policy,) = headers.get_list("content-security-policy")
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_preflight_and_a_fault_have_them_too(api: TestClient, faulty: TestClient) -> None:
    asked = ORIGIN | {"Access-Control-Request-Method": "POST"}
    for answer in (api.options("/process", headers=asked), faulty.get(f"/job/{uuid4()}")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert UUID(answer.headers["x-request-id"])


def test_only_https_asks_for_https_from_now_on(service: Service) -> None:
    app = create_app(service)
    for scheme, expected in (("https", ["max-age=63072000"]), ("http", [])):
        with TestClient(app, base_url=f"{scheme}://api.example") as client:
            assert client.get("/health").headers.get_list("strict-transport-security") == expected


@pytest.mark.parametrize("path", PAGES)
def test_a_page_allows_its_own_scripts_and_no_others(api: TestClient, path: str) -> None:
    page = api.get(path)
    policy = dict(
        part.split(" ", 1) for part in page.headers["content-security-policy"].split("; ")
    )
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
    assert scripts
    for kind, texts in (("script-src", scripts), ("style-src", styles)):
        for text in texts:
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy[kind].split()
    assert not re.search(r"<[^>]+\s(style|on\w+)=", page.text)


def test_the_console_may_talk_to_storage(api: TestClient, service: Service) -> None:
    endpoint = service.store.client.meta.endpoint_url.rstrip("/")
    policy = api.get("/").headers["content-security-policy"]
    for kind in ("connect-src", "media-src"):
        (allowed,) = (part for part in policy.split("; ") if part.startswith(kind))
        assert endpoint in allowed.split()
