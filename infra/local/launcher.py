"""The local twin as one command: the emulator, the template deployed on it, and the edge.

The emulator is a process of its own, because it and the edge would otherwise take turns at one
interpreter lock. It ends when this process does. What is kept is kept in the state folder.
"""

import argparse
import contextlib
import http.client
import importlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import uvicorn

from clearstem.twin import ending_on_sigterm, enter
from infra.local import edge
from infra.local.deploy import (
    REPOSITORY,
    DeploymentError,
    Target,
    deploy,
    read_snapshot,
    stack_outputs,
)
from infra.local.emulator import ACCOUNT, REGION
from infra.local.guard import AsgiApp
from infra.local.processes import HOST, end, end_with, free_port, hold, write_ready_file

DEFAULT_PORT: Final = 8000
DEFAULT_STATE: Final = Path(".clearstem")
KEYLESS_OWNER: Final = "local"
_START_S, _STOP_S, _HEALTH_S = 30.0, 20.0, 30.0
_OIDC = ("OidcIssuer", "OidcAudience", "OidcJwksUrl")  # parameters of the template
# As whom and where this process calls AWS; at what address, the emulator tells.
_ENVIRONMENT: Final = {
    "AWS_ACCESS_KEY_ID": ACCOUNT,
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "POWERTOOLS_TRACE_DISABLED": "true",
}
# Imported while the emulator starts, since the two take about the same time.
_IMPORTED_EARLY = ("clearstem.service", "functions.rest")
# Functions that somebody waits for: those between a change and the socket that shows it.
_WAITED_FOR = tuple(f"functions.{name}.handler" for name in ("push", "authorizer", "websocket"))


