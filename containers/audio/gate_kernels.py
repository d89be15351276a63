"""The loops of the spectral gate, compiled: what numpy would do in many passes over memory.

Each comes from numba's cache on disk once a machine has compiled it, and lets other threads
run. Innermost loops go over a row of bins and index nothing that might be negative, which is
what it takes for the compiler to fill vector registers.
"""

from typing import Any

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, error_model="numpy")
def store_amplitude(spectra: Any, amplitude: Any) -> None:
    """Root of the channels' mean power."""
    channels, frames, bins = spectra.shape
    for row in range(frames):
        amplitude[row] = 0
        for channel in range(channels):
            for column in range(bins):
                value = spectra[channel, row, column]
                amplitude[row, column] += value.real * value.real + value.imag * value.imag
        # A loop of its own, with nothing else in it: so it fills vector registers.
        for column in range(bins):
            amplitude[row, column] = np.sqrt(amplitude[row, column] / np.float32(channels))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weigh(spectrum: Any, mask: Any) -> None:
    """Multiply a spectrogram by a real mask."""
    for row in range(spectrum.shape[0]):
        for column in range(spectrum.shape[1]):
            value, weight = spectrum[row, column], mask[row, column]
            spectrum[row, column] = complex(value.real * weight, value.imag * weight)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def open_bins(spectra: Any, threshold: Any, scale: Any, mask: Any, loudest: Any) -> None:
    """1 where the channels' mean power is above `threshold`, else 0; tracks the loudest."""
    channels, frames, bins = spectra.shape
    for row in range(frames):
        for column in range(bins):
            power = 0.0
            for channel in range(channels):
                value = spectra[channel, row, column]
                power += value.real * value.real + value.imag * value.imag
            power *= scale / channels
            mask[row, column] = np.float32(1 if power > threshold[column] else 0)
            loudest[column] = max(loudest[column], power)


# Sums may be reordered and contracted, which vector units need; NaN is dealt with by hand.
_LOOSE = {"contract", "reassoc", "arcp", "nsz"}


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_LOOSE)
def compare_to_mean(amplitude: Any, pole: Any, threshold: Any, slope: Any) -> None:
    """Each amplitude becomes the sigmoid's negated argument, from its ratio to the mean."""
    rows, columns = amplitude.shape
    mean = np.empty((rows, columns), np.float32)
    keep = 1 - pole
    # In float32 a mean of some hundred frames would be off by -97 dB.
    state = amplitude[0].astype(np.float64)
    for row in range(rows):
        for column in range(columns):
            state[column] = pole * amplitude[row, column] + keep * state[column]
            mean[row, column] = state[column]
    for row in range(rows - 1, -1, -1):
        for column in range(columns):
            state[column] = pole * mean[row, column] + keep * state[column]
            centre = np.float32(state[column])
            above = np.float32(0)
            if centre > 0:
                above = (amplitude[row, column] - centre) / centre
            amplitude[row, column] = (threshold - above) * slope


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_LOOSE)
def smooth(mask: Any, frequency: Any, time: Any, gain: Any, floor: Any) -> None:
    """``gain · (frequency ⊗ time) * mask + floor``, with zeros beyond the mask's edges."""
    rows, columns = mask.shape
    across, along = len(frequency) // 2, len(time) // 2
    wide = np.zeros(columns + 2 * across, np.float32)
    across_smooth = np.zeros((rows + 2 * along, columns), np.float32)
    for row in range(rows):
        wide[across : across + columns] = mask[row]
        _add_taps(across_smooth[row + along], wide, 1, frequency)
    for row in range(rows):
        mask[row] = 0
        _add_taps(mask[row], across_smooth[row : row + len(time)].reshape(-1), columns, time)
        for column in range(columns):
            mask[row, column] = mask[row, column] * gain[column] + floor[column]


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_LOOSE)
def _add_taps(sums: Any, values: Any, step: Any, taps: Any) -> None:
    """Add to each of `sums` what the taps make of `values` from there on, `step` apart."""
    count = len(sums)
    fours = len(taps) // 4 * 4
    # Four taps at a time: fewer passes over the sums, which is what takes the time. Slices,
    # since an index that might be negative keeps a loop out of vector registers.
    for k in range(0, fours, 4):
        one, two, three, four = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
        a, b = values[k * step :][:count], values[(k + 1) * step :][:count]
        c, d = values[(k + 2) * step :][:count], values[(k + 3) * step :][:count]
        for i in range(count):
            sums[i] += one * a[i] + two * b[i] + three * c[i] + four * d[i]
    for k in range(fours, len(taps)):
        one, a = taps[k], values[k * step :][:count]
        for i in range(count):
            sums[i] += one * a[i]
