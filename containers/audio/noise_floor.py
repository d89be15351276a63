"""How loud a recording is from moment to moment, and what that says about its noise.

Every noise reducer here needs to know three things before its first block: where the pauses
are, how loud the voice is, and whether there is noise worth removing at all. One pass over
the recording answers them; what is kept is one figure for every fifth of a second.

References
----------
R. Martin, "Noise power spectral density estimation based on optimal smoothing and minimum
statistics", IEEE TSAP 9(5), 2001: a voice leaves its noise alone often enough that the
quietest moments of some seconds are the noise.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from clearstem.errors import AudioOutOfRange
from containers.audio.compose import Reader

Floats = NDArray[np.float32]
Exact = NDArray[np.float64]

# Shorter than most pauses between words, longer than most sounds.
SEGMENT_S = 0.2
# Share of the segments that is taken for noise; measured best (5 speakers, 3 noises).
_QUIET_SHARE = 0.15
# What lies 60 dB below the loud segments is no noise anyone hears: a muted or gated gap.
_GAP_RATIO = 1e-6
_LOUD_PERCENTILE = 90.0
_FLOOR_PERCENTILE = 5.0
# Half a minute on either side would let a clean half vouch for a noisy one.
_WINDOW_S = 20.0
# From recordings of speech: clean ones measure 28 dB and more by these percentiles, steady
# noise at 20 dB below the voice measures 22 to 26 dB.
_NOISY_DB = 25.0
_CLEAN_DB = 28.0
# 2 s: a shorter silence is a pause of the voice, which tells how clean it is.
_MUTED_SEGMENTS = 10
# What a network turns down by 10 dB and more, it takes for noise with no voice in it.
_REMOVED_RATIO = 0.1
# Loud moments that lose more than 6 dB were no voice, whatever they were.
_VOICED_RATIO = 0.25
# Segments read at a time.
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Levels:
    """Mean power of consecutive segments of a recording.

    Attributes
    ----------
    segment_frames : int
        Length of every segment but perhaps the last.
    power : ndarray of float64, shape (segments,)
        Mean square over frames and channels, full scale 1.
    """

    segment_frames: int
    power: Exact

    @property
    def loud_power(self) -> float:
        """Power of the loud segments (their 90th percentile); 0 for digital silence."""
        sounding = self.power[self.power > 0]
        return float(np.percentile(sounding, _LOUD_PERCENTILE)) if len(sounding) else 0.0


def measure_levels(source: Reader) -> Levels:
    """Levels of the whole of `source`, which is read once.

    Raises
    ------
    AudioOutOfRange
        If it holds samples that are NaN or infinite, which no decoded Recording does.
    """
    length = max(1, round(SEGMENT_S * source.rate_hz))
    power = []
    for start in range(0, source.frames, _BATCH * length):
        stop = min(start + _BATCH * length, source.frames)
        squares = np.square(source.read(start, stop), dtype=np.float64).mean(axis=0)
        if not np.isfinite(squares).all():
            msg = f"NaN or infinite samples after {start / source.rate_hz:.1f} s"
            raise AudioOutOfRange(msg)
        starts = np.arange(0, stop - start, length)
        counts = np.diff(np.append(starts, stop - start))
        power.append(np.add.reduceat(squares, starts) / counts)
    return Levels(length, np.concatenate(power))


def quiet_segments(levels: Levels, *, most: int) -> NDArray[np.intp]:
    """The segments to learn the noise from, in the order of time.

    They are the quietest 15 % of those that are not silent gaps, thinned out evenly to at
    most `most`. Empty for digital silence.
    """
    heard = np.flatnonzero(_sounding(levels))
    order = heard[np.argsort(levels.power[heard], kind="stable")]
    count = max(1, round(_QUIET_SHARE * len(order)))
    quiet = np.sort(order[:count])
    spread = np.linspace(0, len(quiet) - 1, min(most, len(quiet))).round().astype(np.intp)
    picked: NDArray[np.intp] = quiet[spread] if len(quiet) else quiet
    return picked


def noisiness(levels: Levels) -> Exact:
    """How much of a noise reducer's answer each segment should get, 0 to 1.

    Around a clean voice every reducer does harm and has nothing to do. The level of the loud
    moments over that of the quietest ones, in the 20 s around a segment, tells the two
    apart: 0 from 28 dB on, 1 up to 25 dB, in between in proportion. Silent gaps of 2 s and
    more, and those before and after everything, are left out, since a muted stretch says
    nothing about the noise beside it.

    Returns
    -------
    ndarray of float64, shape (segments,)
    """
    gaps = ~_sounding(levels)
    muted = scipy.ndimage.binary_opening(gaps, np.ones(_MUTED_SEGMENTS))
    muted |= np.logical_and.accumulate(gaps)
    muted |= np.logical_and.accumulate(gaps[::-1])[::-1]
    heard = np.flatnonzero(~muted)
    if not len(heard):
        return np.zeros(len(levels.power))
    power = np.maximum(levels.power[heard], np.finfo(np.float64).tiny)
    size = min(len(power), round(_WINDOW_S / SEGMENT_S) | 1)
    low, high = (
        scipy.ndimage.percentile_filter(power, percent, size=size, mode="nearest")
        for percent in (_FLOOR_PERCENTILE, _LOUD_PERCENTILE)
    )
    range_db = 10 * np.log10(high / low)
    share = np.clip((_CLEAN_DB - range_db) / (_CLEAN_DB - _NOISY_DB), 0, 1)
    spread: Exact = np.interp(np.arange(len(levels.power)), heard, share)
    return spread


def noisiness_by_answer(levels: Levels, answer: Levels) -> Exact:
    """`noisiness`, where a noise reducer that knows voices has told them from noise.

    Noise that comes and goes leaves quiet moments, by which `noisiness` takes a recording for
    clean. A trained network's answer shows where there was noise and nothing else: those are
    the segments that it all but removed. Their mean level, and that of the loud moments of the
    answer, are compared as the percentiles are there. Where nothing was removed, or the loud
    moments themselves (music, alarms), nothing is known and `noisiness` stands; it does also
    where it is higher.

    Parameters
    ----------
    levels, answer
        Of the recording and of the answer, by the same segments.

    Returns
    -------
    ndarray of float64, shape (segments,)
    """
    size = min(len(levels.power), round(_WINDOW_S / SEGMENT_S) | 1)
    removed = (answer.power < _REMOVED_RATIO * levels.power) & _sounding(levels)
    share, noise = (
        scipy.ndimage.uniform_filter1d(values, size, mode="nearest")
        for values in (removed.astype(np.float64), np.where(removed, levels.power, 0.0))
    )
    loud, loud_before = (
        scipy.ndimage.percentile_filter(power, _LOUD_PERCENTILE, size=size, mode="nearest")
        for power in (answer.power, levels.power)
    )
    least = np.finfo(np.float64).tiny
    # Less than half a segment in the window is rounding of the filter's running sum.
    known = (share * size > 0.5) & (loud > _VOICED_RATIO * loud_before)
    ratio = np.maximum(loud, least) * np.where(known, share, 1) / np.maximum(noise, least)
    noisy = np.clip((_CLEAN_DB - 10 * np.log10(ratio)) / (_CLEAN_DB - _NOISY_DB), 0, 1)
    return np.maximum(noisiness(levels), np.where(known, noisy, 0))


def _sounding(levels: Levels) -> NDArray[np.bool_]:
    """Which segments are within 60 dB of the loud ones."""
    sounding: NDArray[np.bool_] = levels.power > _GAP_RATIO * levels.loud_power
    return sounding


def share_at(shares: Exact, levels: Levels, start: int, stop: int) -> Floats:
    """`noisiness` at every frame from `start` to `stop`, joined by straight lines.

    Returns
    -------
    ndarray of float32, shape (stop - start,)
    """
    centres = (np.arange(len(shares)) + 0.5) * levels.segment_frames
    return np.interp(np.arange(start, stop), centres, shares).astype(np.float32)
