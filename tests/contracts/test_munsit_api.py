"""The Munsit dialect's routes, over the real core and an emulated AWS."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from clearstem.facts import Failure
from clearstem.service import Service
from functions.rest import create_app
from tests.submitted import advance, denoised, finish, long_wav, submit, submit_denoise, wav

REFUSED = {"errorCode": "40101", "errorMessage": "Invalid or missing API key"}
NO_FILE = {"errorCode": "40002", "errorMessage": "audio is required and must be a file"}
NOT_FOUND = {"message": "Denoising job not found"}
FIELDS = {
    "id",
    "user_id",
    "transaction_id",
    "audio_url",
    "original_audio_url",
    "file_name",
    "audio_duration",
    "audio_size",
    "audio_format",
    "source_type",
    "status",
    "error",
    "created_at",
    "updated_at",
}


@pytest.fixture
def key(service: Service) -> dict[str, str]:
    text, _ = service.accounts.create_key("alice", at=service.now())
    return {"x-api-key": text}


@pytest.fixture
def api(service: Service, key: dict[str, str]) -> Iterator[TestClient]:
    with TestClient(create_app(service), headers=key, base_url="http://host.example") as client:
        yield client


def limited(service: Service, key: dict[str, str], **limits: float) -> TestClient:
    settings = replace(service.settings, **limits)
    return TestClient(create_app(replace(service, settings=settings)), headers=key)


def objects(service: Service) -> list[str]:
    found = service.store.client.list_objects_v2(Bucket=service.settings.uploads_bucket)
    return [entry["Key"] for entry in found.get("Contents", [])]


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def test_a_recording_becomes_a_job_under_both_names(api: TestClient, service: Service) -> None:
    answer = api.post("/api/v1/denoise", files={"audio": ("talk.wav", wav())})
    assert answer.status_code == 200
    told = answer.json()
    assert told == {"jobId": told["denoiseId"], "denoiseId": str(UUID(told["denoiseId"]))}
    job = service.jobs.get(told["jobId"])
    assert (job.recipe_name, job.owner) == ("denoise", "alice")
    assert job.options.max_duration_s == 900.0
    assert b"".join(service.store.chunks(job.source.location)) == wav()


def test_fields_that_the_form_does_not_know_are_let_pass(api: TestClient) -> None:
    answer = api.post("/api/v1/denoise", files={"audio": ("a.wav", wav())}, data={"language": "ar"})
    assert answer.status_code == 200


@pytest.mark.parametrize("headers", [{}, {"x-api-key": ""}, {"x-api-key": "cs_wrong"}])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/denoise"), ("GET", "/denoise"), ("GET", f"/denoise/{UUID(int=1)}/progress")],
)
def test_a_key_is_needed_even_where_others_are_let_in_without(
    service: Service, method: str, path: str, headers: dict[str, str]
) -> None:
    assert service.settings.keyless_owner == "local"
    with TestClient(create_app(service)) as keyless:
        answer = keyless.request(method, f"/api/v1{path}", headers=headers)
    assert (answer.status_code, answer.json()) == (401, REFUSED)


@pytest.mark.parametrize(
    "sent",
    [
        {"files": {"file": ("a.wav", wav())}},
        {"files": {"other": (None, "text")}},
        {"files": {"audio": (None, "only text")}},
        {"files": {"audio": ("", wav())}},
        {"json": {"audio": "x"}},
        {"data": {"audio": "x"}},
        {},
    ],
    ids=["another field", "no file", "text", "no name", "json", "urlencoded", "nothing"],
)
def test_a_form_without_the_file_is_refused_as_published(
    api: TestClient, service: Service, sent: dict[str, object]
) -> None:
    answer = api.post("/api/v1/denoise", **sent)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()) == (400, NO_FILE)
    assert objects(service) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.wav", b""),
        ("noise.wav", b"garbage " * 100),
        ("page.mp4", b"<!doctype html>" * 10),
        ("talk.exe", wav()),
        ("talk", wav()),
    ],
)
def test_what_is_no_recording_is_refused_in_the_dialects_words(
    api: TestClient, service: Service, name: str, content: bytes
) -> None:
    answer = api.post("/api/v1/denoise", files={"audio": (name, content)})
    assert answer.status_code == 400
    assert answer.json().keys() == {"errorCode", "errorMessage"}
    assert answer.json()["errorCode"] == "40001"
    assert objects(service) == []


def test_a_file_of_the_very_limit_is_taken_and_a_byte_more_is_not(
    service: Service, key: dict[str, str]
) -> None:
    size = len(wav())
    for limit, status in ((size, 200), (size - 1, 400)):
        with limited(service, key, voice_max_upload_bytes=limit) as api:
            answer = api.post("/api/v1/denoise", files={"audio": ("a.wav", wav())})
        assert answer.status_code == status, answer.text
    assert answer.json()["errorCode"] == "40003"
    assert len(objects(service)) == 1


def test_a_file_beyond_the_limit_is_told_both_sizes(service: Service, key: dict[str, str]) -> None:
    mebibyte = 1024 * 1024
    with limited(service, key, voice_max_upload_bytes=2 * mebibyte) as api:
        content = wav() + bytes(2 * mebibyte + 1 - len(wav()))
        answer = api.post("/api/v1/denoise", files={"audio": ("a.wav", content)})
    message = "File size exceeds the maximum limit of 2MB. File size: 2.01MB"
    assert (answer.status_code, answer.json()) == (
        400,
        {"errorCode": "40003", "errorMessage": message},
    )
    assert objects(service) == []


def test_what_announces_too_much_is_refused_before_it_comes(
    service: Service, key: dict[str, str]
) -> None:
    with limited(service, key, voice_max_upload_bytes=1024 * 1024) as api:
        answer = api.post("/api/v1/denoise", files={"audio": ("a.exe", bytes(3 * 1024 * 1024))})
    expected = "File size exceeds the maximum limit of 1MB. File size: 3.01MB"
    assert answer.json()["errorMessage"] == expected


def test_a_recording_of_the_very_length_is_taken_and_a_second_more_is_not(
    api: TestClient, service: Service
) -> None:
    taken = api.post("/api/v1/denoise", files={"audio": ("a.wav", long_wav(900.0))})
    assert taken.status_code == 200
    assert service.jobs.get(taken.json()["jobId"]).source.duration_s == 900.0
    answer = api.post("/api/v1/denoise", files={"audio": ("a.wav", long_wav(901.0))})
    message = "Duration exceeds the maximum limit of 15 minutes. Duration: 15.02 minutes"
    assert (answer.status_code, answer.json()) == (
        400,
        {"errorCode": "40004", "errorMessage": message},
    )


def test_a_record_has_all_fields_as_published(api: TestClient, service: Service) -> None:
    sent = api.post("/api/v1/denoise", files={"audio": ("Müde.WAV", wav(8000))}).json()
    (record,) = api.get("/api/v1/denoise").json()
    assert record.keys() == FIELDS
    job = service.jobs.get(sent["denoiseId"])
    address = f"http://host.example/api/v1/originals/{job.source_token}/{job.job_id}.wav"
    assert record == {
        "id": sent["denoiseId"],
        "user_id": "alice",
        "transaction_id": None,
        "audio_url": None,
        "original_audio_url": address,
        "file_name": "Müde.WAV",
        "audio_duration": 1.0,
        "audio_size": len(wav(8000)),
        "audio_format": "wav",
        "source_type": "audio",
        "status": "pending",
        "error": None,
        "created_at": record["created_at"],
        "updated_at": record["updated_at"],
    }
    for name in ("created_at", "updated_at"):
        assert record[name].endswith("Z")
        age = service.now() - datetime.fromisoformat(record[name])
        assert timedelta(0) <= age < timedelta(minutes=1)


def test_a_finished_job_has_the_address_of_its_result(api: TestClient, service: Service) -> None:
    job = denoised(service, submit_denoise(service, owner="alice"))
    (record,) = api.get("/api/v1/denoise").json()
    assert (record["status"], record["error"]) == ("success", None)
    assert record["audio_url"].startswith(f"http://host.example/v1/dl/{job.download_token}/")


def test_failed_and_cancelled_jobs_say_why(api: TestClient, service: Service) -> None:
    failed, cancelled = (submit_denoise(service, owner="alice") for _ in range(2))
    failure = Failure("extraction", "Clearstem.NoAudio", "there is no sound in it")
    service.jobs.change(failed.job_id, lambda j: j.fail(failure, at=service.now()))
    service.jobs.change(cancelled.job_id, lambda j: j.cancel(at=service.now()))
    records = {record["id"]: record for record in api.get("/api/v1/denoise").json()}
    assert records[failed.job_id]["error"] == "there is no sound in it"
    assert records[cancelled.job_id]["error"] == "cancelled by its owner"
    for job_id in (failed.job_id, cancelled.job_id):
        assert (records[job_id]["status"], records[job_id]["audio_url"]) == ("failed", None)
        (last,) = events(api.get(f"/api/v1/denoise/{job_id}/progress").text)
        assert last == {"stage": "error", "message": records[job_id]["error"]}


def test_video_by_its_name_is_told(api: TestClient, service: Service) -> None:
    submit_denoise(service, owner="alice", file_name="clip.mov")
    (record,) = api.get("/api/v1/denoise").json()
    assert (record["source_type"], record["audio_format"]) == ("video", "mov")


def test_the_history_is_given_newest_first_from_any_place(
    api: TestClient, service: Service
) -> None:
    made = [submit_denoise(service, owner="alice").job_id for _ in range(5)][::-1]

    def ids(query: str) -> list[str]:
        return [record["id"] for record in api.get(f"/api/v1/denoise{query}").json()]

    assert ids("") == made
    assert ids("?limit=2") == made[:2]
    assert ids("?offset=2") == made[2:]
    assert ids("?offset=1&limit=3") == made[1:4]
    assert ids("?offset=4&limit=100") == made[4:]
    assert ids("?offset=5") == ids("?offset=2147483647&limit=2147483647") == []


def test_a_history_of_nothing_is_an_empty_array(api: TestClient) -> None:
    answer = api.get("/api/v1/denoise")
    assert (answer.status_code, answer.text) == (200, "[]")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("query", ["offset=-1", "limit=0", "limit=x", "offset=99999999999"])
def test_a_bad_page_is_refused_in_one_sentence(api: TestClient, query: str) -> None:
    answer = api.get(f"/api/v1/denoise?{query}")
    assert answer.status_code == 400
    assert answer.json()["errorCode"] == "40001"
    assert answer.json()["errorMessage"].startswith(query.partition("=")[0])


def test_the_history_holds_the_jobs_of_all_dialects_and_of_no_other_owner(
    api: TestClient, service: Service
) -> None:
    job = advance(service, submit(service, owner="alice"), fraction=0.5)
    submit_denoise(service, owner="bob")
    (record,) = api.get("/api/v1/denoise").json()
    assert record["id"] == job.job_id


@pytest.mark.parametrize("denoise_id", [str(UUID(int=1)), "nonsense", "%7Bx%7D"])
def test_an_unknown_job_is_a_404_as_json(api: TestClient, denoise_id: str) -> None:
    answer = api.get(f"/api/v1/denoise/{denoise_id}/progress")
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert answer.headers["content-type"] == "application/json"


def test_another_owners_job_is_as_unknown_as_none(api: TestClient, service: Service) -> None:
    job = submit_denoise(service, owner="bob")
    answer = api.get(f"/api/v1/denoise/{job.job_id}/progress")
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_a_finished_job_replays_its_last_event_and_the_stream_ends(
    api: TestClient, service: Service
) -> None:
    job = denoised(service, submit_denoise(service, owner="alice"))
    answer = api.get(f"/api/v1/denoise/{job.job_id}/progress")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "no-cache" in answer.headers["cache-control"]
    assert "no-store" in answer.headers["cache-control"]
    assert answer.headers["x-accel-buffering"] == "no"
    (last,) = events(answer.text)
    (record,) = api.get("/api/v1/denoise").json()
    assert last == {"stage": "done", "url": record["audio_url"], "denoiseId": job.job_id}
    assert answer.text.endswith("\n\n")


def test_a_separation_is_watched_as_well_with_its_vocals_as_the_result(
    api: TestClient, service: Service
) -> None:
    job = finish(service, submit(service, owner="alice"))
    (last,) = events(api.get(f"/api/v1/denoise/{job.job_id}/progress").text)
    assert last["stage"] == "done"
    assert job.download_token in str(last["url"])


def test_a_fault_has_the_dialects_body(service: Service, key: dict[str, str]) -> None:
    jobs = replace(service.jobs, table="no-such-table")
    with TestClient(
        create_app(replace(service, jobs=jobs)), headers=key, raise_server_exceptions=False
    ) as api:
        answer = api.get("/api/v1/denoise")
    assert answer.status_code == 500
    assert answer.json() == {"errorCode": "50001", "errorMessage": "Internal server error"}
