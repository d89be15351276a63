"""How long a zip function's first import takes, and how large the zip is.

Goals: 0.25 s for the authorizer, the WebSocket and the push function, which
somebody waits for at a door; 0.6 s for the REST function; 20 MB of zip. Each
import is one of a fresh process, without the interpreter's own start, which
is Lambda's, and in seconds of the processor: importing waits for nothing else,
and what other work the machine has does not count.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bench.measure import Outcome, median, note

ROOT = Path(__file__).parents[1]
_GOALS_S = {
    "authorizer": 0.25,
    "websocket": 0.25,
    "push": 0.25,
    "rest": 0.6,
    "drop": 0.6,
    "settle": 0.6,
    "sweep": 0.6,
    "changes": 0.6,
    "webhook": 0.6,
    "publish": 0.6,
}
_GOAL_MB = 20.0
_RUNS = 7
_PROGRAM = """
import time
begun = time.process_time()
import functions.{name}
print(time.process_time() - begun)
"""


def measure() -> list[Outcome]:
    """Medians of seven imports a function, after one that warms the file cache; the zip's MB."""
    outcomes = []
    for name, goal_s in _GOALS_S.items():
        _imported(name)
        seconds = median([_imported(name) for _ in range(_RUNS)])
        note(f"{name}: {1000 * seconds:.0f} ms")
        outcomes.append(Outcome(f"cold_start:{name}", seconds, None, None, goal_s, None))
    size_mb = zip_mb()
    note(f"zip: {size_mb:.1f} MB")
    outcomes.append(Outcome("cold_start:zip", None, None, None, _GOAL_MB, size_mb, "MB"))
    return outcomes


def _imported(name: str) -> float:
    command = [sys.executable, "-c", _PROGRAM.format(name=name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def zip_mb() -> float:
    """The zip that a deployment uploads: wheels for its machine and our two packages."""
    from infra import synth

    # CDK, which the bundling belongs to, is to start the registry's Node.
    os.environ["JSII_NODE"] = str(synth.registry_node())
    from infra import bundling

    with tempfile.TemporaryDirectory(prefix="clearstem-zip-") as folder:
        content, packed = Path(folder) / "content", Path(folder) / "functions.zip"
        bundling.WheelBundling(ROOT).try_bundle(str(content))
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(content.rglob("*")):
                archive.write(path, path.relative_to(content))
        return packed.stat().st_size / 1e6