class TwinError(RuntimeError):
    """The twin cannot be started, for a reason that the user can do something about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinSettings:
    """What a user decides about the twin.

    Attributes
    ----------
    port
        Of the edge, on 127.0.0.1; 0 takes any free one.
    require_key
        Refuse callers without an API key; otherwise they are the owner ``local``.
    models_dir
        Folder in which the stages look for weights.
    model
        The separation model to use; empty: htdemucs where its file is found.
    ready_file
        Written with ``{"url", "pid"}`` once ``/health`` answers.
    allowed_origins
        Browser origins that may change things, besides loopback ones.
    oidc
        Issuer, audience and address of the keys of bearer tokens; all empty: none are taken.
    parent
        The process that started this one, and with which it ends; None: it stays.
    """

    port: int = DEFAULT_PORT
    state_dir: Path = DEFAULT_STATE
    require_key: bool = False
    models_dir: Path | None = None
    model: str = ""
    ready_file: Path | None = None
    allowed_origins: tuple[str, ...] = ()
    oidc: tuple[str, str, str] = ("", "", "")
    parent: int | None = None


def serve(settings: TwinSettings) -> None:
    """Run the twin until SIGTERM or SIGINT, then end its processes and save its state.

    Raises
    ------
    TwinError
        The port or the state folder is taken, or a part of the twin did not start.
    """
    enter(_ENVIRONMENT)
    if settings.parent is not None:
        end_with(settings.parent)
    state = settings.state_dir.resolve()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        ending_on_sigterm(),
        _only_twin_of(state),
        _listening(settings.port) as listener,
        _emulator(state, settings.allowed_origins) as emulator,
    ):
        outputs = _deployed(settings, emulator)
        _control(emulator, "snapshot")
        os.environ.update(_environment(emulator, outputs))
        app = edge.create_edge(
            edge.create_http_app(),
            websockets=edge.WebSocketTarget(_websocket_url(emulator, outputs, scheme="ws")),
            allowed_origins=settings.allowed_origins,
        )
        _control(emulator, f"warm?{urlencode([('handler', name) for name in _WAITED_FOR])}")
        _control(emulator, "resume")
        _serve_edge(app, listener, settings=settings, emulator=emulator)


@dataclass(frozen=True, slots=True)
class _RunningEmulator:
    """The emulator's process and where it answers."""

    process: "subprocess.Popen[bytes]"
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@contextmanager
def _only_twin_of(state: Path) -> Iterator[None]:
    try:
        lock = hold(state / "twin.lock")
    except BlockingIOError as exc:
        raise TwinError(f"another local server already runs on the state folder {state}") from exc
    with lock:
        try:
            yield
        finally:
            (state / "twin.json").unlink(missing_ok=True)


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """The edge's socket, taken before anything is started."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as exc:
            raise TwinError(
                f"port {port} of {HOST} is taken ({exc.strerror}); choose another with --port"
            ) from exc
        listener.listen(128)  # a client that comes early waits instead of being refused
        yield listener


@contextmanager
def _emulator(state: Path, allowed_origins: tuple[str, ...]) -> Iterator[_RunningEmulator]:
    """The emulator's process, ready to be called; ended and waited for at the end."""
    port, ready = _emulator_port(state), state / "emulator.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "infra.local.emulator", "--parent", str(os.getpid())]
    command += ["--port", str(port), "--state", str(state), "--ready-file", str(ready)]
    for origin in allowed_origins:
        command += ["--allow-origin", origin]
    with (state / "emulator.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            cwd=REPOSITORY,
            env={key: os.environ[key] for key in os.environ if not key.startswith("CLEARSTEM_")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for this process, which then ends the emulator
        )
    try:
        for module in _IMPORTED_EARLY:
            importlib.import_module(module)
        _wait_for(ready, process, log=state / "emulator.log")
        yield _RunningEmulator(process, port)
    finally:
        end(process, patience_s=_STOP_S)


def _emulator_port(state: Path) -> int:
    """The port it had before, if it is free: then functions keep their environment."""
    try:
        port = int(json.loads((state / "emulator.json").read_text(encoding="utf-8"))["port"])
        with socket.socket() as probe:
            probe.bind((HOST, port))
    except (OSError, ValueError, KeyError):
        return free_port()
    return port


def _wait_for(ready: Path, process: "subprocess.Popen[bytes]", *, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise TwinError(f"the emulator did not start:\n{said}")
        time.sleep(0.01)


def _deployed(settings: TwinSettings, emulator: _RunningEmulator) -> dict[str, str]:
    """Deploy the committed template; its outputs.

    The functions are told the WebSocket API's address on this machine, which is only known once
    the API exists: the very first deployment is followed by a second.
    """
    template, assets = read_snapshot()
    target = Target(emulator.url)
    parameters = {
        "KeylessOwner": "" if settings.require_key else KEYLESS_OWNER,
        "ModelsDir": str(settings.models_dir.resolve()) if settings.models_dir else "",
        "SeparatorModel": settings.model,
        # The machine that tasks run on is this one, whatever it has.
        "SeparatorDevice": "auto",
        **dict(zip(_OIDC, settings.oidc, strict=True)),
        # Batch has slots here, and ends its job when an execution is stopped; functions do not.
        "StageFunctions": "off",
    }
    if not settings.require_key:
        parameters["RatePerS"] = "0"  # one owner for everybody here, and nobody to be kept off
    try:
        outputs = stack_outputs(target)
        for _ in range(2):
            url = _websocket_url(emulator, outputs, scheme="http") if outputs else ""
            parameters["WebSocketManagementUrl"] = url
            outputs = deploy(template, assets=assets, parameters=parameters, target=target)
            if url == _websocket_url(emulator, outputs, scheme="http"):
                break
    except DeploymentError as exc:
        raise TwinError(f"the template could not be deployed: {exc}") from exc
    return outputs


def _websocket_url(emulator: _RunningEmulator, outputs: Mapping[str, str], *, scheme: str) -> str:
    stage = outputs["WebSocketUrl"].rstrip("/").rpartition("/")[2]
    api = outputs["WebSocketApiId"]
    return f"{scheme}://{HOST}:{emulator.port}/_aws/execute-api/{api}/{stage}"


def _environment(emulator: _RunningEmulator, outputs: Mapping[str, str]) -> dict[str, str]:
    """What the REST function sees in its environment, plus the way to the emulator."""
    functions = Target(emulator.url).client("lambda")
    function = functions.get_function_configuration(FunctionName=outputs["RestFunction"])
    variables: dict[str, str] = function["Environment"]["Variables"]
    return {
        **variables,
        "CLEARSTEM_STREAM_DOWNLOADS": "1",  # there is no gateway here that ends bodies at 6 MB
        "AWS_ENDPOINT_URL": emulator.url,
    }


def _control(emulator: _RunningEmulator, command: str) -> None:
    connection = http.client.HTTPConnection(HOST, emulator.port, timeout=_START_S)
    with contextlib.closing(connection):
        connection.request("POST", f"/_clearstem/{command}")
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise TwinError(f"the emulator refused {command}: {response.read().decode()}")


def _serve_edge(
    app: AsgiApp,
    listener: socket.socket,
    *,
    settings: TwinSettings,
    emulator: _RunningEmulator,
) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            ws="websockets-sansio",
            ws_ping_interval=None,  # API Gateway asks no client for a sign of life either
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        )
    )
    port = listener.getsockname()[1]
    for watch in (_announce, _stop_with_emulator):
        threading.Thread(target=watch, args=(server, port, settings, emulator), daemon=True).start()
    server.run(sockets=[listener])
    if emulator.process.poll() is not None:
        raise TwinError(f"the emulator ended; see {settings.state_dir / 'emulator.log'}")


