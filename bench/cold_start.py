"""How long a zip function's first import takes, and how large the zip is.

Goals: 0.25 s for the authorizer, the WebSocket and the push function, which
somebody waits for at a door; 0.6 s for all others of the template; 20 MB of zip.
Each import is one of a fresh process, without the interpreter's own start, which
is Lambda's, and in seconds of the processor: importing waits for nothing else,
and what other work the machine has does not count.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bench.measure import Outcome, median, note
from infra import synth

ROOT = Path(__file__).parents[1]
# Somebody waits for these at a door.
_DOORS = frozenset({"authorizer", "websocket", "push"})
_DOOR_S, _OTHER_S = 0.25, 0.6
_HANDLER = re.compile(r"functions\.(\w+)\.handler")
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
    for name in handlers():
        _imported(name)
        goal_s = _DOOR_S if name in _DOORS else _OTHER_S
        seconds = median([_imported(name) for _ in range(_RUNS)])
        note(f"{name}: {1000 * seconds:.0f} ms")
        outcomes.append(Outcome(f"cold_start:{name}", seconds, None, None, goal_s, None))
    size_mb = zip_mb()
    note(f"zip: {size_mb:.1f} MB")
    outcomes.append(Outcome("cold_start:zip", None, None, None, _GOAL_MB, size_mb, "MB"))
    return outcomes


def handlers() -> list[str]:
    """The modules of the template's zip functions, as they are deployed."""
    resources = json.loads(synth.TEMPLATE_FILE.read_text())["Resources"].values()
    named = (each.get("Properties", {}).get("Handler", "") for each in resources)
    return sorted(found[1] for handler in named if (found := _HANDLER.fullmatch(handler)))


def _imported(name: str) -> float:
    command = [sys.executable, "-c", _PROGRAM.format(name=name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def zip_mb() -> float:
    """The zip that a deployment uploads: wheels for its machine and our two packages."""
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
