"""One attempt of a Batch job as a process group of this machine.

A container is an isolated tree of processes with its own scratch space; here it is a process group
with its own folder. Ending the attempt ends the group, and the group dies with the emulator.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_TETHER = Path(__file__).with_name("tether.py")
_SIGNAL_BASE = 128  # a shell and Docker report death by signal N as 128 + N
_PIPE_DRAIN_S = 2.0  # a grandchild may hold the pipe open after everything else has ended


def exit_code(returncode: int) -> int:
    """Docker's exit status of a process that `subprocess` reports as `returncode`."""
    return returncode if returncode >= 0 else _SIGNAL_BASE - returncode


@dataclass(slots=True)
class JobProcess:
    """A started attempt: wait for it, or end it.

    Attributes
    ----------
    grace_s
        Seconds between the SIGTERM that asks and the SIGKILL that does not; ECS gives 30.
    """

    process: subprocess.Popen[str]
    scratch: Path
    reader: threading.Thread
    grace_s: float
    _killers: list[threading.Timer] = field(default_factory=list)

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for the end; false when `timeout_s` passed first."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, *, grace_s: float | None = None) -> None:
        """Ask the group to end and see to it that it does; returns at once."""
        self._signal(signal.SIGTERM)
        patience_s = self.grace_s if grace_s is None else grace_s
        killer = threading.Timer(patience_s, self._signal, (signal.SIGKILL,))
        killer.daemon = True
        self._killers.append(killer)
        killer.start()

    def finish(self) -> int:
        """Collect an ended attempt, whatever it left running included; its exit code."""
        returncode = self.process.wait()
        for killer in self._killers:
            killer.cancel()
        self._signal(signal.SIGKILL)
        self.reader.join(_PIPE_DRAIN_S)
        if self.process.stdout is not None and not self.reader.is_alive():
            self.process.stdout.close()
        shutil.rmtree(self.scratch, ignore_errors=True)
        return exit_code(returncode)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            return  # the group is gone; macOS says EPERM of one that only zombies are left of


def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    scratch_root: Path,
    grace_s: float,
    read_output: Callable[[IO[str]], None],
) -> JobProcess:
    """Start `command` in a group and a scratch folder of its own.

    Raises
    ------
    OSError
        When the process cannot be made.
    """
    scratch_root.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="job-", dir=scratch_root))
    tethered = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), "9", *command]
    try:
        process = subprocess.Popen(  # noqa: S603 - the command comes from the job definition
            tethered,
            cwd=scratch,
            env={**environment, "TMPDIR": str(scratch)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    assert process.stdout is not None
    reader = threading.Thread(target=read_output, args=(process.stdout,), daemon=True)
    reader.start()
    return JobProcess(process, scratch, reader, grace_s)
