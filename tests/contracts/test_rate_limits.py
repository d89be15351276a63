"""A caller beyond his rate, in the words of each dialect."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from clearstem.errors import TooManyRequests
from clearstem.service import Service
from functions import dialects
from functions.rest import create_app
from functions.routes.calls import CurrentCall
from tests.readme import answers

START = datetime(2026, 11, 21, tzinfo=UTC)
# A path of each dialect whose route only says who is calling.
_PATHS = ("/probe", "/v1/probe", "/api/v1/probe")
PROBES = {dialects.dialect_of(path): path for path in reversed(_PATHS)}
REFUSAL = "more than 0.25 requests a second; try again in 4 s"
# The one path whose client does not survive a 429.
UPLOAD = "/v1/upload"


class Clock:
    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limited(service: Service, clock: Clock) -> Service:
    """A service that lets an owner call twice, and once more every four seconds."""
    settings = replace(service.settings, rate_per_s=0.25, rate_burst=2)
    return replace(service, settings=settings, now=clock)


@pytest.fixture
def api(limited: Service) -> Iterator[TestClient]:
    probes = APIRouter()

    async def probe(call: CurrentCall) -> str:
        return call.owner

    for path in (*PROBES.values(), UPLOAD, "/upload/probe.wav"):
        probes.add_api_route(path, probe, methods=["PATCH"])
    app = create_app(limited)
    app.include_router(probes)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.headers["x-api-key"] = limited.accounts.create_key("ada", at=START)[0]
        yield client


def test_every_dialect_has_its_probe() -> None:
    assert set(PROBES) == set(dialects.PROBLEMS)


@pytest.mark.parametrize("dialect", PROBES)
def test_a_caller_beyond_his_rate_is_told_when_to_come_back(api: TestClient, dialect: str) -> None:
    path = PROBES[dialect]
    assert [api.patch(path).status_code for _ in range(2)] == [200, 200]
    refused = api.patch(path)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "4")
    _, body = dialects.PROBLEMS[dialect](TooManyRequests(REFUSAL, retry_after_s=4))
    assert body.items() <= refused.json().items()
    assert REFUSAL in body.values()


@pytest.mark.parametrize("dialect", PROBES)
def test_every_counted_answer_says_what_is_left(
    api: TestClient, clock: Clock, dialect: str
) -> None:
    told = []
    for _ in range(3):
        answer = api.patch(PROBES[dialect])
        told.append(answer.headers["RateLimit"])
        # Two tokens, one more every four seconds.
        assert answer.headers["RateLimit-Policy"] == '"owner";q=2;w=8'
    assert told == ['"owner";r=1;t=4', '"owner";r=0;t=8', '"owner";r=0;t=8']
    clock.at += timedelta(seconds=5)
    assert api.patch(PROBES[dialect]).headers["RateLimit"] == '"owner";r=0;t=7'


def test_an_answer_that_is_given_again_counts_as_the_first_one_did(api: TestClient) -> None:
    answers = [api.post("/tickets", headers={"Idempotency-Key": "k1"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    told = [answer.headers["RateLimit"] for answer in answers]
    assert told == ['"owner";r=1;t=4', '"owner";r=0;t=8', '"owner";r=0;t=8']
    assert answers[2].headers["Retry-After"] == "4"


def test_an_owner_may_have_a_rate_of_his_own(
    api: TestClient, limited: Service, clock: Clock
) -> None:
    limited.jobs.quotas.settle("ada", requests_per_s=2, request_burst=4)
    path = PROBES["pipeline"]
    statuses = [api.patch(path).status_code for _ in range(5)]
    assert statuses == [200] * 4 + [429]
    clock.at += timedelta(seconds=0.5)
    answer = api.patch(path)
    assert (answer.status_code, answer.headers["RateLimit-Policy"]) == (200, '"owner";q=4;w=2')


def test_an_owner_may_be_free_of_the_rate(api: TestClient, limited: Service) -> None:
    limited.jobs.quotas.settle("ada", requests_per_s=0)
    answers = [api.patch(PROBES["pipeline"]) for _ in range(6)]
    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit" not in answers[-1].headers


def test_a_refusal_names_the_limit_its_value_and_its_end(api: TestClient) -> None:
    refused = [api.get("/jobs") for _ in range(3)][-1].json()
    assert (refused["limit"], refused["value"]) == ("requests_per_s", 0.25)
    assert refused["resets_at"] == (START + timedelta(seconds=4)).isoformat()


def test_the_refusal_that_the_readme_shows_is_a_real_one(api: TestClient, limited: Service) -> None:
    limited.jobs.quotas.settle("ada", requests_per_s=2, request_burst=4)
    status, headers, body = answers()[0]
    refused = [api.get("/jobs") for _ in range(5)][-1]
    told = {**refused.json(), "instance": body["instance"]}  # the one thing that is never the same
    assert (refused.status_code, told) == (status, body)
    assert {name: refused.headers[name] for name in headers} == headers


def test_what_is_not_counted_tells_no_rate(api: TestClient) -> None:
    for path in ("/health", UPLOAD):
        answer = api.request("GET" if path == "/health" else "PATCH", path)
        assert answer.status_code == 200
        assert "RateLimit" not in answer.headers


def keyless(limited: Service, **settings: object) -> Service:
    changed = {"rate_per_s": 0.0, "keyless_rate_per_s": 0.5, "keyless_rate_burst": 1, **settings}
    return replace(limited, settings=replace(limited.settings, **changed))


def asked(service: Service, host: str, **headers: str) -> httpx.Response:
    """A keyless call from that host."""
    with TestClient(create_app(service), client=(host, 1)) as client:
        return client.get("/jobs", headers={n.replace("_", "-"): v for n, v in headers.items()})


def sesame(service: Service) -> str:
    """The secret "open sesame" in Secrets Manager."""
    manager = service.client("secretsmanager")
    return str(manager.create_secret(Name="edge", SecretString="open sesame")["ARN"])


def test_each_address_without_a_key_has_a_rate_of_its_own(limited: Service) -> None:
    service = keyless(limited)
    hosts = (
        "192.0.2.1",
        "192.0.2.1",
        "192.0.2.2",
        "::ffff:192.0.2.2",
        "2001:db8::1",
        "2001:db8::2",
    )
    answers = [asked(service, host) for host in hosts]
    assert [answer.status_code for answer in answers] == [200, 429, 200, 429, 200, 429]
    assert answers[1].headers["Retry-After"] == "2"
    assert answers[0].headers["RateLimit-Policy"] == '"address";q=1;w=2'


ASKED_WITHOUT_A_KEY = (
    "/config",
    "/asyncapi.json",
    "/v1/dl/token/audo_enhanced_x.wav",
    "/v1//dl/token/audo_enhanced_x.wav",
    "/api/v1/originals/token/x.wav",
)


def test_what_takes_no_key_is_counted_by_the_address(limited: Service) -> None:
    app = create_app(keyless(limited))
    for number, path in enumerate(ASKED_WITHOUT_A_KEY):
        with TestClient(app, client=(f"192.0.2.{number}", 1)) as caller:
            first, again = caller.get(path), caller.get(path)
        assert first.status_code in (200, 404), path
        assert first.headers["RateLimit-Policy"] == '"address";q=1;w=2'
        assert (again.status_code, again.headers["Retry-After"]) == (429, "2"), path


def test_a_key_is_not_counted_by_its_address(limited: Service) -> None:
    service = keyless(limited)
    key, _ = service.accounts.create_key("local", at=START)
    answers = [asked(service, "192.0.2.1", x_api_key=key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3


def test_an_address_that_is_only_claimed_is_not_believed(limited: Service) -> None:
    claims = {"x_forwarded_for": "198.51.100.{n}, 198.51.100.{n}", "x_clearstem_edge": "guess"}
    claims["x_amzn_request_context"] = '{{"identity":{{"sourceIp":"198.51.100.{n}"}}}}'
    for secret_arn in ("", sesame(limited)):
        service = keyless(limited, edge_secret_arn=secret_arn)
        host = f"192.0.2.{len(secret_arn)}"
        told = [
            asked(service, host, **{k: v.format(n=n) for k, v in claims.items()}) for n in (1, 2)
        ]
        assert [answer.status_code for answer in told] == [200, 429]


def test_the_distributions_word_counts_where_it_proves_itself(limited: Service) -> None:
    service = keyless(limited, edge_secret_arn=sesame(limited))

    def through(viewer: str) -> int:
        forwarded = f"203.0.113.9, {viewer}, 192.0.2.1"
        return asked(
            service, "192.0.2.1", x_forwarded_for=forwarded, x_clearstem_edge="open sesame"
        ).status_code

    assert [through(viewer) for viewer in ("198.51.100.1", "198.51.100.2", "198.51.100.1")] == [
        200,
        200,
        429,
    ]


def test_whoever_waits_as_long_as_he_was_told_is_served(api: TestClient, clock: Clock) -> None:
    answers = [api.get("/jobs") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    clock.at += timedelta(seconds=int(answers[-1].headers["Retry-After"]))
    assert api.get("/jobs").status_code == 200


def test_all_dialects_draw_on_the_same_tokens(api: TestClient) -> None:
    assert [api.patch(PROBES[name]).status_code for name in ("pipeline", "audo")] == [200, 200]
    assert api.get("/jobs").status_code == 429


def test_an_upload_of_an_audo_client_is_never_told_to_come_back(api: TestClient) -> None:
    for _ in range(3):
        api.get("/jobs")
    assert api.get("/jobs").status_code == 429
    assert [api.patch(UPLOAD).status_code for _ in range(5)] == [200] * 5
    assert api.patch("/upload/probe.wav").status_code == 429


def test_a_wrong_key_takes_nobodys_tokens(api: TestClient) -> None:
    for _ in range(5):
        assert api.get("/jobs", headers={"x-api-key": "cs_wrong"}).status_code == 401
    assert api.get("/jobs").status_code == 200


def test_without_a_rate_nobody_is_refused(service: Service) -> None:
    with TestClient(create_app(service)) as client:
        assert {client.get("/jobs").status_code for _ in range(20)} == {200}
