"""What cannot be made a job of: a clear refusal, and nothing left behind."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Scope

from clearstem.service import Service
from functions.rest import create_app
from tests.problems import refusal
from tests.submitted import wav

MEBIBYTE = 1024 * 1024
BOUNDARY = "----x"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service)) as client:
        yield client


def nothing_is_left(service: Service) -> bool:
    bucket = service.settings.uploads_bucket
    stored = service.store.client.list_objects_v2(Bucket=bucket).get("Contents", [])
    pending = service.store.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return not (stored or pending or service.jobs.history("local", limit=1).jobs)


def form_head(name: str = "a.wav") -> bytes:
    part = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return f"--{BOUNDARY}\r\n{part}\r\n\r\n".encode()


def scope(headers: dict[str, str]) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/process",
        "raw_path": b"/process",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("api", 80),
        "client": ("127.0.0.1", 5),
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }


@pytest.mark.parametrize(
    ("name", "content", "detail"),
    [
        ("a.aac", b"x", "Unsupported audio format: .aac"),
        ("song", b"x", "Unsupported audio format: (no extension)"),
        ("a.wav", b"", "a.wav is empty (0 bytes)"),
        ("a.wav", b"hello, this is text", "a.wav is not a readable audio file"),
        ("a.wav", b"hello, text " * 500_000, "a.wav is not a readable audio file"),
        ("../..", b"x", "No filename provided"),
    ],
)
def test_a_file_that_is_none_is_refused_with_400(
    api: TestClient, service: Service, name: str, content: bytes, detail: str
) -> None:
    answer = api.post("/process", files={"file": (name, content)})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail)
    assert nothing_is_left(service)


@pytest.mark.parametrize(
    "request_of",
    [
        lambda api: api.post("/process"),
        lambda api: api.post("/process", files={"file": (None, "text")}),
        lambda api: api.post("/process", files={"file": ("", b"x")}),
        lambda api: api.post("/process", content=f"--{BOUNDARY}--\r\n", headers=FORM),
        lambda api: api.post("/process", content=form_head("") + b"x", headers=FORM),
    ],
)
def test_a_form_without_a_named_file_is_the_published_400(api: TestClient, request_of) -> None:
    answer = request_of(api)
    assert refusal(answer) == (400, "No filename provided")


@pytest.mark.parametrize(
    "sent",
    [
        {"json": {"file": "song.wav"}},
        {"data": {"file": "song.wav"}},
        {"content": b"RIFF", "headers": {"content-type": "audio/wav"}},
        {"content": b"nonsense", "headers": FORM},
        {"content": form_head() + wav(), "headers": FORM},
        {"files": {"audio": ("a.wav", wav())}},
        {"files": [("file", ("a.wav", wav())), ("file", ("b.wav", wav()))]},
        {"files": {"file": ("a.wav", wav())}, "data": {"engine": "magic"}},
        {"files": {"file": ("a.wav", wav())}, "data": {"fromat": "flac"}},
        {"files": {"file": ("a.wav", wav())}, "data": {"target_lufs": "loud"}},
        {"files": {"file": ("a.wav", wav())}, "data": {"format": "x" * 5000}},
        {"files": {"file": ("a.wav", wav())}, "data": {f"f{i}": "x" for i in range(40)}},
        {"files": [("file", ("a.wav", wav())), ("engine", (None, b"\xff\xfe"))]},
    ],
)
def test_a_form_that_cannot_be_used_leaves_nothing_behind(
    api: TestClient, service: Service, sent
) -> None:
    answer = api.post("/process", **sent)
    assert refusal(answer)[0] == 400
    assert nothing_is_left(service)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd.wav", "passwd.wav"),
        ("..\\..\\windows\\song.wav", "song.wav"),
        ("/etc/song.wav", "song.wav"),
        ("Müde Straße 日本 🎵.wav", "Müde Straße 日本 🎵.wav"),
        ("x" * 400 + ".wav", "x" * 251 + ".wav"),
    ],
)
def test_a_strange_name_is_shown_and_never_part_of_a_key(
    api: TestClient, service: Service, sent: str, kept: str
) -> None:
    answer = api.post("/process", files={"file": (sent, wav())})
    assert answer.status_code == 200
    job = service.jobs.get(answer.json()["job_id"])
    assert job.source.file_name == kept
    assert job.source.location.key.endswith("/source.wav")
    assert job.source.location.key.isascii()


# What .NET and PowerShell write for "über.wav", and the half of it that others send alone.
WRITTEN_OUT = (
    "filename=\"=?utf-8?B?w7xiZXIud2F2?=\"; filename*=utf-8''%C3%BCber.wav",
    "filename*=utf-8''%C3%BCber.wav",
)


@pytest.mark.parametrize("written", WRITTEN_OUT)
@pytest.mark.parametrize(
    ("path", "field"), [("/process", "file"), ("/v1/upload", "file"), ("/api/v1/denoise", "audio")]
)
def test_every_dialect_reads_a_name_that_dotnet_writes(
    service: Service, path: str, field: str, written: str
) -> None:
    key, _ = service.accounts.create_key("local", at=service.now())
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name={field}; {written}\r\n\r\n"
    content = head.encode() + wav() + f"\r\n--{BOUNDARY}--\r\n".encode()
    with TestClient(create_app(service), headers={"x-api-key": key}) as api:
        answer = api.post(path, content=content, headers=FORM)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    kept = (
        service.uploads.get(told["fileId"], owner="local")
        if "fileId" in told
        else service.jobs.get(told.get("job_id") or told["jobId"]).source
    )
    assert kept.file_name == "über.wav"


def test_501_mb_are_refused_before_a_byte_is_read(service: Service) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        # What is read here is only thrown away: the answer is on its way.
        assert sent
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = FORM | {"content-length": str(501 * MEBIBYTE + 500)}
    asyncio.run(create_app(service)(scope(headers), receive, send))
    assert sent[0]["status"] == 413
    assert b"500 MB" in sent[1]["body"]


def test_a_body_without_a_length_is_counted_as_it_comes(service: Service) -> None:
    settings = replace(service.settings, max_upload_bytes=9 * MEBIBYTE)
    taken = 0

    def body() -> Iterator[bytes]:
        nonlocal taken
        yield form_head() + wav()
        for _ in range(20):
            taken += 1
            yield bytes(MEBIBYTE)
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    with TestClient(create_app(replace(service, settings=settings))) as api:
        answer = api.post("/process", content=body(), headers=FORM)
    assert answer.status_code == 413
    assert answer.json()["detail"] == "File is larger than the limit of 9 MB"
    assert nothing_is_left(service)


@pytest.mark.parametrize("sent_mb", [0, 12])
def test_a_client_that_goes_away_leaves_no_object_and_no_job(
    service: Service, sent_mb: int
) -> None:
    messages: list[Message] = [{"type": "http.request", "body": form_head() + wav()}]
    messages += [{"type": "http.request", "body": bytes(MEBIBYTE)} for _ in range(sent_mb)]
    coming = iter([message | {"more_body": True} for message in messages])

    async def receive() -> Message:
        return next(coming, {"type": "http.disconnect"})

    async def send(_: Message) -> None:
        pass

    asyncio.run(create_app(service)(scope(FORM), receive, send))
    assert nothing_is_left(service)
