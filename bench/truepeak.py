"""True peak of three minutes of stereo in memory, four times oversampled.

Peers: libebur128 through pyebur128, and FFmpeg's ebur128 filter through PyAV; both always
measure loudness too, so the same without the peak is taken off their time.
"""

from bench.measure import Outcome, paired

_SETUP = """
import numpy as np
from containers.audio.song import RATE_HZ, song

def material():
    return np.tile(song(30.0), (1, 6))
"""
_OURS = (
    _SETUP
    + """
from containers.audio.true_peak import TruePeakMeter

def work(samples):
    meter = TruePeakMeter(channels=2)
    for start in range(0, samples.shape[1], 65_536):
        meter.push(np.ascontiguousarray(samples[:, start : start + 65_536]))
    return meter.true_peak_dbtp
"""
)
_EBUR128 = (
    _SETUP
    + """
import pyebur128
from pyebur128 import MeasurementMode as Mode

def measured(samples, mode):
    state = pyebur128.R128State(2, RATE_HZ, mode)
    state.add_frames(samples, len(samples) // 2)
    return state

def material_of_peer():
    return np.ascontiguousarray(material().T).reshape(-1)

def work(samples):
    state = measured(samples, Mode.MODE_I | Mode.MODE_TRUE_PEAK)
    return 20 * np.log10(max(pyebur128.get_true_peak(state, c) for c in (0, 1)))

def less(samples):
    measured(samples, Mode.MODE_I)
"""
)
_FFMPEG = (
    _SETUP
    + """
import av

def material_of_peer():
    samples = material()
    frames = []
    for start in range(0, samples.shape[1], 65_536):
        part = np.ascontiguousarray(samples[:, start : start + 65_536].T.astype(np.float64))
        frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="dbl", layout="stereo")
        frame.sample_rate, frame.pts = RATE_HZ, start
        frames.append(frame)
    return frames

def measured(frames, peak):
    graph = av.filter.Graph()
    nodes = [
        graph.add_abuffer(format="dbl", sample_rate=RATE_HZ, layout="stereo"),
        graph.add("ebur128", f"peak={peak}:framelog=quiet:metadata=1"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    highest = -200.0
    for frame in frames:
        graph.push(frame)
        while True:
            try:
                found = graph.pull().metadata
            except (av.error.BlockingIOError, av.error.EOFError):
                break
            if "lavfi.r128.true_peaks_ch0" in found:
                peaks = (float(found[f"lavfi.r128.true_peaks_ch{c}"]) for c in (0, 1))
                highest = max(highest, *peaks)
    return highest

def work(frames):
    return 20 * np.log10(measured(frames, "true"))

def less(frames):
    measured(frames, "none")
"""
)


def measure() -> list[Outcome]:
    """Ours against each peer, in turns."""
    peers = {"pyebur128": (_EBUR128, 4.0), "ffmpeg": (_FFMPEG, 4.0)}
    return paired("truepeak", _OURS, peers, warm_runs=3)
