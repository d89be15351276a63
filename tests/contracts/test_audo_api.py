"""The Audo dialect's jobs and results over the real core; its client's traps by number."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest
from fastapi.testclient import TestClient

from clearstem.facts import Failure
from clearstem.jobs import Job, JobState
from clearstem.recipes import DENOISE
from clearstem.service import Service
from functions.rest import create_app
from tests.contracts.audo import OWNER, asked, client, new_key, sent, state_of
from tests.submitted import advance, denoised, finish, submit, submit_denoise


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    with client(service, headers={"x-api-key": new_key(service)}) as of_an_owner:
        yield of_an_owner


@pytest.fixture
def stranger(service: Service) -> Iterator[TestClient]:
    with client(service) as of_nobody:
        yield of_nobody


def test_an_upload_becomes_a_job_that_says_where_it_stands(api, service):
    file_id = sent(api).json()["fileId"]
    job_id = asked(api, input=file_id, outputExtension=None, output=None, autoVolume=False).json()[
        "jobId"
    ]
    assert state_of(api, job_id) == {"state": "queued", "jobsAhead": 0}
    job = service.jobs.get(job_id)
    assert (job.owner, job.recipe, job.source.file_name) == (OWNER, DENOISE, "talk.wav")
    assert service.executions["denoise"].state(job_id).value in ("RUNNING", "SUCCEEDED")


def test_one_upload_may_be_cleaned_twice(api):
    file_id = sent(api).json()["fileId"]
    first, second = (asked(api, input=file_id).json()["jobId"] for _ in range(2))
    assert first != second
    assert state_of(api, second) == {"state": "queued", "jobsAhead": 1}


def test_the_options_of_a_request_are_those_of_its_job(api, service):
    file_id = sent(api).json()["fileId"]
    job_id = asked(
        api, input=file_id, outputExtension=".mp3", autoVolume=-20, noiseReductionAmount=40
    ).json()["jobId"]
    options = service.jobs.get(job_id).options
    assert (options.output_extension, options.auto_level_lufs) == ("mp3", -20.0)
    assert options.strength == 40.0


def test_an_address_is_fetched_by_the_job_and_the_result_put_to_another(api, service):
    job_id = asked(
        api, input="https://a.example/talk.webm", output="https://b.example/clean.mp4?sig=1"
    ).json()["jobId"]
    job = service.jobs.get(job_id)
    assert (job.source.url, job.source.size_bytes) == ("https://a.example/talk.webm", 0)
    assert job.output_url == "https://b.example/clean.mp4?sig=1"
    assert job.options.output_extension == "mp4"
    service.jobs.change(job_id, lambda j: j.start_stage("extraction", at=service.now()))
    assert state_of(api, job_id) == {"state": "downloading"}


def test_an_uploads_result_may_be_put_to_an_address_too(api, service):
    output = "https://b.example/clean.wav"
    job_id = asked(api, input=sent(api).json()["fileId"], output=output).json()["jobId"]
    assert service.jobs.get(job_id).output_url == output


def test_a_running_job_says_how_far_it_is(api, service):
    job = submit_denoise(service, owner=OWNER)
    at = service.now()
    job = service.jobs.change(
        job.job_id,
        lambda j: j.start_stage("extraction", at=at).advance("extraction", fraction=0.7, at=at),
    )
    assert state_of(api, job) == {"state": "in_progress", "percent": job.percent}


def test_a_failed_job_says_why(api, service):
    job = submit_denoise(service, owner=OWNER)
    failure = Failure("extraction", "Clearstem.NoAudio", "there is no sound in it")
    service.jobs.change(job.job_id, lambda j: j.fail(failure, at=service.now()))
    assert state_of(api, job) == {"state": "failed", "reason": "there is no sound in it"}


def test_those_ahead_are_the_jobs_that_wait_before_it(api, service):
    owners = ("anna", "bert", "carl")  # one owner's jobs would take turns with mine
    first, second, third = (submit_denoise(service, owner=owner) for owner in owners)
    mine = submit_denoise(service, owner=OWNER)
    submit(service, owner=OWNER)  # another recipe has another queue
    assert state_of(api, mine)["jobsAhead"] == 3
    service.jobs.change(second.job_id, lambda j: j.cancel(at=service.now()))
    assert state_of(api, mine)["jobsAhead"] == 2
    at = service.now()
    for job in (first, third):
        service.jobs.change(job.job_id, lambda j: j.start_stage("extraction", at=at))
    assert state_of(api, mine)["jobsAhead"] == 0


def result(service: Service, *, content: bytes = b"clean " * 1000) -> Job:
    return denoised(service, submit_denoise(service, owner=OWNER), content=content)


def test_trap_1_a_result_is_served_at_both_spellings_of_its_path(api, stranger, service):
    state = state_of(api, result(service))
    path = state["downloadPath"]
    assert state["state"] == "succeeded"
    assert path.startswith("/dl/") and path.endswith(".wav")
    for url in (f"/v1{path}", f"/v1/{path}"):
        answer = stranger.get(url)
        assert (answer.status_code, answer.content) == (200, b"clean " * 1000)
        assert answer.headers["content-type"] == "audio/wav"
        assert stranger.head(url).headers["content-length"] == "6000"


def test_trap_2_a_path_has_no_query_and_cannot_be_guessed(api, stranger, service):
    job = result(service)
    path = state_of(api, job)["downloadPath"]
    assert "?" not in path
    _, _, token, name = path.split("/")
    assert token not in (job.job_id, job.owner)
    wrong = (str(uuid4()), job.job_id, token[:-1], token.upper() + "0", "..")
    for guess in wrong:
        assert stranger.get(f"/v1/dl/{guess}/{name}").status_code == 404
    others = submit_denoise(service, owner="bob")
    strangers_name = name.replace(job.job_id, others.job_id)
    answers = [
        stranger.get(f"/v1/dl/{token}/{name_}")
        for name_ in (strangers_name, name.replace(job.job_id, str(uuid4())), "x.wav", name + "x")
    ]
    # Who guesses is not told either which jobs there are.
    assert {(a.status_code, a.text) for a in answers} == {(404, '{"detail":"Track not found"}')}


def test_trap_2_behind_api_gateway_a_result_is_a_redirect_to_storage(api, service):
    job = result(service)
    path = state_of(api, job)["downloadPath"]
    settings = replace(service.settings, stream_downloads=False)
    with TestClient(create_app(replace(service, settings=settings))) as gateway:
        answer = gateway.get(f"/v1{path}", follow_redirects=False)
    assert answer.status_code == 307
    stored = httpx.get(answer.headers["location"])
    assert stored.content == b"clean " * 1000
    assert "content-encoding" not in stored.headers


def test_trap_3_downloads_are_never_encoded(api, stranger, service):
    path = state_of(api, result(service))["downloadPath"]
    answer = stranger.get(f"/v1{path}", headers={"accept-encoding": "gzip, deflate, br, zstd"})
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-length"] == "6000"


def test_a_part_of_a_result_may_be_asked_for(api, stranger, service):
    path = state_of(api, result(service))["downloadPath"]
    part = stranger.get(f"/v1{path}", headers={"range": "bytes=6-10"})
    assert (part.status_code, part.content) == (206, b"clean")
    assert part.headers["content-range"] == "bytes 6-10/6000"
    beyond = stranger.get(f"/v1{path}", headers={"range": "bytes=6000-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */6000")


def test_deleted_results_are_gone_everywhere(api, stranger, service):
    job = result(service)
    path = state_of(api, job)["downloadPath"]
    for _ in range(2):
        answer = api.post(f"/v1/remove-noise/{job.job_id}/delete-results")
        assert answer.status_code == 200
        assert answer.json()["status"] == "success"
    assert state_of(api, job) == {"state": "failed", "reason": "the results were deleted"}
    assert stranger.get(f"/v1{path}").status_code == 404
    key = {"x-api-key": api.headers["x-api-key"]}
    assert api.get(f"/job/{job.job_id}/outputs", headers=key).json() == {}
    assert api.get(f"/download/{job.job_id}/clean", headers=key).status_code == 404


def test_results_that_are_not_there_yet_cannot_be_deleted(api, service):
    job = submit_denoise(service, owner=OWNER)
    answer = api.post(f"/v1/remove-noise/{job.job_id}/delete-results")
    assert answer.status_code == 409
    assert service.jobs.get(job.job_id).state is JobState.QUEUED


def test_a_separation_is_seen_here_with_the_same_percent_and_its_vocals(api, stranger, service):
    job = advance(service, submit(service, owner=OWNER), fraction=0.5)
    assert state_of(api, job) == {"state": "in_progress", "percent": job.percent}
    assert api.get(f"/job/{job.job_id}").json()["percent"] == job.percent
    job = finish(service, submit(service, owner=OWNER))
    path = state_of(api, job)["downloadPath"]
    assert stranger.get(f"/v1{path}").content == b"vocals " * 1000


def test_a_noise_removal_is_seen_in_the_pipeline_dialect(api, service):
    job = result(service)
    document = api.get(f"/job/{job.job_id}").json()
    assert (document["status"], document["percent"]) == ("completed", 100.0)
    assert api.get(document["outputs"]["clean"]).content == b"clean " * 1000


def test_every_route_is_described_with_an_example(api):
    paths = api.get("/openapi.json").json()["paths"]
    ours = {path: methods for path, methods in paths.items() if path.startswith("/v1/")}
    assert set(ours) == {
        "/v1/upload",
        "/v1/remove-noise",
        "/v1/remove-noise/{job_id}/status",
        "/v1/remove-noise/{job_id}/delete-results",
        "/v1/dl/{token}/{file_name}",
        "/v1/apiKey/test",
    }
    for path, methods in ours.items():
        for operation in methods.values():
            if not path.startswith("/v1/dl/"):
                good = operation["responses"]["200"]["content"]["application/json"]
                assert good["example"], path
