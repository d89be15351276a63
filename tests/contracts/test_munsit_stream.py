"""Progress as events, over real sockets."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import fastapi.routing
import httpx
import pytest
from fastapi import FastAPI

from clearstem.jobs import Job
from clearstem.recipes import EXTRACTION
from clearstem.service import Service
from functions.rest import create_app
from tests.described import assert_described
from tests.emulator import until
from tests.serving import served
from tests.submitted import denoised, submit_denoise


@pytest.fixture
def key(service: Service) -> dict[str, str]:
    text, _ = service.accounts.create_key("alice", at=service.now())
    return {"x-api-key": text, "Accept": "text/event-stream"}


@pytest.fixture
def app(service: Service) -> FastAPI:
    return create_app(service)


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with served(app) as address:
        yield address


def moved(service: Service, job: Job, fraction: float) -> Job:
    at = service.now()
    return service.jobs.change(
        job.job_id,
        lambda j: j.start_stage(EXTRACTION, at=at).advance(EXTRACTION, fraction=fraction, at=at),
    )


def progress(url: str, job: Job) -> str:
    return f"{url}/api/v1/denoise/{job.job_id}/progress"


def test_a_watcher_sees_the_job_from_its_present_state_to_its_end(
    url: str, service: Service, key: dict[str, str]
) -> None:
    job = submit_denoise(service, owner="alice")
    seen = []
    with httpx.stream("GET", progress(url, job), headers=key, timeout=20) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: "):
                continue
            seen.append(json.loads(line[6:]))
            if len(seen) == 1:
                moved(service, job, 0.5)
            elif len(seen) == 2:
                denoised(service, job)
    for event in seen:
        assert_described(("munsitProgress",), event)
    assert seen[0] == {"stage": "processing", "pct": 0.0, "message": "Waiting to start"}
    assert seen[1] == {"stage": "processing", "pct": 7.1, "message": "Extracting audio"}
    shown = [event["pct"] for event in seen if event["stage"] == "processing"]
    assert shown == sorted(shown)
    assert seen[-1].keys() == {"stage", "url", "denoiseId"}
    assert seen[-1]["url"].startswith(f"{url}/v1/dl/")


def test_the_percentage_is_the_one_of_every_dialect(
    url: str, service: Service, key: dict[str, str]
) -> None:
    job = moved(service, submit_denoise(service, owner="alice"), 0.42)
    with httpx.stream("GET", progress(url, job), headers=key, timeout=20) as answer:
        first = json.loads(next(answer.iter_lines())[6:])
    shown = httpx.get(f"{url}/job/{job.job_id}", headers=key).json()
    assert first["pct"] == shown["percent"] == job.percent


def test_a_quiet_stream_is_kept_alive_by_comments(
    url: str, service: Service, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fifteen seconds otherwise; FastAPI keeps it where tests can reach it.
    monkeypatch.setattr(fastapi.routing, "_PING_INTERVAL", 0.05)
    job = submit_denoise(service, owner="alice")
    with httpx.stream("GET", progress(url, job), headers=key, timeout=20) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines).startswith("data: ")
        assert [next(lines) for _ in range(3)] == [": ping"] * 3


def test_a_client_that_leaves_frees_everything(
    url: str, app: FastAPI, service: Service, key: dict[str, str]
) -> None:
    job = submit_denoise(service, owner="alice")
    threads = threading.active_count()
    with httpx.stream("GET", progress(url, job), headers=key, timeout=20) as answer:
        lines = answer.iter_lines()  # dropping it would hang up
        next(lines)
        until(lambda: app.state.feed.watched == {job.job_id})
    until(lambda: app.state.feed.watched == frozenset())
    assert threading.active_count() <= threads + 8  # of the pool for calls


def test_a_stream_ends_at_the_deployments_limit(service: Service, key: dict[str, str]) -> None:
    settings = replace(service.settings, event_stream_s=0.3)
    job = submit_denoise(service, owner="alice")
    with served(create_app(replace(service, settings=settings))) as address:
        begun = time.monotonic()
        answer = httpx.get(progress(address, job), headers=key, timeout=20)
    assert 0.3 <= time.monotonic() - begun < 5
    assert answer.text.count("data: ") == 1


def test_a_stream_that_is_open_does_not_keep_the_server_from_ending(
    app: FastAPI, service: Service, key: dict[str, str]
) -> None:
    job = submit_denoise(service, owner="alice")
    with served(app) as address, httpx.Client(timeout=20) as client:
        request = client.build_request("GET", progress(address, job), headers=key)
        answer = client.send(request, stream=True)
        assert answer.status_code == 200
        ended = time.monotonic()
    assert time.monotonic() - ended < 10
    assert app.state.feed.watched == frozenset()
