"""Recordings on their way into storage, by the real API and its links."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from clearstem import arrivals, part_uploads
from clearstem.client import AsyncClient, BadRequest, FileChanged, NotAllowed, UploadStalled
from clearstem.client.asyncio_io import AsyncioIo
from clearstem.client.blocking_io import BlockingIo, run
from clearstem.client.calls import Answer, Call
from clearstem.service import Service
from functions.rest import create_app
from tests.client.driven import QUICK, Driven
from tests.client.scripted import Asked, Says, Scripted
from tests.serving import served
from tests.submitted import wav

MEBIBYTE = 1024 * 1024
DATA = wav() + os.urandom(12 * MEBIBYTE)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 5 MiB, the least that storage takes, for what is above 10."""
    monkeypatch.setattr(arrivals, "SINGLE_PUT_BYTES", 10 * MEBIBYTE)
    monkeypatch.setattr(part_uploads, "_LEAST_PART_BYTES", 5 * MEBIBYTE)


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    with served(create_app(service)) as address:
        yield address


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.wav"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("recipe", ["separate", "denoise"])
def test_a_recording_may_be_named_by_text(
    client: Driven, url: str, song: Path, tmp_path: Path, recipe: str
) -> None:
    client.state_dir = str(tmp_path / "unfinished")  # written to, since it goes in parts
    job = client.call(url, recipe, str(song))
    assert (job["file_name"], job["recipe"]) == (song.name, recipe)
    assert client.call(url, "upload", os.fspath(song))


class Interrupted(BaseException):
    """Ctrl-C, say."""


class Counted:
    """Counts the parts that pass, and is interrupted before one more than it lets through."""

    def __init__(self, *, lets: int = 100) -> None:
        super().__init__()
        self.parts: list[int] = []
        self._lets = lets

    async def exchange(self, call: Call) -> Answer:
        if call.method == "PUT":
            if len(self.parts) == self._lets:
                raise Interrupted
            self.parts.append(int(parse_qs(urlsplit(call.url).query)["partNumber"][0]))
        answer: Answer = await super().exchange(call)  # type: ignore[misc]
        return answer


class CountedBlocking(Counted, BlockingIo):
    pass


class CountedAsyncio(Counted, AsyncioIo):
    pass


def sent(kind: str, url: str, path: Path, *, state_dir: Path, lets: int = 100) -> tuple[Any, Any]:
    """What an upload by either driver gives, None if it was interrupted, and the parts sent."""

    async def upload(io: Any) -> str:
        async with AsyncClient(url, state_dir=state_dir, retry=QUICK, io=io) as client:
            return await client.upload(path)

    io = CountedAsyncio(lets=lets) if kind == "async" else CountedBlocking(lets=lets)
    try:
        return (asyncio.run if kind == "async" else run)(upload(io)), io.parts  # type: ignore[operator]
    except Interrupted:
        return None, io.parts


def stored(service: Service, upload_id: str) -> bytes:
    upload = service.uploads.get(upload_id, owner="local")
    return b"".join(service.store.chunks(upload.location))


