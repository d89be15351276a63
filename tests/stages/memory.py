"""Recordings in memory, and one that is made up while it is read."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Sound:
    """An array that reads like a Recording."""

    def __init__(self, samples: Floats, *, rate_hz: int = 44_100) -> None:
        self.samples = samples.astype(np.float32)
        self.rate_hz = rate_hz
        self.channels, self.frames = samples.shape

    def read(self, start: int, stop: int) -> Floats:
        block = np.zeros((self.channels, stop - start), np.float32)
        first, last = max(start, 0), min(stop, self.frames)
        if first < last:
            block[:, first - start : last - start] = self.samples[:, first:last]
        return block


class EndlessNoise:
    """As many frames of noise as wanted, none of them kept."""

    def __init__(self, *, seconds: float, channels: int = 2, rate_hz: int = 44_100) -> None:
        self.rate_hz = rate_hz
        self.channels = channels
        self.frames = round(seconds * rate_hz)

    def read(self, start: int, stop: int) -> Floats:
        noise = np.random.default_rng(max(start, 0)).standard_normal(
            (self.channels, stop - start), dtype=np.float32
        )
        places = np.arange(start, stop)
        noise *= np.float32(0.1) * ((places >= 0) & (places < self.frames))
        return noise


class Tape:
    """Takes blocks like a RecordingWriter and shows them as one array."""

    def __init__(self) -> None:
        self.blocks: list[Floats] = []

    def write(self, block: Floats) -> None:
        assert block.dtype == np.float32
        self.blocks.append(block.copy())

    @property
    def samples(self) -> Floats:
        return np.concatenate(self.blocks, axis=1)


class Bin:
    """Takes blocks and keeps their number of frames only."""

    frames_written = 0

    def write(self, block: Floats) -> None:
        self.frames_written += block.shape[1]


def peak_mb() -> float:
    """The largest resident set of this process so far, in MiB.

    Not ``ru_maxrss``: that one starts at what the parent used when it forked, and a test's
    process uses more than any stage it starts.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def noise(channels: int, frames: int, *, seed: int = 0, amplitude: float = 0.2) -> Floats:
    """White noise, deviation `amplitude`."""
    drawn = np.random.default_rng(seed).standard_normal((channels, frames), dtype=np.float32)
    return drawn * np.float32(amplitude)


def song(*, seconds: float, rate_hz: int = 44_100) -> Floats:
    """Steady chords with a click every half second: two channels of something to take apart."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    chord = sum(np.sin(2 * np.pi * f * t) for f in (110.0, 220.0, 277.2, 329.6)) / 10
    click = np.exp(-(t % 0.5) * 200) * np.random.default_rng(1).standard_normal(len(t)) / 3
    return np.stack([chord + click, 0.8 * chord - click]).astype(np.float32)
