"""Tokens, scopes and tickets at the edge: who is let in, and to what."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from clearstem.errors import InsufficientScope, Unauthorized
from clearstem.scopes import Scope
from clearstem.service import Service
from clearstem.tokens import KeySet, Tokens, owner_of
from functions import dialects
from functions.rest import create_app
from tests.forged import FORGED
from tests.issuer import AUDIENCE, ISSUER, LEEWAY_S, Issuer
from tests.submitted import submit, wav


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    issuer = Issuer()
    issuer.rsa("rsa")
    issuer.ec("ec")
    return issuer


@pytest.fixture
def core(service: Service, issuer: Issuer) -> Service:
    settings = replace(service.settings, keyless_owner="")
    tokens = Tokens(ISSUER, AUDIENCE, KeySet(issuer.document), leeway_s=LEEWAY_S)
    return replace(service, settings=settings, tokens=tokens)


@pytest.fixture
def api(core: Service) -> Iterator[TestClient]:
    with TestClient(create_app(core)) as client:
        yield client


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_makes_jobs_of_its_subject(api: TestClient, core: Service, issuer: Issuer) -> None:
    headers = bearing(issuer.token("ec", sub="auth0|42"))
    made = api.post("/process", files={"file": ("a.wav", wav())}, headers=headers)
    assert made.status_code == 200, made.text
    job = core.jobs.get(made.json()["job_id"])
    assert job.owner == owner_of("auth0|42")
    assert api.get(f"/job/{job.job_id}", headers=headers).status_code == 200
    other = bearing(issuer.token("rsa", sub="somebody-else"))
    assert api.get(f"/job/{job.job_id}", headers=other).status_code == 404


@pytest.mark.parametrize("kind", FORGED)
def test_a_token_that_is_not_good_is_a_401_in_the_dialects_own_words(
    api: TestClient, issuer: Issuer, kind: str
) -> None:
    headers = bearing(FORGED[kind](issuer))
    for path in ("/jobs", "/v1/apiKey/test"):
        answer = api.get(path, headers=headers)
        assert (answer.status_code, answer.json()["detail"][:13]) == (401, "Invalid token")
    answer = api.get("/api/v1/denoise", headers=headers)
    assert (answer.status_code, answer.json()["errorCode"]) == (401, "40101")


def test_a_good_token_is_known_in_every_dialect(api: TestClient, issuer: Issuer) -> None:
    headers = bearing(issuer.token("rsa"))
    for path in ("/jobs", "/v1/apiKey/test", "/api/v1/denoise"):
        assert api.get(path, headers=headers).status_code == 200, path


@pytest.mark.parametrize("dialect", dialects.PROBLEMS)
@pytest.mark.parametrize(
    ("error", "status"), [(Unauthorized("Invalid token"), 401), (InsufficientScope("this"), 403)]
)
def test_every_dialect_has_words_for_who_is_not_let_in(
    dialect: str, error: Unauthorized | InsufficientScope, status: int
) -> None:
    told, body = dialects.PROBLEMS[dialect](error)
    assert told == status
    assert body


def test_a_bad_token_is_not_made_good_by_a_keyless_deployment(
    core: Service, issuer: Issuer
) -> None:
    keyless = replace(core, settings=replace(core.settings, keyless_owner="local"))
    with TestClient(create_app(keyless)) as api:
        assert api.get("/jobs").status_code == 200
        for token in (FORGED["expired"](issuer), "", " "):
            assert api.get("/jobs", headers=bearing(token)).status_code == 401
        assert api.get("/jobs", headers={"Authorization": "bearer"}).status_code == 401
    without = replace(keyless, tokens=None)
    with TestClient(create_app(without)) as api:
        assert api.get("/jobs", headers=bearing(issuer.token("rsa"))).status_code == 401


def test_an_issuer_that_is_down_is_no_fault_of_the_caller(core: Service) -> None:
    down = Issuer(down=True)
    down.rsa("rsa")
    tokens = Tokens(ISSUER, AUDIENCE, KeySet(down.document), leeway_s=LEEWAY_S)
    with TestClient(create_app(replace(core, tokens=tokens))) as api:
        assert api.get("/jobs", headers=bearing(down.token("rsa"))).status_code == 503


CALLS = [
    ("GET", "/jobs", Scope.READ),
    ("GET", "/job/3f1c2d4e-5a6b-4c7d-8e9f-0a1b2c3d4e5f", Scope.READ),
    ("POST", "/tickets", Scope.READ),
    ("POST", "/process", Scope.WRITE),
    ("POST", "/uploads", Scope.WRITE),
    ("POST", "/jobs", Scope.WRITE),
    ("GET", "/webhooks", Scope.ADMIN),
    ("POST", "/webhooks", Scope.ADMIN),
    ("GET", "/webhooks/callbacks", Scope.ADMIN),
    ("POST", "/webhooks/callbacks/rotate", Scope.ADMIN),
    ("DELETE", "/webhooks/x", Scope.ADMIN),
]


@pytest.mark.parametrize("by", ["token", "key"])
@pytest.mark.parametrize("scope", Scope)
def test_a_call_takes_its_scope_of_keys_as_of_tokens(
    api: TestClient, core: Service, issuer: Issuer, by: str, scope: Scope
) -> None:
    if by == "token":
        headers = bearing(issuer.token("rsa", scope=scope.value))
    else:
        text, _ = core.accounts.create_key("ada", at=core.now(), scopes=(scope,))
        headers = {"x-api-key": text}
    for method, path, needed in CALLS:
        refused = api.request(method, path, headers=headers).status_code == 403
        assert refused is (scope not in (needed, Scope.ADMIN)), (method, path)


def test_a_ticket_opens_a_stream_once_and_nothing_else(
    api: TestClient, core: Service, issuer: Issuer
) -> None:
    headers = bearing(issuer.token("rsa", sub="ada"))
    job = submit(core, owner="ada")
    made = api.post("/tickets", headers=headers).json()
    assert made["expires_in_s"] == 60
    ticket = {"ticket": made["ticket"]}
    assert api.get(f"/job/{job.job_id}", params=ticket).status_code == 401
    assert api.get(f"/job/{job.job_id}/events", params=ticket).status_code == 200
    assert api.get(f"/job/{job.job_id}/events", params=ticket).status_code == 401
