"""Harmonic-percussive decomposition of a recording of any length.

Equal to ``librosa.effects.hpss`` with its defaults on each channel, but block by block:
a median over 31 frames looks 15 frames ahead, so a block of frames with 15 more on either
side is all that its result depends on. Blocks are computed in parallel and put together
in order; memory depends on their size and on the number of threads alone.

References
----------
D. Fitzgerald, "Harmonic/percussive separation using median filtering", DAFx-10, 2010.
J. Driedger, M. Müller, S. Disch, "Extending harmonic-percussive separation of audio",
ISMIR 2014 (the margin).
"""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from clearstem.errors import AudioOutOfRange
from containers.audio.compose import Reader, Writer
from containers.audio.median import (
    Floats,
    checked_width,
    lane_columns,
    median_along_columns,
    median_along_rows,
)
from containers.audio.stft import SLOTS, frame_count, overlapped, slot_weights, transform
from containers.audio.stream import Progress, ignore

# librosa's defaults: frames of 2048 samples, a quarter of it apart.
N_FFT = 2048
HOP = N_FFT // SLOTS
BINS = N_FFT // 2 + 1
# 1.5 s at 44.1 kHz: look-ahead costs 23 % more transforms, while one channel's arrays stay in
# a core's second-level cache. Half and twice of it are as fast within the noise.
BLOCK = 128
_MAX_THREADS = 16


@dataclass(frozen=True, slots=True)
class _Plan:
    """What every block of one run has in common."""

    total: int  # frames of the spectrogram
    width: int
    margin: float
    power: float


@dataclass(frozen=True, slots=True)
class _Block:
    """Spectrogram frames `first` to `last`, of which the source gave `begin` to `end`."""

    first: int
    last: int
    begin: int
    end: int
    samples: Floats  # (channels, …) from the first sample of frame `begin` on

    @property
    def origin(self) -> int:
        """The sample of the source at which `samples` starts; may be negative."""
        return self.begin * HOP - N_FFT // 2


def decompose(
    source: Reader,
    harmonic: Writer,
    percussive: Writer,
    *,
    kernel: int = 31,
    margin: float = 1.0,
    power: float = 2.0,
    block: int = BLOCK,
    progress: Progress = ignore,
) -> None:
    """Write the harmonic and the percussive part of `source`.

    Each channel equals ``librosa.effects.hpss(channel, kernel_size=kernel, margin=margin,
    power=power)`` to 1e-6 of full scale: librosa goes back to time in float64, this in float32.

    With ``margin == 1`` the percussive part is the source minus the harmonic part in
    float32, so the two add up to the source to one rounding of the larger part
    (-140 dB). With a larger margin each part keeps only what is `margin` times stronger
    in its own direction, both are synthesized, and what belongs to neither is in none.

    Parameters
    ----------
    source
        Any rate, channel count and length from 1 frame on; finite samples.
    harmonic, percussive
        Take float32 blocks of shape (channels, frames), in order; ``source.frames`` in all.
    kernel
        Odd width of both medians, in frames and in bins.
    margin
        How many times stronger a part must be, >= 1.
    power
        Exponent of the soft mask, > 0.
    block
        Spectrogram frames computed at a time, >= 1. The result does not depend on it.
    progress
        Called after every block with (frames written, frames in all).

    Raises
    ------
    ValueError
        For an option outside its range; the message gives value and range.
    AudioOutOfRange
        If `source` holds samples that are NaN or infinite.

    Notes
    -----
    Silence gives silence; a constant is harmonic; one sample is a recording like any other, as is
    what was clipped or lies beyond full scale: nothing is clipped here. Ten hours take the memory
    of ten minutes.
    """
    plan = _checked(_Plan(frame_count(source.frames, n_fft=N_FFT), kernel, margin, power), block)
    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    tail: Floats | float = 0.0
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        work = functools.partial(_parts, plan)
        for piece, parts in _in_order(pool, threads, work, _blocks(source, plan, block)):
            # What the frames of the block before reach into this one.
            parts[:, :, : SLOTS - 1] += tail
            tail = parts[:, :, piece.last - piece.first :]
            sound = _ready(plan, piece, parts)[:, :, : source.frames - done]
            at = done - piece.origin
            whole = piece.samples[:, at : at + sound.shape[2]]
            harmonic.write(sound[0])
            percussive.write(whole - sound[0] if margin == 1 else sound[1])
            done += sound.shape[2]
            progress(done, source.frames)


def _checked(plan: _Plan, block: int) -> _Plan:
    checked_width(plan.width)
    for name, value, low in (("margin", plan.margin, 1.0), ("block", block, 1)):
        if not low <= value < np.inf:
            msg = f"{name} {value}: must be finite and at least {low}"
            raise ValueError(msg)
    if not 0 < plan.power < np.inf:
        msg = f"power {plan.power}: must be finite and above 0"
        raise ValueError(msg)
    return plan


