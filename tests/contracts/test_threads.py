"""Which calls wait for which: submits may copy gigabytes, polls and authentication do not."""

import asyncio
from collections.abc import Callable, Iterator
from threading import Event, current_thread
from typing import Any

import pytest
from fastapi.testclient import TestClient

from clearstem.intake import Intake
from clearstem.service import Service
from functions.blocking import Blocking
from functions.rest import create_app
from tests.submitted import wav

Submit = Callable[[TestClient], Any]


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    key, _ = service.accounts.create_key("alice", at=service.now())
    with TestClient(create_app(service), headers={"x-api-key": key}) as client:
        yield client


def by_form(api: TestClient) -> Any:
    return api.post("/process", files={"file": ("song.wav", wav())})


def by_upload(api: TestClient) -> Any:
    upload_id = api.post("/v1/upload", files={"file": ("a.wav", wav())}).json()["fileId"]
    return api.post("/jobs", json={"upload_id": upload_id, "recipe": "denoise"})


def by_audo(api: TestClient) -> Any:
    upload_id = api.post("/v1/upload", files={"file": ("a.wav", wav())}).json()["fileId"]
    return api.post("/v1/remove-noise", json={"input": upload_id})


def by_munsit(api: TestClient) -> Any:
    return api.post("/api/v1/denoise", files={"audio": ("a.wav", wav())})


@pytest.mark.parametrize("submit", [by_form, by_upload, by_audo, by_munsit])
def test_a_submit_takes_no_thread_of_short_calls(
    api: TestClient, monkeypatch: pytest.MonkeyPatch, submit: Submit
) -> None:
    original, threads = Intake.submit_upload, []

    def noted(self: Intake, *args: Any, **kwargs: Any) -> Any:
        threads.append(current_thread().name.partition("_")[0])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Intake, "submit_upload", noted)
    assert submit(api).status_code == 200
    assert threads == ["submit"]


def test_short_calls_and_transfers_go_on_while_every_submit_waits() -> None:
    async def check() -> None:
        blocking, over = Blocking(), Event()
        waiting = [asyncio.ensure_future(blocking.submit(over.wait, 30)) for _ in range(40)]
        try:
            for other in (blocking.call, blocking.transfer):
                assert await asyncio.wait_for(other(lambda: "done"), 5) == "done"
            assert not any(each.done() for each in waiting)
        finally:
            over.set()
        assert all(await asyncio.gather(*waiting))

    asyncio.run(check())
