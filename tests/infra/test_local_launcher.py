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

from infra.local.processes import HOST, hold
from tests.emulator import until
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