def _blocks(source: Reader, plan: _Plan, block: int) -> Iterator[_Block]:
    reach = plan.width // 2
    for first in range(0, plan.total, block):
        last = min(first + block, plan.total)
        begin, end = max(0, first - reach), min(plan.total, last + reach)
        start = begin * HOP - N_FFT // 2
        samples = source.read(start, (end - 1) * HOP + N_FFT // 2)
        if not np.isfinite(samples).all():
            msg = f"NaN or infinite samples after {max(0, start) / source.rate_hz:.1f} s"
            raise AudioOutOfRange(msg)
        yield _Block(first, last, begin, end, samples)


def _in_order(
    pool: ThreadPoolExecutor,
    ahead: int,
    work: Callable[[_Block], Floats],
    blocks: Iterator[_Block],
) -> Iterator[tuple[_Block, Floats]]:
    """Each block with its result, in order, at most `ahead` of them being worked on."""
    pending: deque[tuple[_Block, Future[Floats]]] = deque()
    for piece in blocks:
        pending.append((piece, pool.submit(work, piece)))
        if len(pending) > ahead:
            oldest, result = pending.popleft()
            yield oldest, result.result()
    for oldest, result in pending:
        yield oldest, result.result()


def _parts(plan: _Plan, piece: _Block) -> Floats:
    """The overlapped frames of one block, window still squared into them.

    Shape (parts, channels, frames + 3, HOP): the harmonic part and, where the margin is
    above 1, the percussive one.
    """
    channels = [_channel_parts(plan, piece, samples) for samples in piece.samples]
    return np.stack(channels, axis=1)


def _channel_parts(plan: _Plan, piece: _Block, samples: Floats) -> Floats:
    spectrum = transform(samples, n_fft=N_FFT)
    magnitudes = np.zeros((len(spectrum), lane_columns(BINS)), np.float32)
    _store_magnitudes(spectrum, magnitudes)
    own = slice(piece.first - piece.begin, piece.last - piece.begin)
    steady = median_along_rows(_context(plan, piece, magnitudes), width=plan.width)
    sudden = median_along_columns(magnitudes[own], columns=BINS, width=plan.width)
    pairs = [(steady, sudden)] if plan.margin == 1 else [(steady, sudden), (sudden, steady)]
    masked = np.empty_like(spectrum[own])
    parts = []
    for kept, against in pairs:
        _mask(spectrum[own], kept, against, plan.margin, plan.power, masked)
        parts.append(overlapped(masked, n_fft=N_FFT))
    return np.stack(parts)


def _context(plan: _Plan, piece: _Block, magnitudes: Floats) -> Floats:
    """Frames ``first - reach`` to ``last + reach``, mirrored at the recording's ends."""
    reach = plan.width // 2
    frames = np.arange(piece.first - reach, piece.last + reach) % (2 * plan.total)
    frames = np.minimum(frames, 2 * plan.total - 1 - frames)
    return magnitudes[frames - piece.begin]


def _ready(plan: _Plan, piece: _Block, parts: Floats) -> Floats:
    """Finished samples of a block, shape (parts, channels, n), the padding cut off."""
    last = piece.last == plan.total
    slots = parts.shape[2] if last else piece.last - piece.first
    weights = slot_weights(piece.first, slots, frames=plan.total, n_fft=N_FFT)
    sound = (parts[:, :, :slots] / weights).reshape(*parts.shape[:2], -1)
    return sound[:, :, max(0, N_FFT // 2 - piece.first * HOP) :]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _store_magnitudes(spectrum: Any, magnitudes: Any) -> None:
    for row in range(spectrum.shape[0]):
        for column in range(spectrum.shape[1]):
            value = spectrum[row, column]
            magnitudes[row, column] = np.sqrt(value.real * value.real + value.imag * value.imag)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mask(spectrum: Any, kept: Any, against: Any, margin: Any, power: Any, masked: Any) -> None:
    """``kept^p / (kept^p + (margin·against)^p)`` of each value of `spectrum`.

    Where both are zero the value is shared out evenly, or dropped if a margin is asked.
    """
    zero_share = np.float32(0.5 if margin == 1 else 0.0)
    for row in range(spectrum.shape[0]):
        for column in range(spectrum.shape[1]):
            mine = kept[row, column]
            other = against[row, column] * np.float32(margin)
            larger = max(mine, other)
            if larger < np.float32(1.1754943508222875e-38):  # smallest normal float32
                share = zero_share
            else:
                mine, other = mine / larger, other / larger
                if power == 2:
                    mine, other = mine * mine, other * other
                else:
                    mine, other = mine ** np.float32(power), other ** np.float32(power)
                share = mine / (mine + other)
            masked[row, column] = spectrum[row, column] * share
