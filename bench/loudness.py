"""Integrated loudness of an hour of stereo from a 16-bit WAV file.

Peers: pyloudnorm behind soundfile, and FFmpeg's ebur128 filter behind PyAV's decoder. Each is
a process of its own, timed from the open file to the figure, so that its memory is its own.
Imports are not timed, and loading compiled code from numba's cache is ours.
"""

import tempfile
from pathlib import Path

from bench.material import write_song
from bench.measure import Outcome, paired

MINUTES = 60
_GOAL_MB = 300.0

_OURS = """
from pathlib import Path
from containers.audio.ahead import read_ahead
from containers.audio.loudness import LoudnessMeter
from containers.audio.source import Source

import numpy as np
LoudnessMeter(rate_hz=44_100, channels=2).push(np.zeros((2, 1), np.float32))

def work(path):
    with Source(Path(path)) as source:
        meter = LoudnessMeter(rate_hz=source.rate_hz, channels=source.channels)
        for block in read_ahead(source.blocks(frames=65_536)):
            meter.push(block)
    return meter.integrated_lufs
"""
_PYLOUDNORM = """
import pyloudnorm, soundfile

def work(path):
    samples, rate_hz = soundfile.read(path)
    return pyloudnorm.Meter(rate_hz, filter_class="DeMan").integrated_loudness(samples)
"""
_FFMPEG = """
import av

def work(path):
    with av.open(path) as file:
        stream = file.streams.audio[0]
        graph = av.filter.Graph()
        nodes = [
            graph.add_abuffer(template=stream),
            graph.add("ebur128", "peak=none:framelog=quiet:metadata=1"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        last = None
        for frame in file.decode(stream):
            graph.push(frame)
            while True:
                try:
                    last = graph.pull()
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
        return float(last.metadata["lavfi.r128.I"])
"""


def measure(*, minutes: int = MINUTES) -> list[Outcome]:
    """Ours against each peer, in turns."""
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as folder:
        path = write_song(Path(folder) / "long.wav", minutes=minutes)
        peers = {"pyloudnorm": (_PYLOUDNORM, 8.0), "ffmpeg": (_FFMPEG, 1.3)}
        outcomes = paired("loudness", _OURS, peers, argument=str(path))
    peak = max(outcome.peak_rss_mb or 0.0 for outcome in outcomes)
    seconds = outcomes[0].ours
    return [*outcomes, Outcome("loudness:memory", seconds, None, None, _GOAL_MB, peak, unit="MB")]
