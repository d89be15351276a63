"""Three minutes of stereo decoded from a file into float32 samples.

Peers: audioread, as librosa falls back to it, and FFmpeg through PyAV, frame by frame. Ours
also writes the scratch file, checks every sample and finds the exact length; the peers keep
all samples in memory and do none of it.
"""

import tempfile
from pathlib import Path

from bench.material import write_scratch_song, write_song
from bench.measure import Outcome, paired
from containers.audio.encode import encode
from containers.audio.stream import Recording

_MINUTES = 3
_FORMATS = ("wav", "flac", "mp3", "ogg", "opus", "m4a")

_OURS = """
import atexit, itertools, os
from pathlib import Path
from containers.audio.stream import decode

# A file of its own each time, as in a stage: emptying the last one takes a quarter as long as all
# the rest, and would be counted. They go when all is timed, before they are due on the disk: that
# would be counted as well.
numbers = itertools.count()

def work(path):
    into = Path(path).with_name(f"{os.getpid()}-{next(numbers)}.scratch")
    atexit.register(into.unlink, missing_ok=True)
    return decode(Path(path), into).format.frames
"""
_FFMPEG = """
import av
import numpy as np

def work(path):
    with av.open(path) as file:
        resampler = av.AudioResampler(format="fltp")
        parts = [
            part.to_ndarray()
            for frame in file.decode(audio=0)
            for part in resampler.resample(frame)
        ]
    return np.concatenate(parts, axis=1).shape[1]
"""
_AUDIOREAD = """
import audioread.rawread, audioread
import numpy as np

def work(path):
    with audioread.audio_open(path) as file:
        raw = b"".join(file)
        channels = file.channels
    samples = np.frombuffer(raw, "<i2").astype(np.float32) / 32768
    return samples.reshape(-1, channels).shape[0]
"""


def measure() -> list[Outcome]:
    """Each format against PyAV; WAV against audioread too, whose other formats need a binary."""
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as folder:
        for format in _FORMATS:
            path = _song(Path(folder) / f"song.{format}")
            peers = {"ffmpeg": (_FFMPEG, 1.0)}
            if format == "wav":
                peers["audioread"] = (_AUDIOREAD, 1.0)
            outcomes += paired(f"decode:{format}", _OURS, peers, argument=str(path), warm_runs=3)
    return outcomes


def _song(path: Path) -> Path:
    """The song in a format; those that libsndfile does not write, as our own tracks are."""
    format = path.suffix.removeprefix(".")
    if format not in ("opus", "m4a"):
        return write_song(path, minutes=_MINUTES)
    scratch = write_scratch_song(path.with_name("scratch.wav"), minutes=_MINUTES)
    with Recording.open(scratch) as recording:
        encode(recording, path, format=format)
    return path
