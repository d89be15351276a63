"""Half an hour of mono at 48 kHz through the spectral gate, against noisereduce.

Two pairs, each in one process: the non-stationary gate, whose result is the peer's (goal: 6
times faster), and the whole engine `spectral` as a job runs it, with its search for pauses and
its blending, against the peer's stationary gate called on the whole file (goal: faster). All
within 0.5 GB. The peer has the samples in memory, as it asks for, and ours reads them from
disk. Peaks are of processes that run ours alone.
"""

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from bench.fresh import run_fresh
from bench.measure import Outcome, median, note
from containers.audio.denoise import denoise
from containers.audio.spectral_gate import Moving, Shape, gated
from containers.audio.stream import Recording, RecordingWriter

_MINUTES = 30
_RATE_HZ = 48_000
_RUNS = 3
_GOAL = 6.0
_GOAL_OF_ENGINE = 1.0
_MOST_MB = 500.0
_ALONE = """
import sys
from pathlib import Path
from bench import denoise
from containers.audio.stream import Recording
with Recording.open(Path(sys.argv[1])) as source:
    getattr(denoise, sys.argv[3])(source, Path(sys.argv[2]))
"""


def engine(source: Recording, into: Path) -> None:
    """Denoise a recording from disk to disk, as the stage does."""
    with RecordingWriter(
        into, rate_hz=source.rate_hz, channels=source.channels, frames=source.frames
    ) as writer:
        denoise(source, writer, engine="spectral")


def ours(source: Recording, into: Path) -> None:
    """Gate a recording from disk to disk."""
    with RecordingWriter(
        into, rate_hz=source.rate_hz, channels=source.channels, frames=source.frames
    ) as writer:
        for block in gated(source, rule=Moving(), shape=Shape()):
            writer.write(block)


def measure() -> list[Outcome]:
    """Medians of paired runs, after one of ours that loads the compiled code."""
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as folder:
        path, into = Path(folder) / "long.wav", Path(folder) / "out.wav"
        _write_long(path)
        outcomes = []
        for name, work, pair, goal in (
            ("denoise:gate", "ours", _pair, _GOAL),
            ("denoise:engine", "engine", _engine_pair, _GOAL_OF_ENGINE),
        ):
            alone = run_fresh(_ALONE, str(path), str(into), work)
            with Recording.open(path) as source:
                pair(source, into)  # loads compiled code and imports
                pairs = [pair(source, into) for _ in range(_RUNS)]
            mine, peer = (median([each[i] for each in pairs]) for i in range(2))
            ratio = median([theirs / own for own, theirs in pairs])
            outcomes.append(Outcome(name, mine, peer, ratio, goal, alone.peak_rss_mb))
            memory = f"{name}:memory"
            outcomes.append(
                Outcome(memory, None, None, None, _MOST_MB, alone.peak_rss_mb, unit="MB")
            )
    return outcomes


def _write_long(path: Path) -> None:
    """Noise that swells and fades, so that the gate has something to decide."""
    draw = np.random.default_rng(0)
    swell = np.sin(np.linspace(0, 20 * np.pi, 60 * _RATE_HZ, dtype=np.float32)) ** 2
    with RecordingWriter(path, rate_hz=_RATE_HZ, channels=1, frames=None) as writer:
        for _ in range(_MINUTES):
            minute = draw.standard_normal((1, len(swell)), dtype=np.float32)
            writer.write(minute * (0.01 + 0.2 * swell).astype(np.float32))


def _pair(source: Recording, into: Path) -> tuple[float, float]:
    """Seconds of ours and of the peer, which must agree."""
    # Not at the top: it brings torch along, whose memory is not that of ours.
    import noisereduce

    begun = time.perf_counter()
    ours(source, into)
    mine = time.perf_counter() - begun
    samples = source.read(0, source.frames)[0]
    begun = time.perf_counter()
    with warnings.catch_warnings():
        # It divides by the mean of the silence that it pads with.
        warnings.simplefilter("ignore", RuntimeWarning)
        theirs = noisereduce.reduce_noise(y=samples, sr=source.rate_hz)
    peer = time.perf_counter() - begun
    with Recording.open(into) as result:
        off = result.read(0, result.frames)[0] - theirs
    error_db = 10 * np.log10(float(np.dot(off, off)) / float(np.dot(theirs, theirs)))
    note(f"ours {mine:.2f} s, noisereduce {peer:.2f} s, difference {error_db:.0f} dB")
    return mine, peer


def _engine_pair(source: Recording, into: Path) -> tuple[float, float]:
    """Seconds of the engine and of the peer's stationary gate; results differ by design."""
    import noisereduce

    begun = time.perf_counter()
    engine(source, into)
    mine = time.perf_counter() - begun
    samples = source.read(0, source.frames)[0]
    begun = time.perf_counter()
    noisereduce.reduce_noise(y=samples, sr=source.rate_hz, stationary=True)
    peer = time.perf_counter() - begun
    note(f"engine {mine:.2f} s, noisereduce stationary {peer:.2f} s")
    return mine, peer
