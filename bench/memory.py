"""Peak memory of every stage of both recipes on a long recording, each as the process it is.

Goal: 1.5 GB a stage on 30 minutes of stereo at 44.1 kHz.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.fresh import Fresh
from bench.material import write_song, write_talk
from bench.measure import Outcome
from bench.stages import run_stages, storage
from clearstem.options import DenoiseOptions, DenoiserChoice, Options, SeparateOptions

MINUTES = 30
_GOAL_MB = 1500.0
# What each recipe is asked for and works on. FLAC: an hour as nine WAV files, on disk three
# times, would be 26 GB. The engines are those without weights, which every machine has.
_ASKED: tuple[tuple[Options, Callable[..., Path]], ...] = (
    (SeparateOptions(output_format="flac"), write_song),
    (
        DenoiseOptions(
            engine=DenoiserChoice.SPECTRAL, output_extension="flac", auto_level_lufs=-16.0
        ),
        write_talk,
    ),
)


def measure(*, minutes: int = MINUTES) -> list[Outcome]:
    """The stages of one job of each recipe, weights-free."""
    return [
        Outcome(f"memory:{name}", done.wall_s, None, None, _GOAL_MB, done.peak_rss_mb, unit="MB")
        for name, done in stages(minutes=minutes).items()
    ]


def stages(*, minutes: int) -> dict[str, Fresh]:
    """Time and memory of each stage over so many minutes."""
    found: dict[str, Fresh] = {}
    for options, write in _ASKED:
        # A folder a recipe: what the first one stored need not lie beside what the second does.
        with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as name:
            folder = Path(name)
            path = write(folder / "long.flac", minutes=minutes)
            with storage(folder, models=folder / "models") as service:
                found |= run_stages(service, path, options=options)
    return found
