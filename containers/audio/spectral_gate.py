"""The spectral gate of noisereduce for recordings of any length, without its cost.

A bin of the spectrogram is kept where it stands out from the noise, and the pattern of kept
bins is smoothed so that nothing clicks. Two rules tell what stands out: a threshold for each
frequency learnt from a stretch of noise (`Stationary`), or the bin's own mean over the
seconds around it (`Moving`). Chunks, paddings and frames lie where noisereduce has
them, so both rules give its result; arrays are float32 where no decision hangs on them.

Channels share one mask, drawn from their mean power: what is on the left stays there. On one
channel that is noisereduce's own rule.

References
----------
T. Sainburg, M. Thielk, T. Q. Gentner, "Finding, visualizing, and quantifying latent structure
across diverse animal vocal repertoires", PLOS Comp. Biol. 16(10), 2020; the package
noisereduce 3.0.3, whose names are told in brackets below.
"""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from containers.audio.compose import Reader
from containers.audio.gate_kernels import (
    compare_to_mean,
    open_bins,
    smooth,
    store_amplitude,
    weigh,
)
from containers.audio.stft import SLOTS, Complex, Floats, overlapped, slot_weights

# Both are noisereduce's (chunk_size, padding). Frames start anew with every chunk, so the
# result depends on them.
CHUNK_FRAMES = 600_000
PADDING_FRAMES = 30_000
# Levels further below a frequency's loudest one are raised to there (top_db).
_RANGE_DB = 80.0
_EPS = float(np.finfo(np.float64).eps)
# Samples of frames transformed at a time: their float64 copies stay within a few MB.
_BATCH_SAMPLES = 262_144
_MAX_THREADS = 8

Exact = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """Frames and smoothing of a gate.

    Attributes
    ----------
    n_fft : int
        Frame length in samples, a multiple of 4 (`n_fft`); frames lie a quarter apart.
    decrease : float
        How much of a closed bin is taken away, 0 to 1 (`prop_decrease`).
    smooth_hz, smooth_ms : float
        Half width of the triangle that smooths the mask (`freq_mask_smooth_hz`,
        `time_mask_smooth_ms`).
    edges : str
        What the triangle finds beyond the lowest and the highest frequency: "closed" bins as
        in noisereduce, which takes half of the bass away, or "mirrored" weight, which keeps
        an open mask open.
    """

    n_fft: int = 1024
    decrease: float = 1.0
    smooth_hz: float = 500.0
    smooth_ms: float = 50.0
    edges: Literal["closed", "mirrored"] = "closed"

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return self.n_fft // SLOTS


@dataclass(frozen=True, slots=True)
class Stationary:
    """Open where a bin is louder than its frequency's threshold.

    Attributes
    ----------
    threshold_db : ndarray of float64, shape (n_fft // 2 + 1,)
        As `noise_threshold` learns it.
    """

    threshold_db: Exact


@dataclass(frozen=True, slots=True)
class Moving:
    """Open, softly, where a bin is louder than its own mean over time.

    Attributes
    ----------
    time_constant_s : float
        Of the mean, which looks both ways (`time_constant_s`).
    threshold : float
        Multiples of the mean at which a bin is half open (`thresh_n_mult_nonstationary`).
    slope : float
        Steepness there (`sigmoid_slope_nonstationary`).
    """

    time_constant_s: float = 2.0
    threshold: float = 2.0
    slope: float = 10.0


@dataclass(frozen=True, slots=True)
class _Smoothing:
    """Triangles along frequency and time, and ``gain · smoothed + floor`` of each bin."""

    frequency: Floats
    time: Floats
    gain: Floats
    floor: Floats