def _announce(
    server: uvicorn.Server, port: int, settings: TwinSettings, emulator: _RunningEmulator
) -> None:
    """Tell where the twin is, once it answers there."""
    deadline = time.monotonic() + _HEALTH_S
    while not _healthy(port) and not server.should_exit:
        if time.monotonic() > deadline:
            sys.stderr.write("the server does not answer at /health\n")
            server.should_exit = True
            return
        time.sleep(0.02)
    url = f"http://localhost:{port}"
    twin_file = settings.state_dir.resolve() / "twin.json"
    write_ready_file(twin_file, url=url, environment=_told(os.environ))
    if settings.ready_file is not None:
        write_ready_file(settings.ready_file, url=url)
    sys.stdout.write(f"clearstem answers at {url} (Ctrl-C ends it)\n")
    sys.stdout.flush()


def _told(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables with which another process reaches this twin's services."""
    wanted = ("AWS_", "CLEARSTEM_", "POWERTOOLS_")
    return {key: value for key, value in environment.items() if key.startswith(wanted)}


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False


def _stop_with_emulator(
    server: uvicorn.Server, _port: int, _settings: TwinSettings, emulator: _RunningEmulator
) -> None:
    emulator.process.wait()
    server.should_exit = True


def _parse(arguments: list[str]) -> TwinSettings:
    parser = argparse.ArgumentParser(prog="python -m infra.local.launcher")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--model", default="")
    parser.add_argument("--require-key", action="store_true")
    parser.add_argument(
        "--oidc", nargs=3, default=("", "", ""), metavar=("ISSUER", "AUDIENCE", "JWKS_URL")
    )
    parser.add_argument("--ready-file", type=Path)
    parser.add_argument("--parent", type=int, help="end when this process has ended")
    parser.add_argument("--allow-origin", action="append", default=[])
    options = parser.parse_args(arguments)
    return TwinSettings(
        port=options.port,
        state_dir=options.state,
        require_key=options.require_key,
        oidc=tuple(options.oidc),
        models_dir=options.models,
        model=options.model,
        ready_file=options.ready_file,
        parent=options.parent,
        allowed_origins=tuple(options.allow_origin),
    )


def main(arguments: list[str]) -> int:
    """Serve until told to end; the process exit status."""
    try:
        serve(_parse(arguments))
    except TwinError as exc:
        sys.stderr.write(f"clearstem: {exc}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
