"""Harmonic-percussive decomposition of 3 minutes of stereo, against librosa.

Goals: 50 times as fast once warm, 10 times as a fresh process, 0.6 GB for an hour.
"""

import tempfile
import time
from pathlib import Path

import librosa
import numpy as np

from bench.fresh import run_fresh
from bench.measure import Outcome, median, note
from containers.audio.decompose import decompose
from containers.audio.song import RATE_HZ, song
from containers.audio.stream import Recording, RecordingWriter

_FRESH = """
import sys
from pathlib import Path
from bench.hpss import decompose_file
decompose_file(Path(sys.argv[1]))
"""
_HOUR_MB = 600.0


def measure(*, minutes: int = 3, runs: int = 5) -> list[Outcome]:
    """Peer in memory once, ours from and to disk: warm, fresh, and for an hour."""
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as folder:
        path = Path(folder) / "source.wav"
        _write(path, minutes=minutes)
        decompose_file(path)
        warm = median([_warm(path) for _ in range(runs)])
        fresh = [run_fresh(_FRESH, str(path)) for _ in range(runs)]
        peer = _librosa(path)
        # The hour's peer would need 44 GB.
        long = Path(folder) / "hour.wav"
        _write(long, minutes=60)
        hour = run_fresh(_FRESH, str(long))
    cold = median([done.wall_s for done in fresh])
    peak = max(done.peak_rss_mb for done in fresh)
    note(f"one hour: {hour.wall_s:.1f} s, peak {hour.peak_rss_mb:.0f} MB")
    return [
        Outcome("hpss:warm", warm, peer, peer / warm, 50.0, None),
        Outcome("hpss:fresh process", cold, peer, peer / cold, 10.0, peak),
        Outcome("hpss:one hour", hour.wall_s, None, None, _HOUR_MB, hour.peak_rss_mb, unit="MB"),
    ]


def _write(path: Path, *, minutes: int) -> None:
    piece = song(30.0)
    with RecordingWriter(path, rate_hz=RATE_HZ, channels=2, frames=None) as writer:
        for _ in range(2 * minutes):
            writer.write(piece)


def decompose_file(path: Path) -> None:
    """Both parts of a recording, written beside it."""
    form = {"rate_hz": RATE_HZ, "channels": 2}
    with (
        Recording.open(path) as source,
        RecordingWriter(path.with_name("harmonic.wav"), frames=None, **form) as harmonic,
        RecordingWriter(path.with_name("percussive.wav"), frames=None, **form) as percussive,
    ):
        decompose(source, harmonic, percussive)


def _warm(path: Path) -> float:
    begun = time.perf_counter()
    decompose_file(path)
    return time.perf_counter() - begun


def _librosa(path: Path) -> float:
    with Recording.open(path) as source:
        samples = source.read(0, source.frames)
    begun = time.perf_counter()
    parts = [librosa.effects.hpss(channel) for channel in samples]
    seconds = time.perf_counter() - begun
    note(f"librosa {seconds:.1f} s, {np.shape(parts)}")
    return seconds
