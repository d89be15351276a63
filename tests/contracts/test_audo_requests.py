"""What the Audo dialect takes and what it refuses; the traps of its client by number."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from clearstem.media import DENOISE_INPUTS
from clearstem.recipes import DENOISE
from clearstem.service import Service
from functions.rest import create_app
from tests.contracts.audo import OWNER, UNKNOWN, asked, client, new_key, sent
from tests.submitted import submit_denoise, wav

REFUSED = {"detail": "Invalid or missing API key"}
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def key(service: Service) -> str:
    return new_key(service)


@pytest.fixture
def api(service: Service, key: str) -> Iterator[TestClient]:
    with client(service, headers={"x-api-key": key}) as of_an_owner:
        yield of_an_owner


@pytest.fixture
def stranger(service: Service) -> Iterator[TestClient]:
    with client(service) as of_nobody:
        yield of_nobody


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


def test_a_file_of_more_than_the_limit_is_a_413(service, key):
    settings = replace(service.settings, max_upload_bytes=1 << 20)
    app = create_app(replace(service, settings=settings))
    with TestClient(app, headers={"x-api-key": key}) as api:
        assert sent(api, content=wav() + bytes(3 << 20)).status_code == 413
