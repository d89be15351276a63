"""The non-stationary gate on half an hour of mono, against noisereduce, in one process.

Goal: 6 times faster, within 0.5 GB. Both get the same samples; the peer has them in memory,
as it asks for, and ours reads them from disk. The peak is of a process that runs ours alone.
"""

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from bench.fresh import run_fresh
from bench.measure import Outcome, median, note
from containers.audio.spectral_gate import Moving, Shape, gated
from containers.audio.stream import Recording, RecordingWriter

_MINUTES = 30
_RATE_HZ = 48_000
_RUNS = 3
_GOAL = 6.0
_ALONE = """
import sys
from pathlib import Path
from bench.denoise import ours
from containers.audio.stream import Recording
with Recording.open(Path(sys.argv[1])) as source:
    ours(source, Path(sys.argv[2]))
"""


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
        alone = run_fresh(_ALONE, str(path), str(into))
        with Recording.open(path) as source:
            ours(source, into)
            pairs = [_pair(source, into) for _ in range(_RUNS)]
    mine, peer = (median([pair[i] for pair in pairs]) for i in range(2))
    ratio = median([theirs / own for own, theirs in pairs])
    return [Outcome("denoise", mine, peer, ratio, _GOAL, alone.peak_rss_mb)]


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
    # Not above: it is not part of the memory that ours is measured by.
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
