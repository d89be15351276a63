"""The embedded AWS: MiniStack, its extension and its guard as one server on 127.0.0.1.

MiniStack reads its environment when it is imported, so nothing here imports it before `load`.
Run as a process (``python -m infra.local.emulator --port N --state DIR``) by the launcher, or in a
thread by tests (`Emulator`).
"""

import argparse
import asyncio
import json
import logging
import os
import shlex
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn

from clearstem.twin import ending_on_sigterm, enter
from infra.local import guard
from infra.local.processes import HOST, end_with, hold, write_ready_file

ACCOUNT = "000000000000"
REGION = "us-east-1"
_CONTROL = "/_clearstem/"
_START_PATIENCE_S = 30.0
_LOCK_PATIENCE_S = 20.0  # a predecessor that is saving its state needs a moment

_log = logging.getLogger(__name__)


def default_images() -> dict[str, tuple[str, ...]]:
    """Every container image is the stage entry, run by this interpreter."""
    return {"": (sys.executable, "-m", "containers.stage")}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorSettings:
    """How the emulator runs.

    Attributes
    ----------
    state_dir
        Where everything is kept; None keeps nothing beyond the process.
    job_slots
        Batch jobs at a time.
    kill_grace_s
        Seconds between SIGTERM and SIGKILL for a job; ECS gives 30.
    wait_scale
        Factor on Wait states and retry delays of Step Functions; 0 skips them.
    snapshot_every_s
        Seconds between two snapshots while something changes.
    allowed_origins
        Browser origins that may use it besides loopback ones.
    images
        Local command line by container image, see `infra.local.batch.install`.
    enforce_iam
        Have every call judged by the policies that the template gives its roles.
    """

    port: int
    state_dir: Path | None = None
    job_slots: int = 2
    kill_grace_s: float = 30.0
    wait_scale: float = 1.0
    snapshot_every_s: float = 30.0
    allowed_origins: tuple[str, ...] = ()
    images: Mapping[str, tuple[str, ...]] = field(default_factory=default_images)
    enforce_iam: bool = False


def environment(settings: EmulatorSettings, *, scratch: Path) -> dict[str, str]:
    """The variables MiniStack and the functions' workers are to see."""
    state = settings.state_dir
    return {
        "GATEWAY_PORT": str(settings.port),
        "BIND_HOST": HOST,
        "MINISTACK_HOST": HOST,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent/clearstem",  # it would remove containers it finds
        "LAMBDA_EXECUTOR": "local",
        "AUTH": "true" if settings.enforce_iam else "false",
        "PERSIST_STATE": "1" if state is not None else "0",
        "STATE_DIR": str(saved_in(state if state is not None else scratch)),
        "S3_PERSIST": "1",  # objects live on disk and not in memory
        "S3_DATA_DIR": str((state if state is not None else scratch) / "s3"),
        "SFN_WAIT_SCALE": str(settings.wait_scale),
        "LOG_LEVEL": "WARNING",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,  # a profile of the user's must not leak into functions
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "POWERTOOLS_TRACE_DISABLED": "true",  # there is no X-Ray daemon
    }


def saved_in(state_dir: Path) -> Path:
    """Where the services' state and its journal are, inside the state folder."""
    return state_dir / "aws"


def load(settings: EmulatorSettings, *, scratch: Path) -> guard.AsgiApp:
    """Import MiniStack, extend it, and return it behind its guard.

    It can be done once in a process. Changes ``os.environ``.

    Raises
    ------
    infra.local.selfcheck.PrivateNameChangedError
        When the installed MiniStack is not the one that the extension was written for.
    """
    logging.getLogger("kms").setLevel(logging.ERROR)  # it asks for a package nobody needs here
    enter(environment(settings, scratch=scratch))
    from ministack import app

    from infra.local import (
        batch,
        cloudformation,
        durability,
        gateway,
        handshakes,
        lambdas,
        leading_keys,
        selfcheck,
        state_machines,
        storage,
        streams,
    )

    selfcheck.verify()
    batch.install(
        images=settings.images,
        slots=settings.job_slots,
        grace_s=settings.kill_grace_s,
        scratch_root=scratch,
    )
    for module in (
        state_machines,
        streams,
        lambdas,
        cloudformation,
        storage,
        handshakes,
        leading_keys,
    ):
        module.install()
    if settings.state_dir is not None:
        durability.install(saved_in(settings.state_dir))
    served = gateway.in_account_of_api(app.app)
    return guard.guarded(
        _with_control(gateway.as_by_tls(served) if settings.enforce_iam else served, settings),
        allowed_origins=settings.allowed_origins,
        check=gateway.refuse_long_payload,
    )


