"""What a job would take, asked for before it is made."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from clearstem.facts import AudioFormat
from clearstem.jobs import Job
from clearstem.receipts import Machine, stage_dollars
from clearstem.service import Service
from functions.rest import create_app
from tests.submitted import finish, submit, uploaded, wav
from tests.unit.examples import at


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service)) as client:
        yield client


def asked(api: TestClient, service: Service, **options: Any) -> Any:
    body = {"upload_id": uploaded(service), "dry_run": True, **options}
    return api.post("/jobs", json=body)


def took(service: Service, *, seconds: tuple[float, ...], length_s: int) -> Job:
    """A finished job whose stages took so long."""
    job = finish(service, submit(service))
    ends = zip(job.stages, seconds, strict=True)
    stages = tuple(replace(run, started_at=at(0), completed_at=at(s)) for run, s in ends)
    audio = AudioFormat("wav", "pcm_s16le", 8000, 1, frames=8000 * length_s, bit_depth=16)
    return service.jobs.change(job.job_id, lambda j: replace(j, stages=stages, audio=audio))


def test_nothing_is_made_by_asking(api: TestClient, service: Service) -> None:
    waiting = [submit(service) for _ in range(2)]
    quote = asked(api, service).json()
    assert quote["dry_run"] is True
    assert (quote["jobs_ahead"], quote["engine"]["name"]) == (2, "spectral")
    assert quote["audio_s"] == 0.05  # 400 frames of 8 kHz
    assert (quote["seconds"], quote["stages"], quote["based_on"]) == (None, {}, 0)
    assert (quote["dollars"], quote["stage_dollars"]) == (None, {})
    assert [job["job_id"] for job in api.get("/jobs").json()["jobs"]] == [
        job.job_id for job in waiting[::-1]
    ]
    assert asked(api, service).json()["jobs_ahead"] == 2


def test_the_estimate_is_the_median_of_jobs_like_it(api: TestClient, service: Service) -> None:
    for first in (200.0, 400.0, 9000.0):
        took(service, seconds=(first, 100.0, 100.0, 200.0), length_s=1)
    quote = asked(api, service).json()
    # 0.05 s of sound at 400, 100, 100 and 200 s to the second.
    assert list(quote["stages"].values()) == [20.0, 5.0, 5.0, 10.0]
    assert (quote["seconds"], quote["based_on"]) == (40.0, 3)
    # None of them waits for a GPU: the engine has no use for one.
    machines = [Machine.FUNCTION] * 4
    prices = [
        stage_dollars(seconds, machine=machine)
        for seconds, machine in zip(quote["stages"].values(), machines, strict=True)
    ]
    assert list(quote["stage_dollars"]) == list(quote["stages"])
    assert list(quote["stage_dollars"].values()) == [pytest.approx(p, abs=1e-6) for p in prices]
    assert quote["dollars"] == pytest.approx(sum(prices), abs=1e-6)


def test_jobs_of_another_recipe_or_owner_tell_nothing(api: TestClient, service: Service) -> None:
    took(service, seconds=(1.0, 1.0, 1.0, 1.0), length_s=1)
    assert asked(api, service, recipe="denoise").json()["based_on"] == 0
    key, _ = service.accounts.create_key("eve", at=service.now())
    body = {"upload_id": uploaded(service), "dry_run": True}
    assert api.post("/jobs", json=body, headers={"x-api-key": key}).status_code == 404


def test_a_quote_tells_the_limit_that_the_job_would_not_fit_in(
    api: TestClient, service: Service
) -> None:
    assert asked(api, service).json()["refusal"] is None
    service.jobs.quotas.settle("local", unfinished_jobs=1)
    assert asked(api, service).json()["refusal"] is None
    submit(service)
    quote = asked(api, service)
    assert (quote.status_code, quote.json()["jobs_ahead"]) == (200, 1)
    refusal = quote.json()["refusal"]
    assert (refusal["status"], refusal["name"]) == (429, "Clearstem.TooManyJobs")
    assert (refusal["limit"], refusal["value"], refusal["retry_after_s"]) == (
        "unfinished_jobs",
        1,
        30,
    )
    service.jobs.quotas.settle("local", minutes_per_month=0.0001)
    refusal = asked(api, service).json()["refusal"]
    assert (refusal["status"], refusal["limit"]) == (403, "minutes_per_month")
    made = api.post("/jobs", json={"upload_id": uploaded(service)})
    assert (made.status_code, made.json()["limit"]) == (403, "minutes_per_month")


def test_an_announced_recording_counts_once(api: TestClient, service: Service) -> None:
    """It counts as an upload already, and as its job's from then on."""
    content = wav()
    service.jobs.quotas.settle("local", stored_bytes=len(content))
    room = api.post("/uploads", json={"file_name": "song.wav", "size_bytes": len(content)}).json()
    put = room["put"]
    httpx.put(put["url"], content=content, headers=put["headers"]).raise_for_status()
    body = {"upload_id": room["upload_id"], "dry_run": True}
    assert api.post("/jobs", json=body).json()["refusal"] is None
    assert api.post("/jobs", json={"upload_id": room["upload_id"]}).status_code == 200
    assert api.post("/jobs", json=body).json()["refusal"]["limit"] == "stored_bytes"


def test_what_would_be_refused_is_refused_to_the_asker_as_well(
    api: TestClient, service: Service
) -> None:
    assert asked(api, service, target_lufs=99).status_code == 400
    assert asked(api, service, engine="demucs").status_code == 503
    batch = {"jobs": [{"upload_id": uploaded(service), "dry_run": True}]}
    (result,) = api.post("/jobs/batch", json=batch).json()["results"]
    assert (result["status"], result["job"]) == (400, None)
