"""What the README tells a new user to type, typed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from clearstem.cli import app
from clearstem.client import Client
from infra.local.processes import free_port
from tests.emulator import until
from tests.receiver import receiving
from tests.twin import Twin

README = Path(__file__).resolve().parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


def test_the_curl_commands_work(
    local_twin: Twin, finished_job: dict[str, Any], song_file: Path, tmp_path: Path
) -> None:
    shutil.copy(song_file, tmp_path / "song.wav")
    block = next(b for b in blocks("sh") if "curl" in b)
    script = block.replace("http://localhost:8000", local_twin.url)
    done = subprocess.run(
        ["bash", "-c", 'set -e\ncurl() { command curl --fail --silent "$@"; }\n' + script],
        cwd=tmp_path,
        env={"JOB": finished_job["job_id"], "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "vocals.wav").read_bytes()[:4] == b"RIFF"
    assert (tmp_path / "tracks.zip").read_bytes()[:2] == b"PK"


def test_the_websocket_example_prints_the_job(
    local_twin: Twin, finished_job: dict[str, Any]
) -> None:
    example = next(b for b in blocks("python") if "connect(" in b)
    program = f"job_id = {finished_job['job_id']!r}\n" + example.replace(
        "ws://localhost:8000", local_twin.url.replace("http", "ws")
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["100.0", "completed"], done.stderr


def run_python(program: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program elsewhere, with the clearstem of this working tree."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(README.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_blocking_clients_example_brings_nine_tracks(
    local_twin: Twin, song_file: Path, tmp_path: Path
) -> None:
    shutil.copy(song_file, tmp_path / "song.wav")
    example = next(b for b in blocks("python") if "import Client" in b)
    done = run_python(example.replace("http://localhost:8000", local_twin.url), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *told, last = done.stdout.splitlines()
    assert told[-1] == "100 %, told by websocket"
    assert len(told) >= 4
    assert last.startswith("9 tracks are here, ")
    assert {path.read_bytes()[:4] for path in (tmp_path / "out").iterdir()} == {b"fLaC"}
    with Client(local_twin.url) as client:
        assert list(client.jobs(labels={"album": "Demos"})) == []


def test_the_asynchronous_clients_example_cleans_a_recording(
    local_twin: Twin, song_file: Path, tmp_path: Path
) -> None:
    shutil.copy(song_file, tmp_path / "talk.wav")
    example = next(b for b in blocks("python") if "import AsyncClient" in b)
    done = run_python(example.replace("http://localhost:8000", local_twin.url), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "100 %"
    assert (tmp_path / "clean.wav").read_bytes()[:4] == b"RIFF"


@pytest.mark.usefixtures("finished_job")
def test_the_webhook_commands_tell_what_happens_to_a_job(
    local_twin: Twin, song_file: Path, tmp_path: Path
) -> None:
    shutil.copy(song_file, tmp_path / "song.wav")
    block = next(b for b in blocks("sh") if "webhooks verify" in b)
    port = str(free_port())
    secret, verify, send = (
        block.replace("http://localhost:8000", local_twin.url)
        .replace("9000", port)
        .replace(".venv/bin/clearstem", f"{sys.executable} -m clearstem.cli")
        .splitlines()
    )
    script = f"""set -e
curl() {{ command curl --fail --silent --show-error "$@"; }}
{secret}
{verify} > told.txt &
trap "kill $!" EXIT
until grep -q Register told.txt; do sleep 0.1; done
{send} > sent.json
for _ in $(seq 600); do grep -q job.succeeded told.txt && exit; sleep 0.1; done
exit 1"""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(README.parent),
            "PYTHONUNBUFFERED": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (tmp_path / "told.txt").read_text() + done.stderr
    job_id = json.loads((tmp_path / "sent.json").read_text())["job_id"]
    assert f"job.queued {job_id}" in " ".join((tmp_path / "told.txt").read_text().split())


@pytest.mark.usefixtures("finished_job")
def test_the_receivers_line_verifies_a_message(local_twin: Twin, song_file: Path) -> None:
    example = next(b for b in blocks("python") if "standardwebhooks" in b)
    secret = httpx.get(f"{local_twin.url}/webhooks/callbacks").json()["secret"]
    with receiving() as receiver, song_file.open("rb") as song:
        answer = httpx.post(
            f"{local_twin.url}/process", files={"file": song}, data={"callback_url": receiver.url}
        )
        until(receiver.has(1), timeout_s=30)
        message = receiver.messages[0]
    given = f"secret, body, headers = {secret!r}, {message.body!r}, {message.headers!r}\n"
    done = subprocess.run([sys.executable, "-c", given + example], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == answer.json()["job_id"]


@pytest.mark.usefixtures("finished_job")
def test_the_command_with_a_key_of_its_own_makes_one_job_however_often(
    local_twin: Twin, song_file: Path, tmp_path: Path
) -> None:
    shutil.copy(song_file, tmp_path / "song.wav")
    block = next(b for b in blocks("sh") if "Idempotency-Key" in b)
    command = block.replace("http://localhost:8000", local_twin.url)
    done = subprocess.run(
        ["bash", "-c", f"set -e\n{command}echo\n{command}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first["job_id"] == second["job_id"]


def test_every_command_the_readme_names_exists() -> None:
    told = re.findall(
        r"clearstem ((?:keys |models |webhooks )?[a-z]+)(?=[ `\n])", "\n".join(blocks("sh"))
    )
    assert len(told) >= 5
    for command in told:
        assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0, command


def test_the_command_that_goes_round_the_cache_has_the_song_worked_on(
    local_twin: Twin, song_file: Path, tmp_path: Path
) -> None:
    shutil.copy(song_file, tmp_path / "song.wav")
    block = next(b for b in blocks("sh") if "cache=false" in b)
    command = block.replace("http://localhost:8000", local_twin.url)
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    job = json.loads(done.stdout)
    httpx.post(f"{local_twin.url}/job/{job['job_id']}/cancel")
    assert (job["status"], job["cache"]["hit"]) == ("processing", False)
