"""Test signals by formula: float32, (channels, frames), full scale ±1."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def amplitude(level_db: float) -> float:
    """Linear factor of a level in dB."""
    return float(10.0 ** (level_db / 20.0))


def sine(
    hz: float,
    seconds: float,
    *,
    rate_hz: int = 44_100,
    channels: int = 1,
    peak_dbfs: float = 0.0,
    phase_deg: float = 0.0,
) -> Floats:
    """The same sine in every channel."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = amplitude(peak_dbfs) * np.sin(2 * np.pi * hz * t + np.radians(phase_deg))
    return np.tile(wave.astype(np.float32), (channels, 1))


def noise(frames: int, *, channels: int = 1, peak: float = 0.5, seed: int = 0) -> Floats:
    """White noise, evenly spread over ±peak, different in each channel."""
    drawn = np.random.default_rng(seed).uniform(-peak, peak, (channels, frames))
    return drawn.astype(np.float32)


def click_train(frames: int, *, period: int, channels: int = 1, peak: float = 0.5) -> Floats:
    """Single samples of `peak`, one every `period` frames, the first at frame 0."""
    clicks = np.zeros((channels, frames), np.float32)
    clicks[:, ::period] = peak
    return clicks


def silence(frames: int, *, channels: int = 1) -> Floats:
    """Digital silence."""
    return np.zeros((channels, frames), np.float32)


def chirp(
    frames: int, *, rate_hz: int = 44_100, channels: int = 1, peak: float = 0.3, top: float = 0.2
) -> Floats:
    """A sine that rises from 0.5 % to `top` of the rate, in each channel a bit higher.

    Nowhere like itself a few samples on, so any shift shows as an error.
    """
    t = np.arange(frames) / rate_hz
    seconds = max(frames / rate_hz, 1 / rate_hz)
    start_hz = 0.005 * rate_hz
    waves = [
        np.sin(2 * np.pi * (start_hz * t + (top * rate_hz - start_hz) * t * t / 2 / seconds) + c)
        for c in range(channels)
    ]
    return (peak * np.array(waves)).astype(np.float32).reshape(channels, frames)