def noise_threshold(noise: Floats, *, n_fft: int, deviations: float = 1.5) -> Exact:
    """Threshold of each frequency, learnt from a stretch of noise.

    Mean of the level in dB plus `deviations` times its standard deviation, over time.

    Parameters
    ----------
    noise
        float32 (channels, n), n >= 1.
    n_fft
        Frame length in samples.
    deviations
        See above (`n_std_thresh_stationary`).

    Returns
    -------
    ndarray
        float64 (n_fft // 2 + 1,), dB of the amplitude of a sine.
    """
    short = max(0, n_fft - noise.shape[1])
    padded = np.pad(noise, ((0, 0), (n_fft // 2, n_fft // 2 + short)))
    power = np.concatenate([_power(batch) for _, batch in _spectra(padded, n_fft, np.float64)])
    levels_db = 20 * np.log10(np.sqrt(power) + _EPS)
    levels_db = np.maximum(levels_db, levels_db.max(axis=0) - _RANGE_DB)
    threshold: Exact = levels_db.mean(axis=0) + deviations * levels_db.std(axis=0)
    return threshold


def gated(source: Reader, *, rule: Stationary | Moving, shape: Shape) -> Iterator[Floats]:
    """`source` through a gate, chunk by chunk.

    Equal to ``noisereduce.reduce_noise`` of one channel with the same threshold and options
    within -120 dB of the signal, with ``edges="closed"``. Digital silence, where that answers
    NaN, gives silence.

    Parameters
    ----------
    source
        Any rate, channel count and length from 1 frame on; finite samples.
    rule
        What opens a bin.
    shape
        Frames and smoothing.

    Yields
    ------
    ndarray
        float32 (channels, n), in order, ``source.frames`` frames in all.

    Raises
    ------
    ValueError
        If a frame is longer than the padding, or the smoothing narrower than one bin.
    """
    smoothing = _smoothing(shape, rule, source.rate_hz)

    def work(start: int) -> Floats:
        return _chunk(source, start, rule, shape, smoothing)

    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        yield from _in_order(pool, threads, work, range(0, source.frames, CHUNK_FRAMES))


def _in_order(
    pool: ThreadPoolExecutor, ahead: int, work: Callable[[int], Floats], starts: range
) -> Iterator[Floats]:
    pending: deque[Future[Floats]] = deque()
    for start in starts:
        pending.append(pool.submit(work, start))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _chunk(
    source: Reader,
    start: int,
    rule: Stationary | Moving,
    shape: Shape,
    smoothing: _Smoothing,
) -> Floats:
    length = min(CHUNK_FRAMES, source.frames)
    kept = min(length, source.frames - start)
    samples = source.read(start - PADDING_FRAMES, start + length + PADDING_FRAMES)
    half = shape.n_fft // 2
    padded = np.pad(samples, ((0, 0), (half, half)))
    spectrum, mask = _analysed(padded, rule, shape, source.rate_hz)
    s = smoothing
    smooth(mask, s.frequency, s.time, s.gain, s.floor)
    weights = _weights(len(mask), shape.n_fft)
    first = half + PADDING_FRAMES
    sound = np.empty((source.channels, kept), np.float32)
    for channel, values in enumerate(spectrum):
        weigh(values, mask)
        slots = overlapped(values, n_fft=shape.n_fft)
        slots /= weights
        sound[channel] = slots.reshape(-1)[first : first + kept]
    return sound


@functools.lru_cache(maxsize=2)
def _weights(frames: int, n_fft: int) -> Floats:
    """`slot_weights` of a whole chunk; the same for every chunk of a recording."""
    return slot_weights(0, frames + SLOTS - 1, frames=frames, n_fft=n_fft)


def _analysed(
    padded: Floats, rule: Stationary | Moving, shape: Shape, rate_hz: int
) -> tuple[Complex, Floats]:
    """Spectrogram of each channel, (channels, frames, bins), and the mask before smoothing."""
    frames = 1 + (padded.shape[1] - shape.n_fft) // shape.hop
    bins = shape.n_fft // 2 + 1
    spectrum = np.empty((len(padded), frames, bins), np.complex64)
    if isinstance(rule, Moving):
        amplitude = np.empty((frames, bins), np.float32)
        for first, batch in _spectra(padded, shape.n_fft, np.float32):
            spectrum[:, first : first + batch.shape[1]] = batch
            store_amplitude(batch, amplitude[first : first + batch.shape[1]])
        return spectrum, _moving_mask(amplitude, rule, shape, rate_hz)
    # A threshold decides between all and nothing, so it is compared in float64.
    mask = np.empty((frames, bins), np.float32)
    power_threshold = np.maximum(10 ** (rule.threshold_db / 20) - _EPS, 0.0) ** 2
    loudest = np.zeros(bins)
    for first, batch in _spectra(padded, shape.n_fft, np.float64):
        spectrum[:, first : first + batch.shape[1]] = batch
        open_bins(batch, power_threshold, _scale(shape.n_fft), mask[first:], loudest)
    levels_db = 20 * np.log10(np.sqrt(loudest) + _EPS) - _RANGE_DB
    mask[:, levels_db > rule.threshold_db] = 1
    return spectrum, mask


def _spectra(padded: Floats, n_fft: int, dtype: Any) -> Iterator[tuple[int, Any]]:
    """Batches of frames as (first frame, complex (channels, frames, bins))."""
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=1)
    frames = frames[:, :: n_fft // SLOTS]
    turn = 2 * np.pi * np.arange(n_fft) / n_fft
    window = (0.5 - 0.5 * np.cos(turn)).astype(dtype)
    count = max(1, _BATCH_SAMPLES // n_fft)
    for first in range(0, frames.shape[1], count):
        batch = frames[:, first : first + count] * window
        yield first, scipy.fft.rfft(batch, axis=2, overwrite_x=True)


def _scale(n_fft: int) -> float:
    """What a power is multiplied with so that a sine's amplitude is read from it."""
    return 1 / float(n_fft / 2) ** 2


def _power(spectra: Any) -> Exact:
    """Mean power of the channels, (frames, bins)."""
    power: Exact = (spectra.real**2 + spectra.imag**2).mean(axis=0)
    return power * _scale(2 * (spectra.shape[2] - 1))


def _moving_mask(amplitude: Floats, rule: Moving, shape: Shape, rate_hz: int) -> Floats:
    """The soft mask of `Moving`; the amplitudes are overwritten.

    The mean is a one-pole low-pass run forth and back. Its coefficient solves noisereduce's
    equation for a time constant of `t` frames: ``b = (sqrt(1 + 4t²) - 1) / 2t²``.
    """
    t = rule.time_constant_s * rate_hz / shape.hop
    pole = (np.sqrt(1 + 4 * t**2) - 1) / (2 * t**2)
    compare_to_mean(amplitude, pole, np.float32(rule.threshold), np.float32(rule.slope))
    # The sigmoid's exponential is numpy's, whose float32 one fills vector registers. Its
    # argument is bounded, so that a bin far below its mean does not overflow.
    np.exp(np.minimum(amplitude, np.float32(80), out=amplitude), out=amplitude)
    amplitude += 1
    np.reciprocal(amplitude, out=amplitude)
    return amplitude


def _smoothing(shape: Shape, rule: Stationary | Moving, rate_hz: int) -> _Smoothing:
    bins = shape.n_fft // 2 + 1
    across = int(shape.smooth_hz / (rate_hz / (shape.n_fft / 2)))
    along = int(shape.smooth_ms / (shape.hop / rate_hz * 1000))
    if across < 1 or along < 1 or shape.n_fft > PADDING_FRAMES:
        msg = (
            f"n_fft {shape.n_fft}, smooth_hz {shape.smooth_hz:g}, smooth_ms {shape.smooth_ms:g} "
            f"at {rate_hz} Hz: the smoothing must reach a bin and a frame, and n_fft be at most "
            f"{PADDING_FRAMES}"
        )
        raise ValueError(msg)
    frequency, time = _triangle(across), _triangle(along)
    inside = np.convolve(np.ones(bins), frequency)[across : across + bins]
    gain = 1 / inside if shape.edges == "mirrored" else np.ones(bins)
    # noisereduce smooths what stays of closed bins with the mask, or adds it afterwards.
    floor = inside * gain if isinstance(rule, Stationary) else np.ones(bins)
    parts = (frequency, time, gain * shape.decrease, floor * (1 - shape.decrease))
    return _Smoothing(*(part.astype(np.float32) for part in parts))


def _triangle(reach: int) -> Exact:
    """A triangle of ``2 * reach + 1`` weights, none of them 0, whose sum is 1."""
    rising = np.arange(1, reach + 2) / (reach + 1)
    weights: Exact = np.concatenate([rising, rising[-2::-1]])
    weights /= weights.sum()
    return weights
