"""The console's own script, run by Node against the API and storage."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from clearstem import arrivals, part_uploads
from clearstem.jobs import Job
from clearstem.media import MEBIBYTE
from clearstem.options import DenoiseOptions
from clearstem.part_uploads import SINGLE_PUT_BYTES
from clearstem.service import Service
from functions.rest import create_app
from functions.routes import uploads
from infra import synth
from tests.serving import served
from tests.submitted import finish, submit, wav

PAGE = synth.ROOT / "functions" / "console" / "index.html"
BROWSER = Path(__file__).with_name("console_page.js")


def sent(
    service: Service,
    content: bytes,
    folder: Path,
    *,
    chosen: tuple[str, str, str] = ("separate", "spectral", "flac"),
    expired: int = 0,
    instead: tuple[str, ...] = (),
) -> dict[str, Any]:
    """What the page calls and shows when somebody sends a file by it.

    `chosen` are recipe, engine and format; `expired` is the PUT whose link is too old, from 1;
    `instead` of sending it, the page is loaded at an address and this is done.
    """
    (script,) = re.findall(r"<script>(.*?)</script>", PAGE.read_text(), re.DOTALL)
    (folder / "script.js").write_text(script)
    (folder / "song.wav").write_bytes(content)
    with served(create_app(service)) as api:
        done = subprocess.run(
            [
                synth.registry_node(),
                BROWSER,
                folder / "script.js",
                api,
                folder / "song.wav",
                *chosen,
                str(expired),
                *instead,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def called(told: dict[str, Any]) -> list[tuple[str, str]]:
    """Calls that change something, in order; ids left out."""
    return [
        (call["method"], re.sub(r"[0-9a-f-]{36}", "ID", call["path"]))
        if call["where"] == "api"
        else (call["method"], "storage")
        for call in told["calls"]
        if call["method"] != "GET"
    ]


def test_a_recording_goes_to_storage_and_not_through_the_api(
    service: Service, tmp_path: Path
) -> None:
    told = sent(service, wav(), tmp_path)
    assert told["problem"] == ""
    assert called(told) == [("POST", "/uploads"), ("PUT", "storage"), ("POST", "/jobs")]
    (job,) = service.jobs.history("local", limit=2).jobs
    assert (job.source.file_name, job.source.size_bytes) == ("song.wav", len(wav()))
    assert (job.engine.name, job.options.output_format) == ("spectral", "flac")


@pytest.mark.parametrize("output_format", ["", "mp3"])
def test_noise_is_taken_off_where_that_is_chosen(
    service: Service, tmp_path: Path, output_format: str
) -> None:
    told = sent(service, wav(), tmp_path, chosen=("denoise", "spectral", output_format))
    assert told["problem"] == ""
    (job,) = service.jobs.history("local", limit=2).jobs
    assert isinstance(job.options, DenoiseOptions)
    assert (job.engine.name, job.options.output_extension) == ("spectral", output_format or None)


def test_a_recording_that_storage_wants_in_parts_arrives_whole(
    service: Service, tmp_path: Path
) -> None:
    content = wav() + bytes(SINGLE_PUT_BYTES)
    told = sent(service, content, tmp_path)
    assert told["problem"] == ""
    parts = -(-len(content) // (16 * MEBIBYTE))
    assert called(told) == [
        ("POST", "/uploads"),
        *[("PUT", "storage")] * parts,
        ("POST", "/uploads/ID/complete"),
        ("POST", "/jobs"),
    ]
    (job,) = service.jobs.history("local", limit=2).jobs
    assert job.source.size_bytes == len(content)


def in_parts(service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch, **told: int) -> Any:
    """Send a recording of five small parts, of which a list names two."""
    monkeypatch.setattr(arrivals, "SINGLE_PUT_BYTES", 100)
    monkeypatch.setattr(part_uploads, "_LEAST_PART_BYTES", 5 * MEBIBYTE)
    monkeypatch.setattr(uploads, "_LINKS", 2)
    return sent(service, wav() + bytes(21 * MEBIBYTE), folder, **told)


@pytest.mark.parametrize(("expired", "puts"), [(0, 5), (4, 6)], ids=["good links", "one too old"])
def test_all_parts_are_sent_though_a_list_names_some_and_a_link_expires(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expired: int, puts: int
) -> None:
    told = in_parts(service, tmp_path, monkeypatch, expired=expired)
    assert told["problem"] == ""
    assert called(told).count(("PUT", "storage")) == puts
    (job,) = service.jobs.history("local", limit=2).jobs
    assert job.source.size_bytes == len(wav()) + 21 * MEBIBYTE


def test_what_storage_refuses_anew_is_told_and_not_tried_for_ever(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = in_parts(service, tmp_path, monkeypatch, expired=3)
    assert told["problem"] == "Storage refused the recording: HTTP 403"
    assert service.jobs.history("local", limit=1).jobs == ()


@pytest.mark.parametrize(("content", "problem"), [(b"", "empty"), (b"no sound at all", "wav")])
def test_a_refusal_is_shown_in_the_apis_words(
    service: Service, tmp_path: Path, content: bytes, problem: str
) -> None:
    assert problem in sent(service, content, tmp_path)["problem"]
    assert service.jobs.history("local", limit=1).jobs == ()


def reopened(service: Service, folder: Path, job: Job, *done: str) -> list[dict[str, Any]]:
    """What the page shows once it is loaded at a job's address, and after each thing done then.

    `last` is the job that it asked for last, None where it asked for none.
    """
    seen: list[dict[str, Any]] = sent(service, b"", folder, instead=(f"#{job.job_id}", *done))[
        "seen"
    ]
    return seen


@pytest.mark.parametrize("is_over", [False, True])
def test_a_page_loaded_anew_finds_its_job_once_the_key_is_typed(
    service: Service, tmp_path: Path, is_over: bool
) -> None:
    service = replace(service, settings=replace(service.settings, keyless_owner=""))
    job = submit(service, owner="ada")
    if is_over:
        finish(service, job)
    key, _ = service.accounts.create_key("ada", at=service.now())
    loaded, wrong, right = reopened(service, tmp_path, job, "key=wrong", f"key={key}")
    for refused in (loaded, wrong):
        assert "key" in refused["problem"] and refused["name"] == ""
    assert right == {"problem": "", "name": "song.wav", "last": job.job_id}


def test_a_page_shows_the_job_that_its_address_named_last(service: Service, tmp_path: Path) -> None:
    first = submit(service, file_name="first.wav")
    second = submit(service, file_name="second.wav")
    other = f"hash=#{second.job_id}"
    nobodys = f"hash=#{uuid4()}"
    one, two, none, again = reopened(service, tmp_path, first, other, nobodys, other)
    assert one == {"problem": "", "name": "first.wav", "last": first.job_id}
    assert two == again == {"problem": "", "name": "second.wav", "last": second.job_id}
    assert "not found" in none["problem"] and none["name"] == ""


def test_on_one_machine_storage_lets_the_console_send_to_it(service: Service) -> None:
    """Storage has a port of its own, which makes it another origin to a browser."""
    upload = service.intake.announce(owner="local", file_name="a.wav")
    link = service.store.presign_put(upload.location, size_bytes=4)
    origin = {"Origin": "http://127.0.0.1:8000"}
    asked = {
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type",
    }
    before = httpx.options(link, headers={**origin, **asked})
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] in ("*", origin["Origin"])
    assert "PUT" in before.headers["access-control-allow-methods"]
    allowed = before.headers["access-control-allow-headers"].lower()
    assert allowed == "*" or "content-type" in allowed
    answer = httpx.put(link, content=b"RIFF", headers=origin)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] in ("*", origin["Origin"])
