"""What every benchmark reports, and how a process is measured from outside."""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """One benchmark's figures.

    Attributes
    ----------
    ours, peer : float or None
        Seconds, medians; `peer` is None where there is nothing to compare with.
    goal : float
        Of `ratio` where there is a peer, else the most seconds that `ours` may be.
    peak_rss_mb : float or None
        Largest resident set of the measured process.
    """

    name: str
    ours: float | None
    peer: float | None
    ratio: float | None
    goal: float
    peak_rss_mb: float | None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process: wall seconds, its own peak memory in MB, its exit code."""

    wall_s: float
    peak_rss_mb: float
    exit_code: int


def run(command: list[str], *, env: dict[str, str] | None = None, log: Path | None = None) -> Run:
    """Run a command to its end and measure it; output goes to `log` or nowhere."""
    begun = time.perf_counter()
    target = log.open("wb") if log else None
    try:
        process = subprocess.Popen(
            command, env=env, stdout=target or subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if target:
            target.close()
    # ru_maxrss is in KiB on Linux.
    return Run(time.perf_counter() - begun, usage.ru_maxrss / 1024, process.returncode)


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def note(text: str) -> None:
    """Progress for whoever watches, out of the way of the figures."""
    print(text, file=sys.stderr, flush=True)
