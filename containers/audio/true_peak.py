"""How high a recording peaks between its samples, measured while it streams by.

True peak after ITU-R BS.1770-4, annex 2. The kernels are compiled once per machine and come
from numba's cache on disk after that (beside this file, or NUMBA_CACHE_DIR). The limiter's is here
too: numba looks for changes in a compiled function's own file alone, so what it calls has to be in
the same one.
"""

import functools
import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Four times the rate: between the samples lie three phases of a windowed sinc of 48 taps, 12
# in each; the fourth phase is the samples themselves. Annex 2 prints one such filter as an
# example. This one, with a Kaiser window of beta 5, is within 0.01 dB of libebur128 on music,
# where the printed one is 0.05 dB low.
_PHASES = 4
TAPS = 12
_KAISER_BETA = 5.0

RUN_FRAMES = 128
"""Frames looked at together: most runs cannot hold a peak higher than the highest so far, which
shows from their samples alone."""


@functools.cache
def interpolation_phases() -> Floats:
    """The three filters between the samples, each with a gain of 1 at 0 Hz.

    Returns
    -------
    ndarray of float32, shape (3, TAPS)
        Applied to frames ``n … n + 11`` they give the sound a quarter, a half and three
        quarters of the way from frame ``n + 5`` to frame ``n + 6``. Not to be changed.
    """
    position = np.arange(_PHASES * TAPS) - _PHASES * TAPS // 2
    window = np.kaiser(_PHASES * TAPS + 1, _KAISER_BETA)[:-1]
    taps = np.sinc(position / _PHASES) * window
    phases = taps.reshape(TAPS, _PHASES).T[1:]
    exact = phases / phases.sum(axis=1, keepdims=True)
    rounded: Floats = np.ascontiguousarray(exact, np.float32)
    rounded.flags.writeable = False
    return rounded


class TruePeakMeter:
    """Measures one recording, pushed block by block; the same, to the bit, however it is cut.

    Parameters
    ----------
    channels : int
        Channels of every block, at least 1.

    Notes
    -----
    A constant peaks at its level, and by up to 1.1 dB more where it begins and ends at once. One
    sample is not exceeded between the samples. Clipped sound peaks beyond full scale, as it will
    when it is heard. Nothing is kept but the last 11 frames, whatever the length.

    References
    ----------
    Recommendation ITU-R BS.1770-4 (10/2015), annex 2.
    """

    def __init__(self, *, channels: int) -> None:
        self._history = np.zeros((channels, TAPS - 1), np.float32)
        self._peak = np.zeros(1, np.float32)

    def push(self, block: Floats) -> None:
        """Measure the next frames.

        Parameters
        ----------
        block : ndarray of float32, shape (channels, frames)
            C-contiguous and finite; not changed.
        """
        # What overlaps the block before, then the block by itself: nothing long is copied.
        joint = np.concatenate((self._history, block[:, : TAPS - 1]), axis=1)
        _raise_peak(joint, interpolation_phases(), self._peak)
        if block.shape[1] > TAPS - 1:
            _raise_peak(block, interpolation_phases(), self._peak)
            joint = block
        self._history = joint[:, -(TAPS - 1) :].copy()

    @property
    def true_peak_dbtp(self) -> float | None:
        """Highest level between and at the samples so far, in dB relative to full scale.

        Returns
        -------
        float or None
            None where every sample is 0. As if the recording were followed by silence.
        """
        peak = self._peak.copy()
        end = np.pad(self._history, ((0, 0), (0, TAPS - 1)))
        _raise_peak(end, interpolation_phases(), peak)
        return 20.0 * math.log10(peak[0]) if peak[0] else None


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _raise_peak(joined: Any, phases: Any, peak: Any) -> Any:
    """Raise `peak` to the highest of the samples and of what lies between them.

    `joined` is a block behind the taps - 1 frames before it, so that every phase has all of
    its taps. Runs over output frames innermost, one tap after the other: that is vectorised
    without reordering any sum, and the answer does not depend on where blocks are cut.
    """
    count, taps = phases.shape
    reach = reach_of(phases)
    sums = np.empty(RUN_FRAMES, np.float32)
    highest = peak[0]
    frames = joined.shape[1] - (taps - 1)
    for channel in range(joined.shape[0]):
        samples = joined[channel]
        for start in range(0, frames, RUN_FRAMES):
            length = min(RUN_FRAMES, frames - start)
            run = samples[start : start + length + taps - 1]
            loudest = loudest_of(run)
            if loudest * reach <= highest:
                continue
            highest = max(highest, loudest)
            for phase in range(count):
                store_between(run, phases[phase], sums[:length])
                for i in range(length):
                    highest = max(highest, abs(sums[i]))
    peak[0] = highest


@numba.njit(cache=True, nogil=True, error_model="numpy")
def store_peaks(samples: Any, phases: Any, ceiling: Any, peaks: Any) -> None:
    """The highest of each frame and of what lies between it and its neighbours.

    `samples` reach half a filter further than `peaks` on either side. Runs of frames that
    cannot pass the ceiling are left at 0.
    """
    count, taps = phases.shape
    half = taps // 2
    reach = reach_of(phases)
    frames = len(peaks)
    sums = np.empty(RUN_FRAMES, np.float32)
    for channel in range(samples.shape[0]):
        sound = samples[channel]
        for start in range(0, frames, RUN_FRAMES):
            length = min(RUN_FRAMES, frames - start)
            run = sound[start : start + length + taps - 1]
            if loudest_of(run) * reach <= ceiling:
                continue
            for i in range(length):
                peaks[start + i] = max(peaks[start + i], abs(run[i + half]))
            for phase in range(count):
                store_between(run, phases[phase], sums[:length])
                # Between the frame before and this one: it counts for both.
                for i in range(length):
                    peak = abs(sums[i])
                    peaks[start + i] = max(peaks[start + i], peak)
                    if start + i:
                        peaks[start + i - 1] = max(peaks[start + i - 1], peak)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def reach_of(phases: Any) -> Any:
    """How many times the loudest of its samples a sound between them can be at most.

    No phase can raise it by more than the sum of its taps' magnitudes, rounding included.
    """
    reach = np.float32(0.0)
    for phase in range(phases.shape[0]):
        total = np.float32(0.0)
        for tap in range(phases.shape[1]):
            total += abs(phases[phase, tap])
        reach = max(reach, total * np.float32(1.0001))
    return reach


@numba.njit(cache=True, nogil=True, error_model="numpy")
def loudest_of(samples: Any) -> Any:
    """The highest magnitude of float32 samples, 0 where there are none."""
    loudest = np.float32(0.0)
    for i in range(len(samples)):
        loudest = max(loudest, abs(samples[i]))
    return loudest


@numba.njit(cache=True, nogil=True, error_model="numpy")
def store_between(samples: Any, taps: Any, sums: Any) -> None:
    """One phase of the sound between samples, which reach a filter less one beyond `sums`.

    One tap after the other, which is vectorised without reordering any sum.
    """
    sums[:] = np.float32(0.0)
    for tap in range(len(taps)):
        weight, heard = taps[tap], samples[tap:]
        for i in range(len(sums)):
            sums[i] += weight * heard[i]
