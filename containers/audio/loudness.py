"""How loud a recording is and how high it peaks, measured while it streams by.

Integrated loudness after ITU-R BS.1770-4 annex 1 and true peak after its annex 2. A meter
keeps one sum per 100 ms and channel, never samples, and answers the same, to the bit, however
the recording is cut into blocks.

The compiled kernels come from numba's cache on disk (beside this file, or NUMBA_CACHE_DIR).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

# BS.1770-4, annex 1: blocks of 400 ms that overlap by 75 %, an absolute gate, a relative
# gate, and the offset that makes a 997 Hz sine of full scale in one channel read -3.01.
BLOCK_S = 0.4
_STEP = 0.25
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0
_OFFSET_LU = -0.691

# BS.1770-4, table 4: +1.5 dB for a loudspeaker at 60 to 120 degrees to either side, nothing
# for low-frequency effects. The pair of quad, 5.0 and 5.1 counts as such (as in EBU Tech 3341),
# the back pair of 7.1 (135 to 150 degrees) and the back centre of 6.1 do not.
_SIDE = 1.41
_WEIGHTS: dict[int, tuple[float, ...]] = {
    1: (1.0,),  # mono: one loudspeaker, 3 LU below the same sound on both of a pair
    2: (1.0, 1.0),
    3: (1.0, 1.0, 1.0),  # L R C
    4: (1.0, 1.0, _SIDE, _SIDE),  # L R Ls Rs
    5: (1.0, 1.0, 1.0, _SIDE, _SIDE),  # L R C Ls Rs
    6: (1.0, 1.0, 1.0, 0.0, _SIDE, _SIDE),  # L R C LFE Ls Rs
    7: (1.0, 1.0, 1.0, 0.0, 1.0, _SIDE, _SIDE),  # L R C LFE Cb Ls Rs
    8: (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, _SIDE, _SIDE),  # L R C LFE Lb Rb Ls Rs
}

# Four times the rate: between the samples lie three phases of a windowed sinc of 48 taps, 12
# in each; the fourth phase is the samples themselves. Annex 2 prints one such filter as an
# example. This one, with a Kaiser window of beta 5, is within 0.01 dB of libebur128 on music,
# where the printed one is 0.05 dB low.
_PHASES = 4
_TAPS = 12
_KAISER_BETA = 5.0

# Looked at together: most runs cannot hold a peak higher than the highest so far, which shows
# from their samples alone.
_RUN_FRAMES = 128

# Below this a filter state is silence: 600 dB under full scale, long before it turns into the
# denormal numbers that processors are slow with.
_SILENT = 1e-30

_FIRST_EDGES = 1024


class Meter:
    """Measures one recording, pushed block by block.

    Parameters
    ----------
    rate_hz : int
        Frames per second.
    channels : int
        1 to 8, in the default order of WAVE_FORMAT_EXTENSIBLE; the weights of surround
        channels go by that order.

    Raises
    ------
    ValueError
        If there is no such number of channels.

    References
    ----------
    Recommendation ITU-R BS.1770-4 (10/2015): Algorithms to measure audio programme loudness
    and true-peak audio level.
    """

    def __init__(self, *, rate_hz: int, channels: int) -> None:
        if channels not in _WEIGHTS:
            raise ValueError(f"{channels} channels; a meter takes 1 to {len(_WEIGHTS)}")
        self.rate_hz = rate_hz
        self.channels = channels
        self.frames = 0
        self._coefficients = k_weighting(rate_hz)
        self._filter_state = np.zeros((channels, 4))
        self._edges = block_edges(rate_hz, blocks=_FIRST_EDGES)
        self._energy = np.zeros((channels, len(self._edges)))
        self._edge = 0
        self._phases = _interpolation_phases()
        self._history = np.zeros((channels, _TAPS - 1), np.float32)
        self._peak = np.zeros(1, np.float32)

    def push(self, block: NDArray[np.float32]) -> None:
        """Measure the next frames.

        Parameters
        ----------
        block : ndarray of float32, shape (channels, frames)
            Finite; not changed. Any number of frames.

        Raises
        ------
        ValueError
            If the block is not of that shape.
        """
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(
                f"a block has shape {block.shape}; this meter takes ({self.channels}, frames)"
            )
        block = np.ascontiguousarray(block, np.float32)
        frames = block.shape[1]
        if not frames:
            return
        self._make_room(self.frames + frames)
        for first in range(0, self.channels, 2):
            # Two channels at once hide each other's latency; a last odd one goes with itself.
            pair = (first, min(first + 1, self.channels - 1))
            edge = _compiled(_add_energy)(
                block, pair, self._coefficients, self._filter_state, self._edges, self._edge,
                self.frames, self._energy,
            )  # fmt: skip
        self._edge = edge
        self.frames += frames
        # What overlaps the block before, then the block by itself: nothing long is copied.
        joint = np.concatenate((self._history, block[:, : _TAPS - 1]), axis=1)
        raise_peak = _compiled(_raise_peak)
        raise_peak(joint, self._phases, self._peak)
        if frames > _TAPS - 1:
            raise_peak(block, self._phases, self._peak)
            joint = block
        self._history = joint[:, -(_TAPS - 1) :].copy()

    @property
    def integrated_lufs(self) -> float | None:
        """Gated loudness of everything pushed so far, in LUFS.

        Returns
        -------
        float or None
            None where BS.1770-4 gives none: less than 0.4 s, or no block above -70 LUFS, as
            in digital silence.
        """
        if self.frames < BLOCK_S * self.rate_hz:
            return None
        powers = self._block_powers()
        with np.errstate(divide="ignore"):
            levels = _OFFSET_LU + 10.0 * np.log10(powers)
        above = levels >= _ABSOLUTE_GATE_LUFS
        if not above.any():
            return None
        relative = _loudness(powers[above].mean()) + _RELATIVE_GATE_LU
        return _loudness(powers[(levels > relative) & (levels > _ABSOLUTE_GATE_LUFS)].mean())

    @property
    def true_peak_dbtp(self) -> float | None:
        """Highest level between and at the samples so far, in dB relative to full scale.

        Returns
        -------
        float or None
            None where every sample is 0. As if the recording were followed by silence.
        """
        peak = self._peak.copy()
        end = np.pad(self._history, ((0, 0), (0, _TAPS - 1)))
        _compiled(_raise_peak)(end, self._phases, peak)
        return 20.0 * math.log10(peak[0]) if peak[0] else None

    def _make_room(self, frames: int) -> None:
        """Have an edge beyond `frames`."""
        while self._edges[-1] <= frames:
            self._edges = block_edges(self.rate_hz, blocks=2 * len(self._edges))
            wider = np.zeros((self.channels, len(self._edges)))
            wider[:, : self._energy.shape[1]] = self._energy
            self._energy = wider

    def _block_powers(self) -> NDArray[np.float64]:
        """Weighted mean square of every block (BS.1770-4, equations 1 and 3)."""
        seconds = self.frames / self.rate_hz
        # The last block may reach past the end by less than half a step: pyloudnorm rounds so.
        blocks = round((seconds - BLOCK_S) / (BLOCK_S * _STEP)) + 1
        lower, upper = _block_bounds(self.rate_hz, blocks=blocks)
        # The latest edge that was entered; what lies beyond the end has no energy.
        starts = np.searchsorted(self._edges, lower)
        stops = np.searchsorted(self._edges, upper)
        # Each block is the sum of its few pieces, not a difference of running sums: that
        # would leave of a quiet block after loud ones nothing but rounding.
        weighted = np.array(_WEIGHTS[self.channels]) @ self._energy
        pieces = np.arange(int((stops - starts).max()))
        chosen = starts[:, None] + pieces
        inside = chosen < stops[:, None]
        sums = np.where(inside, weighted[np.minimum(chosen, len(weighted) - 1)], 0.0).sum(axis=1)
        powers: NDArray[np.float64] = sums / (BLOCK_S * self.rate_hz)
        return powers


def k_weighting(rate_hz: int) -> NDArray[np.float64]:
    """The two filters of the K-weighting for any rate.

    BS.1770-4 prints coefficients for 48 kHz alone. Brecht De Man found the analogue
    prototypes that they come from ("Evaluation of Implementations of the EBU R128 Loudness
    Measurement", AES 145, 2018): at 48 kHz they give the printed figures.

    Parameters
    ----------
    rate_hz : int
        Frames per second.

    Returns
    -------
    ndarray of float64, shape (2, 5)
        b0, b1, b2, a1, a2 of the shelf, then of the high-pass.
    """
    shelf_hz, shelf_q, shelf_db = 1681.9744509555319, 0.7071752369554193, 3.99984385397
    k = math.tan(math.pi * shelf_hz / rate_hz)
    high = 10.0 ** (shelf_db / 20.0)
    band = high**0.499666774155
    a0 = 1.0 + k / shelf_q + k * k
    shelf = (
        (high + band * k / shelf_q + k * k) / a0,
        2.0 * (k * k - high) / a0,
        (high - band * k / shelf_q + k * k) / a0,
        2.0 * (k * k - 1.0) / a0,
        (1.0 - k / shelf_q + k * k) / a0,
    )
    pass_hz, pass_q = 38.13547087613982, 0.5003270373253953
    k = math.tan(math.pi * pass_hz / rate_hz)
    a0 = 1.0 + k / pass_q + k * k
    high_pass = (1.0, -2.0, 1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / pass_q + k * k) / a0)
    return np.array((shelf, high_pass))


def block_edges(rate_hz: int, *, blocks: int) -> NDArray[np.int64]:
    """Every frame at which one of the first gating blocks starts or ends, in order.

    Parameters
    ----------
    rate_hz : int
        Frames per second.
    blocks : int
        How many blocks, at least 8.

    Returns
    -------
    ndarray of int64
        Ascending, without doubles; those of fewer blocks are a prefix of those of more.
    """
    lower, upper = _block_bounds(rate_hz, blocks=blocks)
    # Ends of blocks are starts of later ones but for rounding, so the last ones are cut: an end
    # could still come before them.
    edges = np.union1d(lower, upper)
    settled: NDArray[np.int64] = edges[edges < lower[-2]]
    return settled


def _block_bounds(rate_hz: int, *, blocks: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First frame of each block and first after it; operation for operation as pyloudnorm."""
    index = np.arange(blocks)
    lower = BLOCK_S * (index * _STEP) * rate_hz
    upper = BLOCK_S * (index * _STEP + 1) * rate_hz
    return lower.astype(np.int64), upper.astype(np.int64)


def _loudness(power: float) -> float:
    """BS.1770-4, equation 2, of a weighted mean square above 0."""
    return _OFFSET_LU + 10.0 * math.log10(power)


def _interpolation_phases() -> NDArray[np.float32]:
    """The three filters between the samples, shape (3, taps), each with a gain of 1 at 0 Hz."""
    position = np.arange(_PHASES * _TAPS) - _PHASES * _TAPS // 2
    window = np.kaiser(_PHASES * _TAPS + 1, _KAISER_BETA)[:-1]
    taps = np.sinc(position / _PHASES) * window
    phases = taps.reshape(_TAPS, _PHASES).T[1:]
    return np.ascontiguousarray(phases / phases.sum(axis=1, keepdims=True), np.float32)


@functools.cache
def _compiled(kernel: Callable[..., Any]) -> Any:
    """The kernel as machine code: compiled once per machine, at its first use."""
    return numba.njit(cache=True, nogil=True)(kernel)


def _add_energy(
    block: Any,
    pair: Any,
    coefficients: Any,
    state: Any,
    edges: Any,
    edge: Any,
    position: Any,
    energy: Any,
) -> Any:
    """Filter two channels and add their squares to the sums between edges.

    Direct form II transposed. `edges[edge]` is the latest edge that was passed; the
    latest after the block is returned.
    """
    frames = block.shape[1]
    first, second = pair
    p0, p1, p2, q1, q2 = coefficients[0]
    r0, r1, r2, s1, s2 = coefficients[1]
    a0, a1, a2, a3 = state[first]
    b0, b1, b2, b3 = state[second]
    start = 0
    while start < frames:
        stop = min(frames, edges[edge + 1] - position)
        sum_a, sum_b = energy[first, edge], energy[second, edge]
        for i in range(start, stop):
            x = np.float64(block[first, i])
            y = p0 * x + a0
            a0 = p1 * x - q1 * y + a1
            a1 = p2 * x - q2 * y
            z = r0 * y + a2
            a2 = r1 * y - s1 * z + a3
            a3 = r2 * y - s2 * z
            sum_a += z * z
            x = np.float64(block[second, i])
            y = p0 * x + b0
            b0 = p1 * x - q1 * y + b1
            b1 = p2 * x - q2 * y
            z = r0 * y + b2
            b2 = r1 * y - s1 * z + b3
            b3 = r2 * y - s2 * z
            sum_b += z * z
        energy[first, edge], energy[second, edge] = sum_a, sum_b
        start = stop
        if position + start == edges[edge + 1]:
            edge += 1
            if max(abs(a0), abs(a1), abs(a2), abs(a3)) < _SILENT:
                a0 = a1 = a2 = a3 = 0.0
            if max(abs(b0), abs(b1), abs(b2), abs(b3)) < _SILENT:
                b0 = b1 = b2 = b3 = 0.0
    state[first, 0], state[first, 1], state[first, 2], state[first, 3] = a0, a1, a2, a3
    state[second, 0], state[second, 1], state[second, 2], state[second, 3] = b0, b1, b2, b3
    return edge


def _raise_peak(joined: Any, phases: Any, peak: Any) -> Any:
    """Raise `peak` to the highest of the samples and of what lies between them.

    `joined` is a block behind the taps - 1 frames before it, so that every phase has all of
    its taps. Runs over output frames innermost, one tap after the other: that is vectorised
    without reordering any sum, and the answer does not depend on where blocks are cut.
    """
    count, taps = phases.shape
    # No phase can raise the highest of its samples by more than the sum of its taps.
    reach = np.float32(0.0)
    for phase in range(count):
        total = np.float32(0.0)
        for tap in range(taps):
            total += abs(phases[phase, tap])
        reach = max(reach, total * np.float32(1.0001))
    sums = np.empty(_RUN_FRAMES, np.float32)
    highest = peak[0]
    frames = joined.shape[1] - (taps - 1)
    for channel in range(joined.shape[0]):
        samples = joined[channel]
        for start in range(0, frames, _RUN_FRAMES):
            length = min(_RUN_FRAMES, frames - start)
            loudest = np.float32(0.0)
            for i in range(start, start + length + taps - 1):
                loudest = max(loudest, abs(samples[i]))
            if loudest * reach <= highest:
                continue
            highest = max(highest, loudest)
            for phase in range(count):
                sums[:length] = np.float32(0.0)
                for tap in range(taps):
                    weight = phases[phase, tap]
                    for i in range(length):
                        sums[i] += weight * samples[start + i + tap]
                for i in range(length):
                    highest = max(highest, abs(sums[i]))
    peak[0] = highest
