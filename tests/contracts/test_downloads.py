"""Downloads: exact names, headers, ranges, archives, redirects."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import httpx
import pytest
from fastapi.testclient import TestClient

from clearstem.jobs import Job
from clearstem.service import Service
from functions.rest import create_app
from tests.problems import refusal
from tests.submitted import finish, submit


@pytest.fixture
def job(service: Service) -> Job:
    return finish(service, submit(service, file_name="Müde Straße.wav"))


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service), follow_redirects=False) as client:
        yield client


def test_a_track_comes_with_its_type_length_and_name(api: TestClient, job: Job) -> None:
    answer = api.get(f"/download/{job.job_id}/main")
    assert answer.content == b"main " * 1000
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["content-length"] == "5000"
    name = quote("Müde Straße - main.wav")
    assert f"filename*=UTF-8''{name}" in answer.headers["content-disposition"]
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("track", ["main", "main.wav"])
def test_a_head_request_tells_the_same_without_the_bytes(
    api: TestClient, job: Job, track: str
) -> None:
    answer = api.head(f"/download/{job.job_id}/{track}")
    assert answer.status_code == 200
    assert answer.headers["content-length"] == "5000"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.content == b""


@pytest.mark.parametrize("track", ["mai", "main.mp3", "main_", "..%2fmain", "job.json", "Main"])
def test_a_name_that_is_not_exact_is_not_found(api: TestClient, job: Job, track: str) -> None:
    answer = api.get(f"/download/{job.job_id}/{track}")
    assert answer.status_code == 404


def test_an_unknown_track_is_the_published_404(api: TestClient, job: Job) -> None:
    answer = api.get(f"/download/{job.job_id}/guitar")
    assert refusal(answer) == (404, "Track not found")


@pytest.mark.parametrize("track", ["main", "vocals.wav", "all"])
def test_an_unfinished_job_has_no_tracks(api: TestClient, service: Service, track: str) -> None:
    answer = api.get(f"/download/{submit(service).job_id}/{track}")
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("Track not found")


def test_a_track_that_is_gone_from_storage_is_not_found(
    api: TestClient, service: Service, job: Job
) -> None:
    track = job.track("main")
    assert track is not None
    service.store.client.delete_object(Bucket=track.location.bucket, Key=track.location.key)
    answer = api.get(f"/download/{job.job_id}/main")
    assert refusal(answer) == (404, "Track not found")


def test_a_range_is_answered_with_just_its_bytes(api: TestClient, job: Job) -> None:
    answer = api.get(f"/download/{job.job_id}/main", headers={"Range": "bytes=5-8"})
    assert (answer.status_code, answer.content) == (206, b"main")
    assert answer.headers["content-range"] == "bytes 5-8/5000"
    assert answer.headers["content-length"] == "4"


def test_a_range_behind_the_end_is_a_416(api: TestClient, job: Job) -> None:
    answer = api.get(f"/download/{job.job_id}/main", headers={"Range": "bytes=5000-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */5000"


def test_a_range_of_another_version_is_answered_with_the_whole(api: TestClient, job: Job) -> None:
    headers = {"Range": "bytes=5-8", "If-Range": '"another"'}
    assert api.get(f"/download/{job.job_id}/main", headers=headers).status_code == 200
    etag = api.head(f"/download/{job.job_id}/main").headers["etag"]
    headers = {"Range": "bytes=5-8", "If-Range": etag}
    assert api.get(f"/download/{job.job_id}/main", headers=headers).status_code == 206


def test_all_tracks_come_as_one_archive_of_the_announced_length(api: TestClient, job: Job) -> None:
    answer = api.get(f"/download/{job.job_id}/all")
    assert answer.headers["content-type"] == "application/zip"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert api.head(f"/download/{job.job_id}/all").headers["content-length"] == str(
        len(answer.content)
    )
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            *(f"{name}.wav" for name in job.recipe.tracks),
            "job.json",
        ]
        assert archive.read("main_harmonic.wav") == b"main_harmonic " * 1000
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("job.json"))["job_id"] == job.job_id


def test_tracks_of_several_chunks_come_whole(api: TestClient, service: Service) -> None:
    large = bytes(range(256)) * 4096  # 1 MiB, four chunks
    contents = dict.fromkeys(("main", "vocals"), large)
    contents |= {n: b"x" for n in submit(service).recipe.tracks if n not in contents}
    job = finish(service, submit(service), tracks=contents)
    assert api.get(f"/download/{job.job_id}/vocals").content == large
    with zipfile.ZipFile(io.BytesIO(api.get(f"/download/{job.job_id}/all").content)) as archive:
        assert archive.read("main.wav") == large


def test_behind_api_gateway_a_track_is_a_redirect_to_storage(service: Service, job: Job) -> None:
    settings = replace(service.settings, stream_downloads=False)
    app = create_app(replace(service, settings=settings))
    with TestClient(app, follow_redirects=False) as api:
        answer = api.get(f"/download/{job.job_id}/main")
        assert answer.status_code == 307
        assert api.head(f"/download/{job.job_id}/main").status_code == 200
    stored = httpx.get(answer.headers["location"])
    assert stored.content == b"main " * 1000
    assert stored.headers["content-type"] == "audio/wav"
    assert quote("Müde Straße") in stored.headers["content-disposition"]


def test_behind_api_gateway_the_archive_is_refused_with_the_single_paths(
    service: Service, job: Job
) -> None:
    settings = replace(service.settings, stream_downloads=False)
    with TestClient(create_app(replace(service, settings=settings))) as api:
        answer = api.get(f"/download/{job.job_id}/all")
    assert answer.status_code == 501
    assert f"/download/{job.job_id}/vocals.wav" in answer.json()["detail"]
