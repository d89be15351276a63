"""The Audo dialect's routes over the real core; the traps of its client by number."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.testclient import TestClient

from clearstem.facts import Failure
from clearstem.jobs import Job, JobState
from clearstem.media import DENOISE_INPUTS
from clearstem.recipes import DENOISE
from clearstem.service import Service
from functions.rest import create_app
from tests.submitted import advance, denoised, finish, submit, submit_denoise, wav

OWNER = "alice"
REFUSED = {"detail": "Invalid or missing API key"}
UNKNOWN = "5b0c7e86-2f5e-4d8f-9a57-0f9a4f1f1c3e"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def key(service: Service) -> str:
    text, _ = service.accounts.create_key(OWNER, at=service.now())
    return text


@pytest.fixture
def api(service: Service, key: str) -> Iterator[TestClient]:
    app = create_app(service)
    with TestClient(app, headers={"x-api-key": key}, follow_redirects=False) as client:
        yield client


@pytest.fixture
def stranger(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service), follow_redirects=False) as client:
        yield client


def sent(api: TestClient, name: str = "talk.wav", content: bytes | None = None, **query: str):
    files = {"file": (name, wav() if content is None else content)}
    return api.post("/v1/upload", files=files, params=query)


def asked(api: TestClient, **fields: Any) -> httpx.Response:
    return api.post("/v1/remove-noise", json=fields)


def state_of(api: TestClient, job: Job | str) -> dict[str, Any]:
    job_id = job if isinstance(job, str) else job.job_id
    answer = api.get(f"/v1/remove-noise/{job_id}/status")
    assert answer.status_code == 200, answer.text
    return answer.json()


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


@pytest.mark.parametrize(
    "fields",
    [
        {"input": "http://169.254.169.254/latest/meta-data"},
        {"input": "file:///etc/passwd"},
        {"input": "https://127.0.0.1/a.wav"},
        {"input": "https://a.example/b.wav", "output": "https://10.0.0.1/b.wav"},
        {"input": "https://a.example/b.wav", "output": "b.wav"},
    ],
)
def test_an_address_that_is_never_called_is_a_422(api, service, fields):
    answer = asked(api, **fields)
    assert answer.status_code == 422
    assert list(answer.json()) == ["detail"]
    assert service.jobs.history(OWNER, limit=1).jobs == ()


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


def test_trap_4_an_empty_upload_is_a_422(api, service):
    answer = sent(api, content=b"")
    assert (answer.status_code, answer.json()) == (422, {"detail": "talk.wav is empty (0 bytes)"})
    # What the client sends when it repeats a call whose file it has read to its end.
    assert api.post("/v1/upload").status_code == 422


def test_trap_4_who_calls_too_often_is_told_when_to_come_back_but_an_upload_never_is(service, key):
    settings = replace(service.settings, rate_per_s=0.25, rate_burst=2)
    app = create_app(replace(service, settings=settings))
    with TestClient(app, headers={"x-api-key": key}) as api:
        answers = [api.get("/v1/apiKey/test") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert list(answers[-1].json()) == ["detail"]
        assert asked(api, input="f").status_code == 429
        assert {sent(api).status_code for _ in range(4)} == {200}


def test_trap_6_a_request_is_json_whatever_its_content_type(api, service):
    body = json.dumps({"fileId": sent(api).json()["fileId"]})
    for content_type in (FORM, "text/plain", "application/json; charset=utf-8"):
        headers = {"content-type": content_type}
        answer = api.post("/v1/remove-noise", content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert service.jobs.get(answer.json()["jobId"]).owner == OWNER


def test_trap_7_the_query_overrides_the_extension(api, service):
    for name, asked_for, kept in (
        ("talk.dat", "wav", "talk.dat.wav"),
        ("talk.mp3", ".WAV", "talk.wav"),
        ("-", "wav", "-.wav"),
    ):
        file_id = sent(api, name, inputExt=asked_for).json()["fileId"]
        upload = service.uploads.get(file_id, owner=OWNER)
        assert (upload.file_name, upload.extension) == (kept, "wav")
    refused = sent(api, inputExt="exe")
    assert refused.status_code == 422
    assert "Unsupported audio format: .exe" in refused.json()["detail"]


def test_trap_8_a_key_can_be_tested(api):
    answer = api.get("/v1/apiKey/test")
    assert answer.json() == {
        "status": "success",
        "detail": "Successfully authorized with api key",
    }


@pytest.mark.parametrize("amount", [0, 101, "40", True])
def test_trap_8_an_amount_out_of_range_is_a_422(api, amount):
    answer = asked(api, input=sent(api).json()["fileId"], noiseReductionAmount=amount)
    assert answer.status_code == 422
    assert "noise" in answer.json()["detail"]


PUBLISHED = "amr asf flac flv m4a mp3 mpeg mpg ogg wav webm wma wmv aac opus aiff"
PUBLISHED_VIDEO = "mp4 mov webm mkv avi m4v flv wmv asf"


def test_trap_9_every_published_format_is_taken(api):
    assert {*PUBLISHED.split(), *PUBLISHED_VIDEO.split()} <= set(DENOISE_INPUTS)
    heads = {
        "mp4": b"\x00\x00\x00\x18ftypisom",
        "webm": b"\x1a\x45\xdf\xa3",
        "avi": b"RIFF\x00\x00\x00\x00AVI ",
        "wmv": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        "flv": b"FLV\x01",
        "amr": b"#!AMR\n",
        "mpg": b"\x00\x00\x01\xba",
        "aac": b"\xff\xf1",
    }
    for extension, head in heads.items():
        assert sent(api, f"a.{extension}", head + bytes(100)).status_code == 200, extension


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.wav", b"this is no sound, it is text"), ("a.txt", b"text"), ("a", wav()), ("..", wav())],
)
def test_what_is_no_recording_is_a_422(api, name, content):
    answer = sent(api, name, content)
    assert answer.status_code == 422
    assert list(answer.json()) == ["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[]", b"{}", b'{"input": 5}', b"\xff", b"[" * 30_000]
)
def test_a_request_that_cannot_be_read_is_a_422_never_a_400(api, body):
    answer = api.post("/v1/remove-noise", content=body, headers={"content-type": FORM})
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


def test_a_request_longer_than_any_is_refused_unread(api):
    answer = api.post("/v1/remove-noise", content=b" " * 1_000_000)
    assert answer.status_code == 413


@pytest.mark.parametrize("unknown", ["nonsense", UNKNOWN, "x" * 5000])
def test_an_unknown_file_is_not_found(api, unknown):
    answer = asked(api, input=unknown)
    assert answer.status_code == 404
    assert list(answer.json()) == ["detail"]


def test_a_file_that_was_announced_and_never_sent_is_not_found(api, service):
    upload = service.intake.announce(owner=OWNER, file_name="a.mp4", recipe=DENOISE)
    assert asked(api, input=upload.upload_id).status_code == 404


def test_another_owners_file_and_job_are_as_unknown_as_none(api, service):
    upload = service.intake.announce(owner="bob", file_name="a.wav")
    with service.intake.writer(upload) as writer:
        writer.write(wav())
    assert asked(api, input=upload.upload_id).status_code == 404
    job = submit_denoise(service, owner="bob")
    for method, path in (("GET", "status"), ("POST", "delete-results")):
        answer = api.request(method, f"/v1/remove-noise/{job.job_id}/{path}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "Job not found"})
        unknown = api.request(method, f"/v1/remove-noise/{UNKNOWN}/{path}")
        assert (unknown.status_code, unknown.json()) == (404, {"detail": "Job not found"})


ROUTES = (
    ("POST", "/v1/upload"),
    ("POST", "/v1/remove-noise"),
    ("GET", f"/v1/remove-noise/{UNKNOWN}/status"),
    ("POST", f"/v1/remove-noise/{UNKNOWN}/delete-results"),
    ("GET", "/v1/apiKey/test"),
)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("headers", [{}, {"x-api-key": ""}, {"x-api-key": "cs_wrong"}])
def test_without_a_good_key_everything_is_a_401_though_others_need_none(
    stranger, service, method, path, headers
):
    assert service.settings.keyless_owner == "local"
    answer = stranger.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()) == (401, REFUSED)


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


def test_a_file_of_more_than_the_limit_is_a_413(service, key):
    settings = replace(service.settings, max_upload_bytes=1 << 20)
    app = create_app(replace(service, settings=settings))
    with TestClient(app, headers={"x-api-key": key}) as api:
        assert sent(api, content=wav() + bytes(3 << 20)).status_code == 413


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
