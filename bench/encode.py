"""Nine tracks of three minutes encoded: ours side by side, the peer one after the other.

Peer: FFmpeg's encoders through PyAV (for mp3 also lame through lameenc), with the same bit
rate and depth and the samples in memory. Ours reads scratch files, as the last stage does,
and writes files whose length survives the round trip.
"""

import tempfile
from pathlib import Path

from bench.material import write_scratch_song
from bench.measure import Outcome, paired

_MINUTES = 3
_FORMATS = ("mp3", "flac")

_SETUP = """
from pathlib import Path
from containers.audio.stream import Recording

TRACKS = 9
FORMAT = "{format}"
"""
_OURS = (
    _SETUP
    + """
import os
from concurrent.futures import ThreadPoolExecutor
from containers.audio.encode import encode

def work(path):
    def one(number):
        with Recording.open(Path(path)) as recording:
            encode(recording, Path(path).with_name(f"{{number}}.{{FORMAT}}"), format=FORMAT)
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        return sum(1 for _ in pool.map(one, range(TRACKS)))
"""
)
_FFMPEG = (
    _SETUP
    + """
import av
import numpy as np

ENCODER, SAMPLES = {encoder}

def material_of_peer(path):
    with Recording.open(Path(path)) as recording:
        return path, recording.read(0, recording.frames)

def work(given):
    path, samples = given
    for number in range(TRACKS):
        with av.open(str(Path(path).with_name(f"peer{{number}}.{{FORMAT}}")), "w") as file:
            stream = file.add_stream(ENCODER, rate=44_100, layout="stereo")
            if ENCODER == "libmp3lame":
                stream.bit_rate = 320_000
            for start in range(0, samples.shape[1], 65_536):
                part = samples[:, start : start + 65_536].T.reshape(1, -1)
                if SAMPLES == "s32":
                    part = (part * 2.0**31).astype(np.int32)
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(part), format=SAMPLES, layout="stereo"
                )
                frame.sample_rate, frame.pts = 44_100, start
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return TRACKS
"""
)
_LAMEENC = (
    _SETUP
    + """
import lameenc
import numpy as np

def material_of_peer(path):
    with Recording.open(Path(path)) as recording:
        return path, recording.read(0, recording.frames)

def work(given):
    path, samples = given
    for number in range(TRACKS):
        encoder = lameenc.Encoder()
        encoder.set_bit_rate(320)
        encoder.set_in_sample_rate(44_100)
        encoder.set_channels(2)
        encoder.set_quality(3)
        encoder.silence()
        whole = (samples.T * 32767).astype(np.int16).tobytes()
        data = encoder.encode(whole) + encoder.flush()
        Path(path).with_name(f"lameenc{{number}}.mp3").write_bytes(bytes(data))
    return TRACKS
"""
)
_ENCODERS = {"mp3": ("libmp3lame", "flt"), "flac": ("flac", "s32")}


def measure() -> list[Outcome]:
    """Nine mp3 and nine FLAC files."""
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as folder:
        path = write_scratch_song(Path(folder) / "song.wav", minutes=_MINUTES)
        for format in _FORMATS:
            words = {"format": format, "encoder": _ENCODERS[format]}
            peers = {"ffmpeg": (_FFMPEG.format(**words), 1.0)}
            if format == "mp3":
                peers["lameenc"] = (_LAMEENC.format(**words), 1.0)
            ours = _OURS.format(**words)
            outcomes += paired(f"encode:{format}", ours, peers, argument=str(path), runs=1)
    return outcomes
