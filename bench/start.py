"""How long the local twin takes until it answers, from nothing and with its state.

Goal: 5 s.
"""

import tempfile
import time
from pathlib import Path

from bench.measure import Outcome, median, note
from clearstem.twin import twin

_GOAL_S = 5.0
_RUNS = 3


def measure() -> list[Outcome]:
    """Medians of three starts on a new state folder, and of the next start on each."""
    fresh, again = [], []
    for _ in range(_RUNS):
        with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as folder:
            fresh.append(_start(Path(folder)))
            again.append(_start(Path(folder)))
            note(f"fresh {fresh[-1]:.2f} s, with state {again[-1]:.2f} s")
    return [
        Outcome("start:fresh", median(fresh), None, None, _GOAL_S, None),
        Outcome("start:with state", median(again), None, None, _GOAL_S, None),
    ]


def _start(folder: Path) -> float:
    (folder / "state" / "ready.json").unlink(missing_ok=True)
    begun = time.perf_counter()
    with twin(state=folder / "state", models=folder / "models"):
        return time.perf_counter() - begun
