"""Being a process among processes: locks, ports, signals, and a file that says "ready"."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TextIO

HOST = "127.0.0.1"  # nothing of the twin listens anywhere else
_LOCK_POLL_S = 0.05
_PARENT_POLL_S = 0.3


def end_with(parent: int) -> None:
    """Send this process SIGTERM once `parent`, which started it, has ended, however it did."""

    def watch() -> None:
        while os.getppid() == parent:  # every Unix gives orphans another one
            time.sleep(_PARENT_POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def end(process: "subprocess.Popen[bytes]", *, patience_s: float) -> None:
    """End a process in good order, or by force once it has taken longer than `patience_s`."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def write_ready_file(path: Path, **contents: object) -> None:
    """Write `contents` and the process id as JSON, so that the file is there whole or not."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(json.dumps({**contents, "pid": os.getpid()}), encoding="utf-8")
    part.replace(path)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def hold(path: Path, *, patience_s: float = 0.0) -> TextIO:
    """Lock the file at `path` until it is closed or the process ends.

    Raises
    ------
    BlockingIOError
        When another process holds it for longer than `patience_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a+", encoding="utf-8")
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() >= deadline:
                lock.close()
                raise
            time.sleep(_LOCK_POLL_S)
