"""Time and peak memory of a fresh Python process, told by itself.

``ru_maxrss`` would not do: Linux carries it over from the parent at the fork, so under a
parent of 2 GB no child seems smaller. ``VmHWM`` begins anew with the program.
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_TELL = """
from bench.fresh import peak_rss_mb as _peak_rss_mb
print("\\n" + str(_peak_rss_mb()))
"""
_LAST_WORDS = 2000


@dataclass(frozen=True, slots=True)
class Fresh:
    """Wall seconds from start to exit, the largest resident set in MB, and its last words.

    Attributes
    ----------
    said : str
        The last line that it printed itself.
    """

    wall_s: float
    peak_rss_mb: float
    said: str


def peak_rss_mb() -> float:
    """The largest resident set of this process since its program began, in MB."""
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) / 1024


def run_fresh(program: str, *arguments: str, env: dict[str, str] | None = None) -> Fresh:
    """Run a program given as text, to its end.

    Raises
    ------
    RuntimeError
        Where it fails, with the end of what it said.
    """
    begun = time.perf_counter()
    command = [sys.executable, "-c", program + _TELL, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    seconds = time.perf_counter() - begun
    if done.returncode:
        said = (done.stdout + done.stderr)[-_LAST_WORDS:]
        raise RuntimeError(f"a measured process ended with {done.returncode}: {said}")
    *_, said, peak = ["", *(line for line in done.stdout.splitlines() if line)]
    return Fresh(seconds, float(peak), said)
