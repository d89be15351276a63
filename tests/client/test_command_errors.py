"""What commands say on stderr, in one line, where they come to nothing."""

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from clearstem import cli
from clearstem.client.downloading import PartialFile
from clearstem.service import Service
from clearstem.terminal import JobBars
from functions.rest import create_app
from tests.client.scripted import Says, Scripted
from tests.serving import served
from tests.submitted import finish, submit, wav


@pytest.fixture
def core(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The core of a server that commands find, with a good key."""
    core = replace(service, settings=replace(service.settings, keyless_owner=""))
    with served(create_app(core)) as url:
        monkeypatch.setenv("CLEARSTEM_URL", url)
        monkeypatch.setenv("CLEARSTEM_KEY", core.accounts.create_key("ada", at=core.now())[0])
        yield core


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.wav"
    path.write_bytes(wav())
    return path


def failed(*arguments: str, code: int = 1) -> str:
    """The one line that a command fails with."""
    done = CliRunner().invoke(cli.app, list(arguments))
    assert done.exit_code == code, done.output
    (line,) = done.stderr.splitlines()
    return line.removeprefix("error: ")


def misused(*arguments: str) -> str:
    """What is said of arguments that are none, in its frame, as one line."""
    done = CliRunner().invoke(cli.app, list(arguments))
    assert done.exit_code == 2, done.output
    return " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    "command", ["status", "watch", "download", "cancel", "retry", "amend", "delete", "events"]
)
def test_a_job_that_is_not_there_is_named(core: Service, command: str) -> None:
    job_id = str(uuid4())
    told = failed(command, job_id)
    assert told.startswith(f"Job not found: {job_id};") and "clearstem list" in told


@pytest.mark.parametrize("key", ["wrong", "cs_wrong"])
def test_a_key_that_is_refused_is_told_with_where_one_is_given(core: Service, key: str) -> None:
    told = failed("usage", "--key", key)
    assert "API key" in told and "--key" in told and "CLEARSTEM_KEY" in told


@pytest.mark.parametrize("key", ["ключ", "two\nlines", " cs_key", "cs_key "])
def test_a_key_that_no_header_can_hold_is_not_shown(core: Service, key: str) -> None:
    told = failed("usage", "--key", key)
    assert "printable ASCII" in told and key.strip() not in told


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Says(200, b"<html>\nWelcome</html>"), "<html>"),
        (Says(200, [1]), "[1]"),
        (Says(404, b"<html>\nno such page</html>"), "HTTP 404 Not Found"),
        (Says(405), "HTTP 405 Method Not Allowed"),
        (Says(500, [1]), "HTTP 500 Internal Server Error"),
    ],
)
def test_a_server_that_is_none_of_ours_is_told(server: Scripted, answer: Says, said: str) -> None:
    server.on("GET", "/usage", answer)
    told = failed("usage", "--url", server.url)
    assert said in told
    if answer.status == 200:
        assert server.url in told and "--url" in told
    elif answer.body:
        assert "than a clearstem server's: " in told


def test_no_server_is_told_with_how_to_start_one(song: Path) -> None:
    told = failed("status", "any", "--url", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in told and "clearstem up" in told


def test_a_recording_without_a_byte_is_told(core: Service, song: Path) -> None:
    song.write_bytes(b"")
    assert "empty" in failed("separate", str(song))


@pytest.mark.parametrize("command", ["separate", "denoise", "demo"])
def test_a_recording_that_is_a_folder_or_not_there_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "a").mkdir()
    assert "is a directory" in misused(command, str(tmp_path / "a"))
    assert "does not exist" in misused(command, str(tmp_path / "b"))


def test_a_folder_for_tracks_that_is_a_file_is_told_before_there_is_a_job(
    core: Service, song: Path
) -> None:
    told = misused("separate", str(song), "--output", str(song))
    assert "--output" in told and "is a file" in told
    assert core.jobs.history("ada", limit=1).jobs == ()


def ended(core: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command find its job completed as soon as it looks: nothing works on jobs here."""

    def follow(_: Any, client: Any, job: Any) -> Any:
        finish(core, core.jobs.get(job["job_id"]))
        return client.job(job["job_id"])

    monkeypatch.setattr(cli, "follow", follow)


def test_tracks_that_cannot_be_written_can_be_fetched_once_more(
    core: Service, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(core, monkeypatch)
    told = failed("separate", str(song), "--output", str(song / "out"))
    (job,) = core.jobs.history("ada", limit=2).jobs
    assert str(song / "out") in told and f"clearstem download {job.job_id} --output" in told


def test_a_full_disk_is_told_with_the_file_that_does_not_fit(
    core: Service, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finish(core, submit(core, owner="ada"))

    def full(_: PartialFile, __: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PartialFile, "append", full)
    told = failed("download", job.job_id, "--output", str(tmp_path / "out"), "--track", "main")
    assert "No space left" in told and str(tmp_path / "out" / ".main.") in told


def test_a_failed_job_is_told_with_its_reason(
    core: Service, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = {"code": "NoAudio", "message": "no frames", "stage": None}
    monkeypatch.setattr(
        cli, "follow", lambda _, __, job: {**job, "status": "failed", "error": error}
    )
    told = failed("separate", str(song))
    (job,) = core.jobs.history("ada", limit=2).jobs
    assert told == f"job {job.job_id} failed: no frames"


def test_a_job_that_is_watched_no_more_goes_on_and_is_named(
    core: Service, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(JobBars, "show", interrupt)
    job_id = submit(core, owner="ada").job_id
    done = CliRunner().invoke(cli.app, ["watch", job_id])
    assert done.exit_code == 130
    assert f"job {job_id} goes on at the server" in done.stderr
    done = CliRunner().invoke(cli.app, ["denoise", str(song)])
    assert done.exit_code == 130
    assert "goes on at the server; see clearstem watch " in done.stderr
    assert len(core.jobs.history("ada", limit=3).jobs) == 2
