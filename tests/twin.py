"""One local twin for all end-to-end tests, twins to be killed, and a short song to send them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from websockets.sync.client import connect

from clearstem.client import Client
from clearstem.settings import Settings
from clearstem.twin import running_twin, twin


@dataclass(frozen=True)
class Twin:
    """A running twin: its URL, its state folder, and the way to its emulator."""

    url: str
    state: Path

    @property
    def environment(self) -> dict[str, str]:
        return running_twin(self.state).environment

    @property
    def settings(self) -> Settings:
        return Settings.from_env(self.environment)

    def client(self, name: Any) -> Any:
        env = self.environment
        session = boto3.Session(
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            region_name=env["AWS_DEFAULT_REGION"],
        )
        return session.client(name, endpoint_url=env["AWS_ENDPOINT_URL"])

    def socket_url(self, path: str) -> str:
        return self.url.replace("http://", "ws://") + path

    def finished(self, job_id: str) -> dict[str, Any]:
        with Client(self.url) as client:
            *_, job = client.watch(job_id)
            return job

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "clearstem.cli", *arguments]
        env = {**os.environ, "CLEARSTEM_URL": self.url}
        return subprocess.run(program, capture_output=True, text=True, env=env, check=False)


def alive(pid: int) -> bool:
    """Whether the process is there and not only its ending untold."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


class Launched:
    """A twin whose process is ours to kill."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state = state
        ready = state / "ready.json"
        ready.unlink(missing_ok=True)
        state.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "infra.local.launcher", "--port", "0"]
        command += ["--state", str(state), "--models", str(state / "models")]
        command += ["--ready-file", str(ready), *options]
        with (state / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(self.said())
            time.sleep(0.05)
        told = json.loads(ready.read_text())
        assert told["pid"] == self.process.pid
        self.url: str = told["url"]

    def said(self) -> str:
        return (self.state / "log").read_text()[-3000:]

    @property
    def emulator_pid(self) -> int:
        return int(json.loads((self.state / "emulator.json").read_text())["pid"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0, self.said()


@pytest.fixture(scope="session")
def local_twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    folder = tmp_path_factory.mktemp("twin")
    with twin(state=folder / "state", models=folder / "models") as url:
        yield Twin(url, folder / "state")


@pytest.fixture(scope="session")
def song_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("songs") / "song.wav"
    command = [sys.executable, "-m", "containers.audio.song", str(path), "3"]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="session")
def watched_job(local_twin: Twin, song_file: Path) -> list[dict[str, Any]]:
    """A separation of the song as it was answered and then told by a socket, up to its end.

    It leaves its result for those who send the song again and let it be answered at once.
    """
    with Client(local_twin.url) as client:
        job: dict[str, Any] = dict(client.separate(song_file))
    assert not job["cache"]["hit"], "a test sent the song before; let it ask for this fixture"
    with connect(local_twin.socket_url(f"/v1/wss/job/{job['job_id']}")) as socket:
        return [job, *map(json.loads, socket)]  # the server closes after the last


@pytest.fixture(scope="session")
def finished_job(watched_job: list[dict[str, Any]]) -> dict[str, Any]:
    done = watched_job[-1]
    assert done["status"] == "completed", done["error"]
    return done
