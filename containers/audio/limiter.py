"""A look-ahead limiter that keeps the true peak of a recording under a ceiling.

Peaks are looked for at four times the rate, with the filters of the true peak meter, in all
channels at once, and all of them are turned down together, so that nothing moves sideways.
Where nothing passes the ceiling no sample is changed by a single bit.

The gain is one minus a *reduction*, which starts as what each frame needs and is then
widened, released and smoothed:

1. held: the highest need within `_ATTACK_S` and 8 frames to either side. The frames keep the
   gain even over the reach of the interpolation filters.
2. released: falls by the factor e every `RELEASE_S`; below -100 dB it is nothing.
3. smoothed: weighted with a Hann window of `_ATTACK_S` to either side. All of the window is
   held at the need of its middle, so the smoothed reduction is never too small.

The gain thus starts to fall `LOOK_AHEAD_S` before a peak and has fallen on it; 0.6 s after a
peak of 6 dB too much the sound is untouched again. The output is as long as the input, and
nothing is delayed.
"""

import math
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from containers.audio.compose import Reader
from containers.audio.forward import ForwardReader
from containers.audio.stream import BLOCK_FRAMES
from containers.audio.true_peak import TAPS, interpolation_phases, store_peaks

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_ATTACK_S = 0.001
# Both widenings come before a peak.
LOOK_AHEAD_S = 2 * _ATTACK_S
RELEASE_S = 0.05

# Half an interpolation filter, and a little for the filters of other people's meters.
_EVEN_FRAMES = 8
_HALF_TAPS = TAPS // 2
# Less reduction than this is none: a step of 0.0001 dB, smoothed, that nobody hears.
_NONE = 1e-5


class LimitedReader(ForwardReader):
    """`source`, amplified and kept under a ceiling when it is read.

    The ceiling holds between the samples as well, to within 0.1 dB: a gain that moves changes
    what lies between samples a little. Whoever promises a ceiling measures what comes out.

    Parameters
    ----------
    source : Reader
        Finite samples; it stays open as long as this is read.
    gain : float
        Linear factor on every sample, applied first.
    ceiling_dbtp : float
        Highest true peak to let through.

    Notes
    -----
    Silence stays silence; a constant or a single sample above the ceiling is turned down to it.
    Samples that are NaN or infinite are not looked for: what is measured has none. Positions are
    counted without bound and nothing is kept of what was read, so ten hours are like ten seconds.

    Attributes
    ----------
    reduction_db : float
        The most that was taken off so far, 0 where nothing was.
    """

    def __init__(self, source: Reader, *, gain: float, ceiling_dbtp: float) -> None:
        self._source = source
        self._gain = np.float32(gain)
        self._ceiling = 10.0 ** (ceiling_dbtp / 20.0)
        self._attack = max(1, round(_ATTACK_S * source.rate_hz))
        window = np.hanning(2 * self._attack + 3)[1:-1]
        self._window = window / window.sum()
        self._decay = math.exp(-1.0 / (RELEASE_S * source.rate_hz))
        self._most = 0.0
        super().__init__(rate_hz=source.rate_hz, channels=source.channels, frames=source.frames)

    @property
    def reduction_db(self) -> float:  # noqa: D102 # told above
        return 0.0 if not self._most else -20.0 * math.log10(1.0 - self._most)

    def _computed(self) -> Iterator[Floats]:
        attack = self._attack
        # From as many frames before a block as smoothing looks back to as many after it.
        released, known = np.zeros(0), -attack
        for start in range(0, self.frames, BLOCK_FRAMES):
            stop = min(start + BLOCK_FRAMES, self.frames)
            held = self._held(known, stop + attack)
            last = float(released[-1]) if len(released) else 0.0
            released = np.append(released, _released(held, last, self._decay))
            known = stop + attack
            block = self._source.read(start, stop) * self._gain
            if released.any():
                reduction = np.convolve(released, self._window, mode="valid")
                self._most = max(self._most, float(reduction.max()))
                block *= (1.0 - reduction).astype(np.float32)
            yield block
            released = released[-2 * attack :]

    def _held(self, first: int, last: int) -> Doubles:
        """The highest reduction that is needed anywhere near frames `first` to `last`."""
        # A third of the time that the stages take to start, and few jobs limit.
        from scipy.ndimage import maximum_filter1d

        reach = self._attack + _EVEN_FRAMES
        begin, end = first - reach, last + reach
        # One more before, for what lies between it and the first.
        samples = self._source.read(begin - _HALF_TAPS, end + _HALF_TAPS) * self._gain
        peaks = np.zeros(end - begin)
        store_peaks(samples, interpolation_phases(), np.float32(self._ceiling), peaks)
        needs = np.where(peaks > self._ceiling, 1.0 - self._ceiling / np.maximum(peaks, 1e-9), 0.0)
        widened: Doubles = maximum_filter1d(needs, 2 * reach + 1, mode="constant")
        return widened[reach:-reach]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _released(held: Any, last: Any, decay: Any) -> Any:
    """`held`, falling no faster than by the factor `decay` a frame, from `last` on."""
    released = np.empty(len(held))
    for frame in range(len(held)):
        last = max(held[frame], last * decay)
        if last < _NONE:
            last = 0.0
        released[frame] = last
    return released
