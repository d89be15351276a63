"""The local twin, seen from outside: starting one, and finding the one that runs.

The twin writes ``twin.json`` into its state folder while it runs: its URL, its
process and the environment in which the core reaches its emulator.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearstem.errors import ClearstemError

DEFAULT_STATE: Final = Path(".clearstem")
_START_S: Final = 60.0
_STOP_S: Final = 20.0
_LOOPBACK: Final = ("127.0.0.1", "localhost")
_NO_PROXY: Final = ("no_proxy", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class RunningTwin:
    """A local server as it describes itself."""

    url: str
    pid: int
    environment: dict[str, str]


def running_twin(state: Path) -> RunningTwin:
    """The twin that keeps its state in this folder.

    Raises
    ------
    ClearstemError
        None runs.
    """
    try:
        told = json.loads((state / "twin.json").read_text())
        os.kill(told["pid"], 0)
    except (OSError, ValueError) as exc:
        raise ClearstemError(
            f"no local server runs on {state}; start one with: clearstem up"
        ) from exc
    return RunningTwin(url=told["url"], pid=told["pid"], environment=told["environment"])


def enter(environment: Mapping[str, str]) -> None:
    """Have this process, and all that it starts, call the AWS that `environment` tells of.

    Every AWS variable that the user has set goes: a profile, an endpoint of one service or a
    session token would each lead a client elsewhere, or be handed on in presigned addresses.
    What is on this machine is not asked for at a proxy. Changes ``os.environ``; to be called
    before a client is made.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(environment)
    os.environ.update(dict.fromkeys(_NO_PROXY, _without_proxy(os.environ)))


def _without_proxy(environment: Mapping[str, str]) -> str:
    """The loopback and the hosts that the user names, for either spelling.

    Python takes the lower one where both are set, others the upper one.
    """
    named = [host.strip() for key in _NO_PROXY for host in environment.get(key, "").split(",")]
    if "*" in named:  # all hosts, but for Python only where it stands alone
        return "*"
    return ",".join(dict.fromkeys([*_LOOPBACK, *filter(None, named)]))


@contextmanager
def ending_on_sigterm(status: int = 0) -> Iterator[None]:
    """Within, SIGTERM unwinds the stack as Ctrl-C does, instead of ending the process at once.

    uvicorn catches signals while it serves and raises them again when it has finished.
    """

    def end(_number: int, _frame: object) -> None:
        sys.exit(status)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def twin(*, state: Path, models: Path) -> Iterator[str]:
    """Run a twin of our own on a free port; yields its URL and stops it at the end.

    Raises
    ------
    ClearstemError
        It did not come up; the message has the end of what it said.
    """
    state.mkdir(parents=True, exist_ok=True)
    ready, log = state / "ready.json", state / "twin.log"
    command = [sys.executable, "-m", "infra.local.launcher", "--port", "0", "--state", str(state)]
    command += ["--ready-file", str(ready), "--models", str(models)]
    command += ["--parent", str(os.getpid())]  # killed, we could not end it
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603
    try:
        yield _wait_until_ready(process, ready, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", ready: Path, log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        if ready.exists():
            return str(json.loads(ready.read_text())["url"])
        time.sleep(0.05)
    said = log.read_text(errors="replace")[-2000:]
    raise ClearstemError(f"the local server did not come up:\n{said}")
