"""The pipeline dialect's routes, over the real core and an emulated AWS."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.testclient import TestClient

from clearstem.service import Service
from functions.rest import create_app
from tests.problems import refusal
from tests.submitted import advance, finish, submit, wav


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service)) as client:
        yield client


def objects(service: Service, bucket: str) -> list[str]:
    found = service.store.client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return [entry["Key"] for entry in found]


def test_a_processed_file_becomes_a_job_whose_work_has_not_begun(
    api: TestClient, service: Service
) -> None:
    answer = api.post("/process", files={"file": ("song.wav", wav())})
    assert answer.status_code == 200
    job = answer.json()
    assert job["status"] == "processing"
    assert [stage["status"] for stage in job["stages"]] == ["pending"] * 4
    assert job["outputs"] == {}
    assert job["percent"] == 0.0
    assert job["engine"]["preview"] is True
    stored = service.jobs.get(job["job_id"])
    assert b"".join(service.store.chunks(stored.source.location)) == wav()


def test_the_job_is_started_under_its_own_id(api: TestClient, service: Service) -> None:
    job_id = api.post("/process", files={"file": ("song.wav", wav())}).json()["job_id"]
    assert service.executions["separate"].state(job_id).value in ("RUNNING", "SUCCEEDED")


def test_options_may_stand_before_and_behind_the_file(api: TestClient, service: Service) -> None:
    answer = api.post(
        "/process",
        files=[
            ("format", (None, "flac")),
            ("file", ("song.wav", wav())),
            ("engine", (None, "spectral")),
            ("target_lufs", (None, "-16")),
            ("ceiling_dbtp", (None, "")),
        ],
    )
    options = service.jobs.get(answer.json()["job_id"]).options
    assert (options.output_format, options.target_lufs, options.ceiling_dbtp) == ("flac", -16, -1)
    assert answer.json()["engine"]["reason"] == "asked for by name"


def test_the_form_takes_every_option_that_the_configuration_lists(
    api: TestClient, service: Service
) -> None:
    form = {
        "gain": "track",
        "limit": "true",
        "residual": "true",
        "decompose": "bass",
        "hpss_kernel": "17",
        "hpss_margin": "2",
    }
    answer = api.post("/process", files={"file": ("a.wav", wav())}, data=form)
    options = service.jobs.get(answer.json()["job_id"]).options
    assert (options.gain, options.limit, options.residual) == ("track", True, True)
    assert (options.decompose, options.hpss_kernel, options.hpss_margin) == ("bass", 17, 2.0)
    config = api.get("/config").json()
    assert form.keys() < config["options"].keys() == config["defaults"].keys()


def test_a_job_request_takes_the_same_options_as_values(api: TestClient, service: Service) -> None:
    room = api.post("/uploads", json={"file_name": "song.wav"}).json()
    upload = service.uploads.get(room["upload_id"], owner="local")
    with service.intake.writer(upload) as writer:
        writer.write(wav())
    body = {"upload_id": room["upload_id"], "residual": True, "hpss_kernel": 5}
    options = service.jobs.get(api.post("/jobs", json=body).json()["job_id"]).options
    assert (options.residual, options.limit, options.hpss_kernel) == (True, False, 5)


def test_the_recipe_in_the_address_decides_what_is_done_and_how_the_form_is_read(
    api: TestClient, service: Service
) -> None:
    form = {"engine": "spectral", "format": "mp3", "strength": "40", "target_lufs": "-20"}
    form["cache"] = "false"
    answer = api.post(
        "/process?recipe=denoise", files={"file": ("talk.aac", b"\xff\xf1" + bytes(99))}, data=form
    )
    assert (answer.status_code, answer.json()["recipe"]) == (200, "denoise")
    assert len(answer.json()["stages"]) == 3
    options = service.jobs.get(answer.json()["job_id"]).options
    assert (options.engine, options.output_extension) == ("spectral", "mp3")
    assert (options.strength, options.auto_level_lufs, options.cache) == (40.0, -20.0, False)
    config = api.get("/config").json()["denoise"]
    assert form.keys() == config["options"].keys() == config["defaults"].keys()


@pytest.mark.parametrize(
    ("query", "form", "detail"),
    [
        ("?recipe=transcribe", {}, "recipe 'transcribe' is not one of separate, denoise"),
        ("?recipe=denoise", {"gain": "track"}, "unknown option 'gain'"),
        ("", {"strength": "40"}, "unknown option 'strength'"),
    ],
)
def test_what_is_no_recipe_or_another_recipes_option_is_refused(
    api: TestClient, query: str, form: dict[str, str], detail: str
) -> None:
    answer = api.post(f"/process{query}", files={"file": ("a.wav", wav())}, data=form)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail)


def test_a_job_request_names_its_recipe_too(api: TestClient, service: Service) -> None:
    room = api.post("/uploads", json={"file_name": "talk.aac", "recipe": "denoise"}).json()
    upload = service.uploads.get(room["upload_id"], owner="local")
    with service.intake.writer(upload) as writer:
        writer.write(b"\xff\xf1" + bytes(99))
    body = {"upload_id": room["upload_id"], "recipe": "denoise", "strength": 40}
    job = api.post("/jobs", json=body).json()
    assert job["recipe"] == "denoise"
    assert service.jobs.get(job["job_id"]).options.strength == 40.0


def test_an_engine_that_is_not_there_is_a_503_that_says_what_is_missing(api: TestClient) -> None:
    answer = api.post("/process", files={"file": ("a.wav", wav())}, data={"engine": "demucs"})
    assert answer.status_code == 503
    assert "clearstem models fetch htdemucs" in answer.json()["detail"]


def test_the_job_shows_the_progress_of_its_stage(api: TestClient, service: Service) -> None:
    job = advance(service, submit(service), fraction=0.5)
    document = api.get(f"/job/{job.job_id}").json()
    assert document["status"] == "processing"
    assert document["stages"][0]["status"] == "processing"
    assert 0 < document["percent"] < 100
    assert api.get(f"/job/{job.job_id}/outputs").json() == {}


def test_the_outputs_of_a_completed_job_are_paths_that_can_be_downloaded(
    api: TestClient, service: Service
) -> None:
    job = finish(service, submit(service))
    outputs = api.get(f"/job/{job.job_id}/outputs").json()
    assert len(outputs) == 9
    assert outputs == api.get(f"/job/{job.job_id}").json()["outputs"]
    for name, path in outputs.items():
        assert api.get(path).content == f"{name} ".encode() * 1000


@pytest.mark.parametrize(
    "job_id",
    [
        "7b0f3a52-6f0b-4b9e-8a53-0c4d6f2f9a11",
        "a1b2c3d4-e5f6-g7h8-i9j0-k1l2m3n4o5p6",
        "%7Bx%7D",
        "0" * 32,
        "..%2f..",
    ],
)
@pytest.mark.parametrize("path", ["/job/{}", "/job/{}/outputs", "/download/{}/main"])
def test_an_unknown_job_is_not_found(api: TestClient, path: str, job_id: str) -> None:
    answer = api.get(path.format(job_id))
    assert answer.status_code == 404
    assert answer.json()["detail"] in ("Job not found", "Not Found")


def test_the_answer_for_an_id_that_is_none_is_the_published_one(api: TestClient) -> None:
    answer = api.get("/job/a1b2c3d4-e5f6-g7h8-i9j0-k1l2m3n4o5p6")
    assert refusal(answer) == (404, "Job not found")


def test_jobs_are_listed_newest_first_page_by_page(api: TestClient, service: Service) -> None:
    made = [submit(service).job_id for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = api.get("/jobs", params=query).json()
        seen += [job["job_id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "cursor=nonsense", "cursor=NQ==", "cursor=%C3%BC"]
)
def test_a_bad_page_is_a_400_in_one_sentence(api: TestClient, query: str) -> None:
    answer = api.get(f"/jobs?{query}")
    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


def test_an_upload_sent_straight_to_storage_becomes_a_job(api: TestClient) -> None:
    room = api.post("/uploads", json={"file_name": "Müde Straße.wav"}).json()
    put = httpx.put(room["put"]["url"], content=wav(), headers=room["put"]["headers"])
    put.raise_for_status()
    job = api.post("/jobs", json={"upload_id": room["upload_id"], "format": "flac"})
    assert job.status_code == 200
    assert job.json()["file_name"] == "Müde Straße.wav"
    assert room["max_bytes"] == 500 * 1024 * 1024


def test_an_upload_by_form_post_becomes_a_job(api: TestClient) -> None:
    room = api.post("/uploads", json={"file_name": "song.wav"}).json()
    post = httpx.post(
        room["post"]["url"], data=room["post"]["fields"], files={"file": ("song.wav", wav())}
    )
    post.raise_for_status()
    job = api.post("/jobs", json={"upload_id": room["upload_id"]})
    assert job.status_code == 200


def test_an_upload_that_never_came_is_no_job(api: TestClient) -> None:
    room = api.post("/uploads", json={"file_name": "song.wav"}).json()
    answer = api.post("/jobs", json={"upload_id": room["upload_id"]})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"upload_id": 5},
        {"upload_id": "x", "fromat": "flac"},
        {"upload_id": "x", "format": "aac"},
        {"upload_id": "x", "target_lufs": 3},
        {"upload_id": "x", "hpss_kernel": 30},
    ],
)
def test_a_wrong_job_request_is_a_400_in_one_sentence(
    api: TestClient, body: dict[str, Any]
) -> None:
    answer = api.post("/jobs", json=body)
    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


def test_two_uploads_of_the_same_file_at_once_are_two_jobs(service: Service) -> None:
    async def both() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            send = [client.post("/process", files={"file": ("a.wav", wav())}) for _ in range(2)]
            return await asyncio.gather(*send)

    first, second = asyncio.run(both())
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["job_id"] != second.json()["job_id"]
    keys = [service.jobs.get(a.json()["job_id"]).source.location.key for a in (first, second)]
    assert keys[0] != keys[1]


def test_many_pollers_share_reads_and_each_sees_his_own_job(service: Service) -> None:
    ids = [submit(service).job_id for _ in range(3)]

    async def poll() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            asked = [client.get(f"/job/{job_id}") for job_id in [*ids, str(uuid4())] * 5]
            return await asyncio.gather(*asked)

    answers = asyncio.run(poll())
    assert [a.status_code for a in answers] == [200, 200, 200, 404] * 5
    assert [a.json()["job_id"] for a in answers if a.is_success] == ids * 5


def test_any_origin_may_call_and_no_credentials_are_taken(api: TestClient) -> None:
    origin = {"Origin": "https://example.org"}
    answer = api.get("/health", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    assert api.options("/process", headers=origin | asked).status_code == 200


def test_origins_can_be_restricted(service: Service) -> None:
    settings = replace(service.settings, cors_origins=("https://good.example",))
    with TestClient(create_app(replace(service, settings=settings))) as api:
        bad = api.get("/health", headers={"Origin": "https://bad.example"})
        good = api.get("/health", headers={"Origin": "https://good.example"})
    assert "access-control-allow-origin" not in bad.headers
    assert good.headers["access-control-allow-origin"] == "https://good.example"


def test_every_route_is_described_with_an_example(api: TestClient) -> None:
    description = api.get("/openapi.json").json()
    others = ("/v1/", "/api/v1/")  # other dialects, with errors of their own
    paths = {p: m for p, m in description["paths"].items() if not p.startswith(others)}
    assert set(paths) == {
        "/health",
        "/config",
        "/process",
        "/job/{job_id}",
        "/job/{job_id}/outputs",
        "/job/{job_id}/events",
        "/job/{job_id}/cancel",
        "/job/{job_id}/retry",
        "/jobs",
        "/jobs/batch",
        "/jobs/deleted",
        "/retention",
        "/uploads",
        "/uploads/{upload_id}",
        "/uploads/{upload_id}/complete",
        "/uploads/{upload_id}/parts",
        "/upload/{name}",
        "/download/{job_id}/all",
        "/download/{job_id}/{track_name}",
        "/tickets",
        "/usage",
        "/webhooks",
        "/webhooks/{webhook_id}",
        "/webhooks/{webhook_id}/rotate",
        "/webhooks/{webhook_id}/deliveries",
        "/webhooks/{webhook_id}/redeliver",
        "/problems/{slug}",
    }
    for path, methods in paths.items():
        for operation in methods.values():
            assert "422" not in operation["responses"], path
            good = operation["responses"].get("200", {"content": {}})["content"]
            if good and not path.startswith("/download"):
                assert "example" in good["application/json"], path
    body = description["paths"]["/process"]["post"]["requestBody"]["content"]
    assert body["multipart/form-data"]["schema"]["properties"]["file"]["format"] == "binary"
    assert "/v1/wss/job/{job_id}" in description["info"]["description"]
    assert api.get("/docs").status_code == 200


def test_the_examples_have_the_fields_of_real_documents(api: TestClient, service: Service) -> None:
    from functions.routes import examples, service_examples

    real = api.get(f"/job/{finish(service, submit(service)).job_id}").json()
    assert list(examples.COMPLETED_JOB) == list(real)
    assert list(examples.COMPLETED_JOB["stages"][0]) == list(real["stages"][0])
    assert list(examples.COMPLETED_JOB["tracks"][0]) == list(real["tracks"][0])
    assert list(service_examples.CONFIG) == list(api.get("/config").json())
    room = api.post("/uploads", json={"file_name": "a.wav"}).json()
    assert list(examples.UPLOAD) == list(room)


def test_the_console_is_one_page_without_external_resources(api: TestClient) -> None:
    page = api.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "v1/wss/job/" in page.text
    for mark in ('src="http', 'href="http', "@import", "url(http"):
        assert mark not in page.text


def test_documents_are_utf_8_json(api: TestClient) -> None:
    answer = api.post("/process", files={"file": ("日本.wav", wav())})
    assert json.loads(answer.content.decode())["file_name"] == "日本.wav"


def test_a_json_body_is_bounded(api: TestClient) -> None:
    answer = api.post("/uploads", json={"file_name": "x" * 100_000})
    assert answer.status_code == 413