def test_a_small_recording_goes_by_one_put_bound_to_its_content(
    client: Driven, url: str, service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "small.wav"
    path.write_bytes(wav())
    upload_id = client.call(url, "upload", path)
    assert stored(service, upload_id) == wav()
    job = client.call(url, "submit", upload_id, labels={"take": "2"}, retention_hours=5)
    assert (job["file_name"], job["labels"]) == ("small.wav", {"take": "2"})
    assert job["expires_at"] is not None
    assert not client.state_dir.exists()


def test_a_large_recording_goes_in_parts(
    client: Driven, url: str, service: Service, song: Path
) -> None:
    upload_id, parts = sent(client.kind, url, song, state_dir=client.state_dir)
    assert parts == [1, 2, 3]
    assert stored(service, upload_id) == DATA
    assert list(client.state_dir.iterdir()) == []


def test_an_interrupted_upload_sends_the_missing_parts_alone(
    client: Driven, url: str, service: Service, song: Path
) -> None:
    state = client.state_dir
    assert sent(client.kind, url, song, state_dir=state, lets=2) == (None, [1, 2])
    upload_id, parts = sent(client.kind, url, song, state_dir=state)
    assert parts == [3]
    assert stored(service, upload_id) == DATA


def test_an_upload_that_was_completed_unheard_is_not_sent_again(
    client: Driven, url: str, service: Service, song: Path
) -> None:
    state = client.state_dir
    sent(client.kind, url, song, state_dir=state, lets=2)
    entry = next(state.iterdir())
    upload_id, _ = sent(client.kind, url, song, state_dir=state)
    entry.write_text(upload_id)  # as if the answer to its completion had been lost
    assert sent(client.kind, url, song, state_dir=state) == (upload_id, [])


def test_an_upload_that_storage_has_forgotten_begins_anew(
    client: Driven, url: str, service: Service, song: Path
) -> None:
    state = client.state_dir
    sent(client.kind, url, song, state_dir=state, lets=2)
    forgotten = next(state.iterdir()).read_text()
    upload = service.uploads.get(forgotten, owner="local")
    service.store.in_parts.abandon(upload.location, upload.parts)
    upload_id, parts = sent(client.kind, url, song, state_dir=state)
    assert (upload_id != forgotten, parts) == (True, [1, 2, 3])


def test_a_file_that_changed_is_not_mixed_with_what_it_was(
    client: Driven, url: str, service: Service, song: Path
) -> None:
    state = client.state_dir
    sent(client.kind, url, song, state_dir=state, lets=2)
    other = DATA[:-10] + b"0123456789"
    song.write_bytes(other)
    os.utime(song, ns=(1, 1))
    upload_id, parts = sent(client.kind, url, song, state_dir=state)
    assert parts == [1, 2, 3]
    assert stored(service, upload_id) == other


def test_what_the_server_does_not_take_is_told_before_it_is_sent(
    client: Driven, service: Service, song: Path
) -> None:
    small = replace(service.settings, max_upload_bytes=MEBIBYTE)
    with (
        served(create_app(replace(service, settings=small))) as url,
        pytest.raises(BadRequest, match="limit is 1 MB") as refused,
    ):
        client.call(url, "upload", song)
    assert refused.value.status == 413


class TestScripted:
    """What only another storage than ours does."""

    def parts(self, server: Scripted, *, stored: list[int]) -> dict[str, Any]:
        missing = [n for n in (1, 2) if n not in stored]
        return {
            "part_bytes": 6,
            "count": 2,
            "stored": stored,
            "missing": [
                {"number": n, "size_bytes": 6 if n == 1 else 4, "url": f"{server.url}/s3/{n}"}
                for n in missing
            ],
        }

    def announce(self, server: Scripted) -> None:
        document = {
            "upload_id": "u-1",
            "put": {"url": "", "headers": {}},
            "parts": self.parts(server, stored=[]),
            "expires_in_s": 3600,
            "max_bytes": 1 << 30,
        }
        server.on("POST", "/uploads", Says(200, document))
        server.on("POST", "/uploads/u-1/complete", Says(200, {"upload_id": "u-1", "size_bytes": 9}))

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "a.wav"
        path.write_bytes(b"0123456789")
        return path

    def test_a_link_that_ran_out_is_asked_for_anew(
        self, client: Driven, server: Scripted, file: Path
    ) -> None:
        self.announce(server)
        expired = Says(403, b"<Error><Code>AccessDenied</Code><Message>Expired</Message></Error>")
        server.on("PUT", "/s3/1", Says(503), Says(200))
        server.on("PUT", "/s3/2", expired, Says(200))
        listed = (self.parts(server, stored=[1]), self.parts(server, stored=[1, 2]))
        server.on("GET", "/uploads/u-1/parts", *(Says(200, parts) for parts in listed))
        assert client.call(server.url, "upload", file, key="cs_secret") == "u-1"
        bodies = [asked.body for asked in server.asked if asked.method == "PUT"]
        assert bodies == [b"012345", b"012345", b"6789", b"6789"]
        # The link is the permission; the key is the API's alone.
        puts = [asked for asked in server.asked if asked.method == "PUT"]
        assert not any("x-api-key" in asked.headers for asked in puts)

    def test_a_refusal_of_storage_is_told_in_its_words(
        self, client: Driven, server: Scripted, file: Path
    ) -> None:
        self.announce(server)
        body = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
        server.on("PUT", "/s3/1", Says(403, body, {"x-amz-request-id": "S3R"}))
        server.on("GET", "/uploads/u-1/parts", Says(200, self.parts(server, stored=[])))
        with pytest.raises(NotAllowed, match="Request has expired") as refused:
            client.call(server.url, "upload", file)
        assert (refused.value.name, refused.value.request_id) == ("AccessDenied", "S3R")

    def test_a_storage_that_keeps_nothing_is_not_fed_for_ever(
        self, client: Driven, server: Scripted, file: Path
    ) -> None:
        self.announce(server)
        server.on("PUT", "/s3/1", Says(200))
        server.on("PUT", "/s3/2", Says(200))
        server.on("GET", "/uploads/u-1/parts", Says(200, self.parts(server, stored=[])))
        with pytest.raises(UploadStalled, match="0 of 2 parts"):
            client.call(server.url, "upload", file)

    @pytest.mark.parametrize("content", [b"01234567", b"abcdefghijklm"])
    def test_a_file_that_is_written_to_meanwhile_is_no_recording(
        self, client: Driven, server: Scripted, file: Path, content: bytes
    ) -> None:
        self.announce(server)

        def changing(_: Asked) -> Says:
            file.write_bytes(content)
            return Says(200)

        server.on("PUT", "/s3/1", changing)
        server.on("PUT", "/s3/2", Says(200))
        server.on("GET", "/uploads/u-1/parts", Says(200, self.parts(server, stored=[1, 2])))
        with pytest.raises(FileChanged, match=r"a\.wav"):
            client.call(server.url, "upload", file)
        assert server.of("POST", "/uploads/u-1/complete") == []
