"""Short-time Fourier transform with a Hann window and three quarters of overlap.

Frame ``t`` is centred on sample ``t * n_fft / 4``, as librosa's ``center=True``: whoever
transforms a recording from its start gives half a frame of what comes before it, zeros.
Synthesis adds up windowed frames in slots of one hop and divides by the window's square.
"""

import functools
from typing import Any

import numba
import numpy as np
import scipy.fft
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Complex = NDArray[np.complex64]

# A frame is this many hops long.
SLOTS = 4


@functools.cache
def hann(n_fft: int) -> Floats:
    """Periodic Hann window of `n_fft` samples; not to be changed by the caller."""
    window = _exact_hann(n_fft).astype(np.float32)
    window.flags.writeable = False
    return window


@functools.cache
def _exact_hann(n_fft: int) -> NDArray[np.float64]:
    turn = 2 * np.pi * np.arange(n_fft) / n_fft
    window: NDArray[np.float64] = 0.5 - 0.5 * np.cos(turn)
    return window


def frame_count(samples: int, *, n_fft: int) -> int:
    """Frames whose centres lie within a recording of `samples` samples, its end included."""
    return 1 + samples // (n_fft // SLOTS)


def transform(samples: Floats, *, n_fft: int) -> Complex:
    """Spectrogram of every whole frame.

    Transformed in float64 and rounded once: a float32 transform leaves noise 120 dB below a
    frame's loudest bin, enough to sway masks in the quiet ones (4e-6 of full scale in a song).

    Parameters
    ----------
    samples
        float32 (n,) with n >= `n_fft`, from the first sample of the first frame on.
    n_fft
        Frame length in samples, a multiple of 4.

    Returns
    -------
    ndarray
        complex64 (frames, n_fft // 2 + 1).
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[:: n_fft // SLOTS]
    exact = scipy.fft.rfft(frames * _exact_hann(n_fft), axis=1, overwrite_x=True)
    spectrum: Complex = exact.astype(np.complex64)
    return spectrum


def overlapped(spectrum: Complex, *, n_fft: int) -> Floats:
    """Frames brought back, windowed and added up.

    Parameters
    ----------
    spectrum
        complex64 (frames, n_fft // 2 + 1); may be overwritten.
    n_fft
        Frame length in samples.

    Returns
    -------
    ndarray
        float32 (frames + 3, n_fft // 4): consecutive slots of one hop. They still carry the
        squared window, which `slot_weights` tells.
    """
    hop = n_fft // SLOTS
    frames = scipy.fft.irfft(spectrum, n_fft, axis=1, overwrite_x=True)
    slots = np.zeros((len(frames) + SLOTS - 1, hop), np.float32)
    _add_windowed(frames, hann(n_fft), slots)
    return slots


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_windowed(frames: Any, window: Any, slots: Any) -> None:
    """Add every windowed frame to its slots; one pass over both, in the order of the parts."""
    count, hop = slots.shape
    for slot in range(count):
        for part in range(max(0, slot - len(frames) + 1), min(len(window) // hop, slot + 1)):
            sums, first = slots[slot], part * hop
            sound, weights = frames[slot - part][first:], window[first:]
            # Slices: an index that might be negative keeps the loop out of vector registers.
            for i in range(hop):
                sums[i] += sound[i] * weights[i]


def slot_weights(first: int, slots: int, *, frames: int, n_fft: int) -> Floats:
    """What the slots that `overlapped` gives have to be divided by.

    The sum of the squared windows over a sample (Griffin & Lim, IEEE TASSP 32(2), 1984,
    eq. 6): 3/2 except near the ends, 1 where no window reaches.

    Parameters
    ----------
    first, slots
        Number of the first slot, counted from the start of frame 0, and how many.
    frames
        Frames of the whole recording.
    n_fft
        Frame length in samples.

    Returns
    -------
    ndarray
        float32 (slots, n_fft // 4), > 0.
    """
    squares = (hann(n_fft) ** 2).reshape(SLOTS, -1)
    numbers = np.arange(first, first + slots)[:, np.newaxis] - np.arange(SLOTS)
    reached = (numbers >= 0) & (numbers < frames)
    weights: Floats = reached.astype(np.float32) @ squares
    weights[weights <= np.finfo(np.float32).tiny] = 1
    return weights
