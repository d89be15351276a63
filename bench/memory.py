"""Peak memory of every stage on a long recording, each as the process it is.

Goal: 1.5 GB a stage on 30 minutes of stereo at 44.1 kHz.
"""

import tempfile
from pathlib import Path

from bench.fresh import Fresh
from bench.material import write_song
from bench.measure import Outcome
from bench.stages import run_stages, storage
from clearstem.options import SeparateOptions

MINUTES = 30
_GOAL_MB = 1500.0


def measure(*, minutes: int = MINUTES) -> list[Outcome]:
    """The four stages of one job, weights-free."""
    return [
        Outcome(f"memory:{name}", done.wall_s, None, None, _GOAL_MB, done.peak_rss_mb, unit="MB")
        for name, done in stages(minutes=minutes).items()
    ]


def stages(*, minutes: int) -> dict[str, Fresh]:
    """Time and memory of each stage over so many minutes."""
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as name:
        folder = Path(name)
        path = write_song(folder / "long.flac", minutes=minutes)
        with storage(folder, models=folder / "models") as service:
            # FLAC: an hour as nine WAV files, on disk three times, would be 26 GB.
            return run_stages(service, path, options=SeparateOptions(output_format="flac"))
