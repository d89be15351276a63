"""The operator's first command against a deployment."""

import wave
from pathlib import Path

import pytest

from clearstem.client import Client
from clearstem.smoke import SmokeFailed, smoke, write_song
from tests.twin import Twin


def test_a_working_server_passes_and_says_what_was_done(local_twin: Twin) -> None:
    done = local_twin.command("smoke")
    assert done.returncode == 0, done.stderr
    assert "it answers" in done.stdout and "came back whole" in done.stdout


def test_no_server_is_told_in_one_line(local_twin: Twin) -> None:
    done = local_twin.command("smoke", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "no server answers" in done.stderr and "Traceback" not in done.stderr


class Answering(Client):
    """A server that answers what a test says."""

    def __init__(self, job: dict[str, object]) -> None:
        super().__init__("http://127.0.0.1:9")
        self._job = job

    def config(self) -> dict[str, object]:
        return {"separator": {"engine": "spectral"}}

    def separate(self, *_: object) -> dict[str, object]:
        return {"job_id": "x"}

    def watch(self, _: str):
        yield self._job


def test_a_server_whose_job_fails_does_not_pass() -> None:
    job = {"status": "failed", "error": "no sound"}
    with Answering(job) as client, pytest.raises(SmokeFailed, match="no sound"):
        smoke(client, say=lambda _: None)


def test_the_sound_is_two_seconds_of_stereo_with_something_in_it(tmp_path: Path) -> None:
    write_song(tmp_path / "song.wav")
    with wave.open(str(tmp_path / "song.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 44_100, 88_200)
        assert len(set(file.readframes(1000))) > 50
