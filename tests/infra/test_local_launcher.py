"""The twin as one command: it comes up, says where, comes up once only, and leaves nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clearstem.client import Client
from infra.local.processes import HOST, hold
from tests.emulator import until
from tests.stranger import Stranger
from tests.submitted import wav
from tests.twin import alive


class Launcher:
    """The launcher as a process."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.ready = folder / "ready.json"
        self.output = folder / "output"
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *options: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "infra.local.launcher", "--state", str(self.state)]
        command += ["--ready-file", str(self.ready), *options]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        return self.process

    def start(self) -> str:
        """Start it on any port; its URL once it answers."""
        self.ready.unlink(missing_ok=True)
        process = self.run("--port", "0")
        until(lambda: self.ready.exists() or process.poll() is not None, timeout_s=30)
        assert self.ready.exists(), self.output.read_text()
        return str(json.loads(self.ready.read_text())["url"])

    def told(self) -> dict[str, Any]:
        """What the state folder says of the running twin."""
        return dict(json.loads((self.state / "twin.json").read_text()))

    def emulator_pid(self) -> int:
        return int(json.loads((self.state / "emulator.json").read_text())["pid"])

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path)
    yield launcher
    if launcher.process is not None and launcher.process.poll() is None:
        launcher.end(signal.SIGKILL)


def get(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.loads(answer.read())


def test_the_twin_ends_with_its_emulator_keeps_its_state_and_ends_whole(launcher: Launcher) -> None:
    url = launcher.start()
    get(f"{url}/health")
    told = launcher.told()
    assert (told["url"], told["pid"]) == (url, json.loads(launcher.ready.read_text())["pid"])
    assert told["environment"]["CLEARSTEM_KEYLESS_OWNER"] == "local"
    push_url = told["environment"]["CLEARSTEM_WEBSOCKET_URL"]
    assert push_url.startswith(f"http://{HOST}:")
    table = told["environment"]["CLEARSTEM_TABLE"]

    os.kill(launcher.emulator_pid(), signal.SIGKILL)
    assert launcher.process is not None
    assert launcher.process.wait(20) == 1
    assert "the emulator ended" in launcher.output.read_text()

    url = launcher.start()
    get(f"{url}/health")
    assert launcher.told()["environment"]["CLEARSTEM_TABLE"] == table

    emulator = launcher.emulator_pid()
    assert launcher.end(signal.SIGTERM) == 0
    assert not alive(emulator)
    assert not (launcher.state / "twin.json").exists()


def test_neither_the_users_own_aws_nor_a_proxy_hears_of_the_twin(
    launcher: Launcher, proxy: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = {
        "AWS_PROFILE": "mine",
        "AWS_ACCESS_KEY_ID": "AKIAMINE",
        "AWS_SECRET_ACCESS_KEY": "mine",
        "AWS_SESSION_TOKEN": "mine",
        "AWS_DEFAULT_REGION": "eu-mine-1",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_ENDPOINT_URL_S3": proxy.url,
        "AWS_ENDPOINT_URL_DYNAMODB": proxy.url,
        "AWS_ENDPOINT_URL_LAMBDA": proxy.url,
        "AWS_ENDPOINT_URL_STATES": proxy.url,
    }
    for name, value in users.items():
        monkeypatch.setenv(name, value)
    whole_turn(launcher, tmp_path)
    told = launcher.told()["environment"]
    assert not [name for name, value in users.items() if told.get(name) == value]
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN"} & set(told)
    assert proxy.asked == []


def whole_turn(launcher: Launcher, folder: Path) -> None:
    """Whatever calls AWS: the edge, functions, a job's stages, and commands beside the server."""
    url = launcher.start()
    recording = folder / "song.wav"
    recording.write_bytes(wav())
    with Client(url) as client:
        *_, job = client.watch(client.denoise(recording, {"engine": "spectral"})["job_id"])
        assert job["status"] == "completed", job
        client.download(job, "clean", to=folder / "clean.wav")
    for command in (("keys", "create", "ada"), ("invoke", "sweep", "events/schedule_sweep.json")):
        program = [sys.executable, "-m", "clearstem.cli", *command, "--state", str(launcher.state)]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_port_that_is_taken_is_said_to_be(launcher: Launcher) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert launcher.run("--port", port).wait(20) == 1
    assert f"port {port} of {HOST} is taken" in launcher.output.read_text()


def test_a_state_folder_in_use_is_said_to_be(launcher: Launcher) -> None:
    with hold(launcher.state / "twin.lock"):
        assert launcher.run("--port", "0").wait(20) == 1
    assert "another local server already runs" in launcher.output.read_text()
