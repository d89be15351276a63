"""Time and peak memory of a fresh Python process, told by itself.

`bench.measure.run` reads ``ru_maxrss``, which Linux carries over from the parent at the fork:
under a parent of 2 GB no child seems smaller. ``VmHWM`` begins anew with the program.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_TELL = """
import json as _json, pathlib as _pathlib
_status = _pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1]
print("\\n" + _json.dumps(int(_status.split()[0]) / 1024))
"""


@dataclass(frozen=True, slots=True)
class Fresh:
    """Wall seconds from start to exit, and the largest resident set in MB."""

    wall_s: float
    peak_rss_mb: float


def run_fresh(program: str, *arguments: str, env: dict[str, str] | None = None) -> Fresh:
    """Run a program given as text; `subprocess.CalledProcessError` where it fails."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", program + _TELL, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=env, cwd=Path.cwd())
    seconds = time.perf_counter() - begun
    return Fresh(seconds, json.loads(done.stdout.splitlines()[-1]))