def _with_control(app: guard.AsgiApp, settings: EmulatorSettings) -> guard.AsgiApp:
    """Answers the launcher: ``/_clearstem/resume``, ``/snapshot`` and ``/warm?handler=…``."""

    async def controlled(scope: guard.Scope, receive: guard.Receive, send: guard.Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(_CONTROL):
            await app(scope, receive, send)
            return
        query = parse_qs(scope["query_string"].decode())
        answer = await asyncio.to_thread(_control, path.removeprefix(_CONTROL), query, settings)
        body = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return controlled


def _control(
    command: str, query: Mapping[str, list[str]], settings: EmulatorSettings
) -> dict[str, Any]:
    from infra.local import durability, lambdas, state_machines

    if command == "warm":
        lambdas.warm_up(query.get("handler", []), account=ACCOUNT)
        return {}
    if command == "resume":
        return {"resumed": state_machines.resume()}
    if command == "snapshot" and settings.state_dir is not None:
        return {"seconds": durability.snapshot(saved_in(settings.state_dir))}
    return {"error": f"no such command: {command}"}


class _Server(uvicorn.Server):
    """Ends the jobs before it stops answering them.

    A job that outlived its AWS would fail, and be remembered as failed.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the jobs, then the connections; called by uvicorn when it is told to end."""
        from infra.local import batch

        await asyncio.to_thread(batch.close)
        await super().shutdown(sockets)


class Emulator:
    """The emulator as a server that can be started and stopped, in a thread or not."""

    def __init__(self, settings: EmulatorSettings) -> None:
        self.settings = settings
        self.url = f"http://{HOST}:{settings.port}"
        self._scratch = _new_scratch(settings.state_dir)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Serve in a thread; returns when requests are answered.

        Raises
        ------
        TimeoutError
            When it does not come up in half a minute.
        """
        server = self._make_server()
        self._thread = threading.Thread(target=server.run, daemon=True, name="emulator")
        self._thread.start()
        deadline = time.monotonic() + _START_PATIENCE_S
        while not server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise TimeoutError("the emulator did not start; its log says why")
            time.sleep(0.005)

    def stop(self) -> None:
        """End jobs, functions and the server, and save the state."""
        self.request_stop()
        if self._thread is not None:
            self._thread.join(_START_PATIENCE_S)
        self.clean_up()

    def request_stop(self) -> None:
        """Have the server end as soon as it can; may be called from a signal handler."""
        if self._server is not None:
            self._server.should_exit = True

    def run(self, *, ready_file: Path | None = None, parent: int | None = None) -> None:
        """Serve in this thread until it is told to end, or the process `parent` has.

        `ready_file` is written once the emulator answers.
        """
        server = self._make_server()
        threading.Thread(target=self._announce, args=(server, ready_file), daemon=True).start()
        if parent is not None:
            end_with(parent)
        try:
            server.run()
        finally:
            self.clean_up()

    def clean_up(self) -> None:
        """End the functions' workers and remove temporary files."""
        from ministack.core import lambda_runtime

        lambda_runtime.reset()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _make_server(self) -> uvicorn.Server:
        app = load(self.settings, scratch=self._scratch)
        self._server = _Server(
            uvicorn.Config(
                app,
                host=HOST,
                port=self.settings.port,
                ws="websockets-sansio",
                access_log=False,
                log_config=None,
                lifespan="on",
                proxy_headers=False,
                server_header=False,
                date_header=False,  # MiniStack writes its own
                timeout_keep_alive=75,
                timeout_graceful_shutdown=2,
            )
        )
        return self._server

    def _announce(self, server: uvicorn.Server, ready_file: Path | None) -> None:
        while not server.started:
            time.sleep(0.005)
        if ready_file is not None:
            write_ready_file(ready_file, url=self.url, port=self.settings.port)
        if self.settings.state_dir is not None:
            self._snapshot_for_ever(server, self.settings.state_dir)

    def _snapshot_for_ever(self, server: uvicorn.Server, state_dir: Path) -> None:
        from infra.local import durability

        seen = durability.changes_written()
        while not server.should_exit:
            time.sleep(self.settings.snapshot_every_s)
            if (written := durability.changes_written()) == seen or server.should_exit:
                continue
            try:
                durability.snapshot(saved_in(state_dir))
            except OSError as exc:  # a full disk may have room again at the next turn
                _log.error("no snapshot, so the journal grows: %s", exc)
            else:
                seen = written


def _new_scratch(state_dir: Path | None) -> Path:
    """A folder for temporary files, emptied of what a killed predecessor left."""
    if state_dir is None:
        scratch = Path(tempfile.mkdtemp(prefix="clearstem-"))
    else:
        scratch = state_dir / "tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
    return scratch


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.local.emulator")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--ready-file", type=Path)
    parser.add_argument("--parent", type=int, help="end when this process has ended")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--grace", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--snapshot-every", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--allow-origin", action="append", default=[])
    parser.add_argument("--enforce-iam", action="store_true")
    parser.add_argument("--image", action="append", default=[], metavar="IMAGE=COMMAND")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; the process exit status."""
    options = _parse(arguments)
    images = dict(entry.split("=", 1) for entry in options.image)
    settings = EmulatorSettings(
        port=options.port,
        state_dir=options.state.resolve(),
        job_slots=options.slots,
        kill_grace_s=options.grace,
        snapshot_every_s=options.snapshot_every,
        allowed_origins=tuple(options.allow_origin),
        images={key: tuple(shlex.split(command)) for key, command in images.items()}
        or default_images(),
        enforce_iam=options.enforce_iam,
    )
    with (
        ending_on_sigterm(),
        hold(options.state / "emulator.lock", patience_s=_LOCK_PATIENCE_S),
    ):
        tempfile.tempdir = str(options.state.resolve() / "tmp")
        emulator = Emulator(settings)
        emulator.run(ready_file=options.ready_file, parent=options.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
