"""The console's own script, run by Node against the API and storage."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from clearstem.media import MEBIBYTE
from clearstem.options import DenoiseOptions
from clearstem.part_uploads import SINGLE_PUT_BYTES
from clearstem.service import Service
from functions.rest import create_app
from infra import synth
from tests.serving import served
from tests.submitted import wav

PAGE = synth.ROOT / "functions" / "console" / "index.html"
BROWSER = Path(__file__).with_name("console_page.js")


def sent(
    service: Service,
    content: bytes,
    folder: Path,
    *,
    chosen: tuple[str, str, str] = ("separate", "spectral", "flac"),
) -> dict[str, Any]:
    """What the page calls and shows when somebody sends a file by it.

    `chosen` are recipe, engine and format.
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


@pytest.mark.parametrize(("content", "problem"), [(b"", "empty"), (b"no sound at all", "wav")])
def test_a_refusal_is_shown_in_the_apis_words(
    service: Service, tmp_path: Path, content: bytes, problem: str
) -> None:
    assert problem in sent(service, content, tmp_path)["problem"]
    assert service.jobs.history("local", limit=1).jobs == ()


def test_on_one_machine_storage_lets_the_console_send_to_it(service: Service) -> None:
    """Storage has a port of its own, which makes it another origin to a browser."""
    intake = service.intake
    link = intake.put_link(intake.announce(owner="local", file_name="a.wav"), size_bytes=4)
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
