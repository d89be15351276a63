"""Recordings sent straight to storage: by links, in parts, and by curl's PUT."""

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from clearstem import arrivals, part_uploads
from clearstem.service import Service
from functions.rest import create_app
from tests.problems import refusal
from tests.serving import served
from tests.submitted import wav

MEBIBYTE = 1024 * 1024


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service)) as client:
        yield client


def signed_headers(url: str) -> set[str]:
    return set(parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";"))


def room(api: TestClient, **known: Any) -> dict[str, Any]:
    answer = api.post("/uploads", json={"file_name": "song.wav", **known})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def started(api: TestClient | httpx.Client, upload_id: str) -> dict[str, Any]:
    answer = api.post("/jobs", json={"upload_id": upload_id})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_a_put_is_signed_for_exactly_what_was_announced(api: TestClient) -> None:
    data = wav()
    digest = hashlib.sha256(data)
    put = room(api, size_bytes=len(data), sha256=digest.hexdigest())["put"]
    assert put["headers"] == {
        "Content-Type": "audio/wav",
        "Content-Length": str(len(data)),
        "x-amz-checksum-sha256": base64.b64encode(digest.digest()).decode(),
    }
    assert signed_headers(put["url"]) == {"host", *(name.lower() for name in put["headers"])}


def test_an_upload_by_the_exact_link_becomes_a_job(api: TestClient) -> None:
    data = wav()
    links = room(api, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    put = links["put"]
    assert httpx.put(put["url"], content=data, headers=put["headers"]).status_code == 200
    assert started(api, links["upload_id"])["file_name"] == "song.wav"


def test_content_that_is_not_what_was_announced_is_refused_by_storage(api: TestClient) -> None:
    links = room(api, size_bytes=len(wav()), sha256="00" * 32)
    refused = httpx.put(links["put"]["url"], content=wav(), headers=links["put"]["headers"])
    assert refused.status_code == 400
    assert api.post("/jobs", json={"upload_id": links["upload_id"]}).status_code == 404


def test_a_body_of_another_size_is_refused_by_storage(api: TestClient) -> None:
    put = room(api, size_bytes=len(wav()))["put"]
    headers = {"Content-Type": "audio/wav"}
    refused = httpx.put(put["url"], content=wav() + b"?", headers=headers)
    assert refused.status_code == 403


def taken_by_form(links: dict[str, Any]) -> list[list[int]]:
    """The least and the most bytes that storage takes by a form."""
    policy = json.loads(base64.b64decode(links["post"]["fields"]["policy"]))
    lists = (each for each in policy["conditions"] if isinstance(each, list))
    return [range_ for name, *range_ in lists if name == "content-length-range"]


def test_the_form_is_bound_to_what_was_announced(api: TestClient, service: Service) -> None:
    """What is announced is what counts for the owner's stored bytes."""
    assert taken_by_form(room(api)) == [[1, service.settings.max_upload_bytes]]
    assert taken_by_form(room(api, size_bytes=1)) == [[1, 1]]
    parted = 101 * MEBIBYTE
    assert taken_by_form(room(api, size_bytes=parted)) == [[parted, parted]]


def test_a_form_takes_a_file_of_the_announced_size_and_no_other(api: TestClient) -> None:
    data = wav()
    links = room(api, size_bytes=len(data))
    post = links["post"]
    for other in (data + b"?", data[:-1]):
        refused = httpx.post(post["url"], data=post["fields"], files={"file": ("a.wav", other)})
        assert refused.is_client_error
    # The fields around the file do not count.
    sent = httpx.post(post["url"], data=post["fields"], files={"file": ("a.wav", data)})
    assert sent.is_success
    assert started(api, links["upload_id"])["file_name"] == "song.wav"


@pytest.mark.parametrize(
    ("known", "status", "reason"),
    [
        ({"size_bytes": 0}, 400, "song.wav is empty (0 bytes)"),
        ({"size_bytes": 500 * MEBIBYTE + 1}, 413, "the limit is 500 MB"),
        ({"size_bytes": -1}, 400, "greater than or equal to 0"),
        ({"sha256": "1234"}, 400, "should match pattern"),
    ],
)
def test_what_cannot_be_taken_gets_no_links(
    api: TestClient, known: dict[str, Any], status: int, reason: str
) -> None:
    answer = api.post("/uploads", json={"file_name": "song.wav", **known})
    assert answer.status_code == status
    assert reason in answer.json()["detail"]


@pytest.mark.parametrize("length", ["", "-1", "1e3", "9" * 5000])
def test_a_put_of_no_sensible_length_is_refused(api: TestClient, length: str) -> None:
    answer = api.put("/upload/song.wav", content=b"RIFF", headers={"Content-Length": length})
    assert answer.status_code == 400
    assert "Content-Length" in answer.json()["detail"]


class TestInParts:
    """Uploads above the limit for a single PUT, here of 10 MB, in parts of 5 MB."""

    SIZE = 12 * MEBIBYTE + 345
    DATA = wav() + bytes(SIZE - len(wav()))

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(arrivals, "SINGLE_PUT_BYTES", 10 * MEBIBYTE)
        monkeypatch.setattr(part_uploads, "_LEAST_PART_BYTES", 5 * MEBIBYTE)

    def send(self, parts: dict[str, Any], *numbers: int) -> None:
        for part in parts["missing"]:
            if part["number"] in numbers:
                begin = (part["number"] - 1) * parts["part_bytes"]
                data = self.DATA[begin : begin + part["size_bytes"]]
                assert httpx.put(part["url"], content=data).status_code == 200

    def test_each_part_has_a_link_for_exactly_its_size(self, api: TestClient) -> None:
        parts = room(api, size_bytes=self.SIZE)["parts"]
        assert (parts["count"], parts["stored"]) == (3, [])
        sizes = [part["size_bytes"] for part in parts["missing"]]
        assert sizes == [5 * MEBIBYTE, 5 * MEBIBYTE, 2 * MEBIBYTE + 345]
        assert signed_headers(parts["missing"][0]["url"]) == {"content-length", "host"}

    def test_a_file_of_the_limit_itself_needs_no_parts(self, api: TestClient) -> None:
        assert room(api, size_bytes=10 * MEBIBYTE)["parts"] is None
        assert room(api)["parts"] is None

    def test_a_client_that_lost_its_way_asks_what_is_there_and_sends_the_rest(
        self, api: TestClient, service: Service
    ) -> None:
        announced = room(api, size_bytes=self.SIZE)
        path = f"/uploads/{announced['upload_id']}"
        self.send(announced["parts"], 2, 3)
        early = api.post(f"{path}/complete")
        assert refusal(early) == (409, "1 of 3 parts are missing: 1")
        resumed = api.get(f"{path}/parts").json()
        assert resumed["stored"] == [2, 3]
        assert [part["number"] for part in resumed["missing"]] == [1]
        self.send(resumed, 1)
        for _ in range(2):  # an answer may have been lost
            done = api.post(f"{path}/complete")
            assert done.status_code == 200, done.text
            assert done.json() == {"upload_id": announced["upload_id"], "size_bytes": self.SIZE}
        job = service.jobs.get(started(api, announced["upload_id"])["job_id"])
        assert job.source.size_bytes == self.SIZE
        assert b"".join(service.store.chunks(job.source.location)) == self.DATA

    def test_a_part_of_another_size_is_refused_and_does_not_count(
        self, api: TestClient, service: Service
    ) -> None:
        announced = room(api, size_bytes=self.SIZE)
        upload = service.uploads.get(announced["upload_id"], owner="local")
        assert httpx.put(announced["parts"]["missing"][2]["url"], content=b"?").status_code == 403
        # Nor where a storage should take it.
        service.store.client.upload_part(
            Bucket=upload.location.bucket,
            Key=upload.location.key,
            UploadId=upload.parts.multipart_id,
            PartNumber=3,
            Body=b"?",
        )
        assert api.get(f"/uploads/{announced['upload_id']}/parts").json()["stored"] == []

    def test_an_abandoned_upload_leaves_nothing_and_cannot_be_completed(
        self, api: TestClient, service: Service
    ) -> None:
        announced = room(api, size_bytes=self.SIZE)
        path = f"/uploads/{announced['upload_id']}"
        self.send(announced["parts"], 1)
        assert [api.delete(path).status_code for _ in range(2)] == [204, 204]
        bucket = service.settings.uploads_bucket
        assert "Uploads" not in service.store.client.list_multipart_uploads(Bucket=bucket)
        assert api.get(f"{path}/parts").status_code == 404
        assert api.post(f"{path}/complete").status_code == 404

    def test_another_owners_upload_and_one_without_parts_are_refused(
        self, api: TestClient, service: Service
    ) -> None:
        theirs = service.intake.announce(
            owner="eve", file_name="song.wav", size_bytes=self.SIZE
        ).upload_id
        whole = room(api)["upload_id"]
        for upload_id, status in ((theirs, 404), ("nothing", 404), (whole, 409)):
            path = f"/uploads/{upload_id}"
            answers = [api.get(f"{path}/parts"), api.post(f"{path}/complete")]
            assert [answer.status_code for answer in answers] == [status] * 2
        assert {api.delete(f"/uploads/{each}").status_code for each in (theirs, "nothing")} == {404}

    def test_thousands_of_parts_come_a_hundred_links_at_a_time(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        large = replace(service.settings, max_upload_bytes=1 << 40)
        with TestClient(create_app(replace(service, settings=large))) as api:
            parts = room(api, size_bytes=200 << 30)["parts"]
        assert parts["part_bytes"] == 21 * MEBIBYTE
        assert parts["count"] == 9753
        assert len(parts["missing"]) == 100


class TestByCurl:
    """``curl -L -T``, the real one, over real sockets."""

    @pytest.fixture
    def url(self, service: Service) -> Iterator[str]:
        with served(create_app(service)) as address:
            yield address

    def put(self, path: Path, url: str, *options: str) -> tuple[str, str]:
        """Status of the last answer, and the headers of all."""
        command = ["curl", "-sS", "-L", "-T", str(path), "-D", "-", "-o", "/dev/null"]
        command += ["-w", "status=%{http_code}", "--max-time", "30", *options, url]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        headers, _, status = done.stdout.rpartition("status=")
        return status, headers

    def upload_id(self, headers: str) -> str:
        lines = (line.partition(": ") for line in headers.splitlines())
        return next(value for name, _, value in lines if name.lower() == "x-upload-id")

    @pytest.mark.parametrize("size", [1000, 3 * MEBIBYTE, 60 * MEBIBYTE])
    def test_a_file_goes_to_storage_and_becomes_a_job(
        self, url: str, service: Service, tmp_path: Path, size: int
    ) -> None:
        data = wav() + bytes(size - len(wav()))
        file = tmp_path / "song.wav"
        file.write_bytes(data)
        status, headers = self.put(file, f"{url}/upload/")  # curl appends the file's name
        assert status == "200"
        assert " 307 " in headers
        # A file worth the wait is not sent to be thrown away: curl waits for leave,
        # and storage gives it, not the API.
        assert headers.index(" 307 ") < headers.find(" 100 ") or " 100 " not in headers
        with httpx.Client(base_url=url) as client:
            job = started(client, self.upload_id(headers))
        assert job["file_name"] == "song.wav"
        assert b"".join(service.store.chunks(service.jobs.get(job["job_id"]).source.location)) == (
            data
        )

    def test_the_key_goes_by_header_and_the_upload_is_its_owners(
        self, service: Service, tmp_path: Path
    ) -> None:
        key, _ = service.accounts.create_key("ada", at=service.now())
        closed = replace(service, settings=replace(service.settings, keyless_owner=""))
        file = tmp_path / "song.wav"
        file.write_bytes(wav())
        with served(create_app(closed)) as url:
            assert self.put(file, f"{url}/upload/song.wav")[0] == "401"
            status, headers = self.put(file, f"{url}/upload/a.wav", "-H", f"x-api-key: {key}")
        assert status == "200"
        assert service.uploads.get(self.upload_id(headers), owner="ada").file_name == "a.wav"

    def test_a_body_whose_length_nobody_says_is_refused(self, url: str, tmp_path: Path) -> None:
        file = tmp_path / "song.wav"
        file.write_bytes(wav())
        chunked = self.put(file, f"{url}/upload/song.wav", "-H", "Transfer-Encoding: chunked")
        assert chunked[0] == "400"

    @pytest.mark.parametrize(
        ("name", "size", "status"),
        [("song.txt", 1000, "400"), ("song.wav", 0, "400"), ("song.wav", 3 * MEBIBYTE, "413")],
    )
    def test_what_cannot_be_taken_is_refused_before_it_is_sent(
        self, service: Service, tmp_path: Path, name: str, size: int, status: str
    ) -> None:
        small = replace(service.settings, max_upload_bytes=2 * MEBIBYTE)
        file = tmp_path / name
        file.write_bytes(bytes(size))
        with served(create_app(replace(service, settings=small))) as url:
            assert self.put(file, f"{url}/upload/{name}")[0] == status
