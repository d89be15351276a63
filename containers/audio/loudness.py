"""How loud a recording is, measured while it streams by.

Integrated, momentary and short-term loudness after ITU-R BS.1770-4 annex 1 and EBU Tech 3341,
loudness range after EBU Tech 3342. A meter keeps one sum per 10 ms, never samples (3 MB an
hour), and answers the same, to the bit, however the recording is cut into blocks.
"""

import math

import numpy as np
from numpy.typing import NDArray

from containers.audio.k_weighting import STATES, add_energy, k_weighting
from containers.audio.true_peak import TruePeakMeter

Floats = NDArray[np.float64]

# BS.1770-4, annex 1: blocks of 400 ms that overlap by 75 %, an absolute gate, a relative
# gate, and the offset that makes a 997 Hz sine of full scale in one channel read -3.01.
BLOCK_S = 0.4
_STEP = 0.25
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0
_OFFSET_LU = -0.691

# EBU Tech 3341, 2.2: momentary over 0.4 s, short-term over 3 s, at least ten times a second.
# The momentary window moves by 10 ms, since the highest of any 0.4 s is asked for (case 13
# of Tech 3341 puts a tone of 0.4 s at steps of 20 ms).
_STEPS_PER_S = 100
_MOMENTARY_STEPS = 40
_SHORT_TERM_STEPS = 300
_SHORT_TERM_HOP = 10

# EBU Tech 3342, 2.2: the gate, and the percentiles whose distance is the range. One window a
# second is the least that it asks for and what libebur128 takes, whose answer is ours then.
_RANGE_HOP = 100
_RANGE_GATE_LU = -20.0
_RANGE_LOW, _RANGE_HIGH = 0.10, 0.95

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

_FIRST_SUMS = 8192
_LEAST_RATE_HZ = 4_000


class LoudnessMeter:
    """Measures one recording, pushed block by block.

    Every reading is None where there is none: in digital silence, where nothing is above
    the gate, and before the recording is as long as the window that is asked for.

    Parameters
    ----------
    rate_hz : int
        Frames per second, at least 4000: the K-weighting has a corner at 1.7 kHz.
    channels : int
        1 to 8, in the default order of WAVE_FORMAT_EXTENSIBLE; the weights of surround
        channels go by that order.

    Attributes
    ----------
    frames : int
        Pushed so far.

    Raises
    ------
    ValueError
        If there is no such number of channels, or the rate is too low.

    Notes
    -----
    Digital silence has no reading. A constant is heard where it begins and ends, since the
    K-weighting is a high-pass. One sample has a true peak and no loudness. What lies beyond full
    scale, or was clipped, is measured like anything else. Samples that are NaN or infinite are
    not looked for: `containers.audio.measure` refuses them. Ten hours are 60 MB of sums.

    References
    ----------
    Recommendation ITU-R BS.1770-4 (10/2015): Algorithms to measure audio programme loudness
    and true-peak audio level. EBU Tech 3341 (2016): 'EBU Mode' metering. EBU Tech 3342
    (2016): Loudness range.
    """

    def __init__(self, *, rate_hz: int, channels: int) -> None:
        if channels not in _WEIGHTS:
            raise ValueError(f"{channels} channels; a meter takes 1 to {len(_WEIGHTS)}")
        if rate_hz < _LEAST_RATE_HZ:
            raise ValueError(f"{rate_hz} Hz; a meter takes {_LEAST_RATE_HZ} Hz and more")
        self.rate_hz = rate_hz
        self.channels = channels
        self.frames = 0
        self._coefficients = k_weighting(rate_hz)
        # Two channels at once; a last odd one goes with itself, which then counts nothing.
        self._pairs = [(n, min(n + 1, channels - 1)) for n in range(0, channels, 2)]
        self._weights = np.zeros((len(self._pairs), 2))
        self._weights.reshape(-1)[:channels] = _WEIGHTS[channels]
        self._states = np.zeros((len(self._pairs), STATES, 2))
        self._sums = np.zeros((len(self._pairs), 2))
        self._energy = np.zeros(_FIRST_SUMS)
        # How many edges were passed after the one at frame 0, and where the latest is.
        self._edge = self._edge_frame = 0

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
        if not block.shape[1]:
            return
        samples, pace, step = _flat(block)
        edges = _edges(self.rate_hz, self._edge_frame, self.frames + block.shape[1])
        self._make_room(self._edge + len(edges))
        energy = self._energy[self._edge :]
        for (first, second), weights, state, sums in zip(
            self._pairs, self._weights, self._states, self._sums, strict=True
        ):
            passed = add_energy(
                samples,
                block.shape[1],
                (first * pace, second * pace),
                step,
                weights,
                self._coefficients,
                state,
                sums,
                edges,
                self.frames,
                energy,
            )
        self._edge += passed
        self._edge_frame = int(edges[passed])
        self.frames += block.shape[1]

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
        levels = _levels(powers)
        above = levels >= _ABSOLUTE_GATE_LUFS
        if not above.any():
            return None
        relative = _level(powers[above].mean()) + _RELATIVE_GATE_LU
        return _level(powers[(levels > relative) & (levels > _ABSOLUTE_GATE_LUFS)].mean())

    @property
    def momentary_lufs(self) -> float | None:
        """Ungated loudness of the last 0.4 s, in LUFS; the window ends at a whole 10 ms."""
        return _latest(self._window_powers(steps=_MOMENTARY_STEPS, hop=1))

    @property
    def max_momentary_lufs(self) -> float | None:
        """The highest that `momentary_lufs` was at any 10 ms."""
        return _highest(self._window_powers(steps=_MOMENTARY_STEPS, hop=1))

    @property
    def short_term_lufs(self) -> float | None:
        """Ungated loudness of the last 3 s, in LUFS; the window ends at a whole 100 ms."""
        return _latest(self._window_powers(steps=_SHORT_TERM_STEPS, hop=_SHORT_TERM_HOP))

    @property
    def max_short_term_lufs(self) -> float | None:
        """The highest that `short_term_lufs` was at any 100 ms."""
        return _highest(self._window_powers(steps=_SHORT_TERM_STEPS, hop=_SHORT_TERM_HOP))

    @property
    def loudness_range_lu(self) -> float | None:
        """How much the loudness varies over the recording, in LU (EBU Tech 3342).

        The distance from the 10th to the 95th percentile of the short-term loudness, one
        window a second, without those below -70 LUFS or 20 LU below the rest's mean.
        """
        powers = self._window_powers(steps=_SHORT_TERM_STEPS, hop=_RANGE_HOP)
        levels = _levels(powers)
        above = levels >= _ABSOLUTE_GATE_LUFS
        if not above.any():
            return None
        relative = _level(powers[above].mean()) + _RANGE_GATE_LU
        kept = np.sort(levels[above & (levels >= relative)])
        # Tech 3342, annex: the nearest rank.
        low, high = (int((len(kept) - 1) * share + 0.5) for share in (_RANGE_LOW, _RANGE_HIGH))
        return float(kept[high] - kept[low])

    def _make_room(self, sums: int) -> None:
        if sums > len(self._energy):
            longer = np.zeros(2 * sums)
            longer[: len(self._energy)] = self._energy
            self._energy = longer

    def _weighted(self) -> Floats:
        """Energy between the edges passed so far, the piece after the latest one included."""
        pieces = self._energy[: self._edge + 1].copy()
        for weights, sums in zip(self._weights, self._sums, strict=True):
            pieces[-1] += weights[0] * sums[0] + weights[1] * sums[1]
        return pieces

    def _block_powers(self) -> Floats:
        """Weighted mean square of every gating block (BS.1770-4, equations 1 and 3)."""
        seconds = self.frames / self.rate_hz
        # The last block may reach past the end by less than half a step: pyloudnorm rounds so.
        blocks = round((seconds - BLOCK_S) / (BLOCK_S * _STEP)) + 1
        lower, upper = _block_bounds(self.rate_hz, np.arange(blocks))
        # The latest edge that was entered; what lies beyond the end has no energy.
        edges = _edges(self.rate_hz, 0, self.frames)
        starts, stops = np.searchsorted(edges, lower), np.searchsorted(edges, upper)
        weighted = np.append(self._weighted(), 0.0)
        beyond = len(weighted) - 1
        # Each block is the sum of its few pieces, not a difference of running sums: that
        # would leave of a quiet block after loud ones nothing but rounding.
        sums = np.zeros(blocks)
        for piece in range(int((stops - starts).max())):
            chosen = starts + piece
            sums += weighted[np.where(chosen < stops, np.minimum(chosen, beyond), beyond)]
        powers: Floats = sums / (BLOCK_S * self.rate_hz)
        return powers

    def _window_powers(self, *, steps: int, hop: int) -> Floats:
        """Weighted mean square of windows of so many 10 ms, one every `hop` of them."""
        whole = self.frames * _STEPS_PER_S // self.rate_hz // hop
        if whole * hop < steps:
            return np.zeros(0)
        bounds = _step_bounds(self.rate_hz, steps=whole * hop)[::hop]
        places = np.searchsorted(_edges(self.rate_hz, 0, self.frames), bounds)
        energy = np.add.reduceat(self._weighted()[: places[-1]], places[:-1])
        span = steps // hop
        windows = whole - span + 1
        sums = np.zeros(windows)
        for piece in range(span):
            sums += energy[piece : piece + windows]
        powers: Floats = sums / (bounds[span:] - bounds[:-span])
        return powers


class Meter(LoudnessMeter):
    """Loudness and true peak of one recording, pushed block by block.

    Parameters
    ----------
    rate_hz, channels : int
        As for `LoudnessMeter`.
    """

    def __init__(self, *, rate_hz: int, channels: int) -> None:
        super().__init__(rate_hz=rate_hz, channels=channels)
        self._peaks = TruePeakMeter(channels=channels)

    def push(self, block: NDArray[np.float32]) -> None:
        """Measure the next frames; as `LoudnessMeter.push`."""
        super().push(block)
        self._peaks.push(np.ascontiguousarray(block, np.float32))

    @property
    def true_peak_dbtp(self) -> float | None:
        """As `TruePeakMeter.true_peak_dbtp`."""
        return self._peaks.true_peak_dbtp


def _flat(block: NDArray[np.float32]) -> tuple[NDArray[np.float32], int, int]:
    """The samples of a block as they lie in memory, from channel to channel and frame to frame."""
    if block.flags.f_contiguous:
        # Interleaved, as decoded PCM is: turning it would cost half as much as measuring it.
        return np.asarray(block.T, np.float32).reshape(-1), 1, block.shape[0]
    return np.ascontiguousarray(block, np.float32).reshape(-1), block.shape[1], 1


def _edges(rate_hz: int, first: int, last: int) -> NDArray[np.int64]:
    """Every frame from `first` on at which a window may start or end, to a few beyond `last`.

    Ascending, without doubles: the same in whatever pieces they are asked for.
    """
    per_s = round(1 / (BLOCK_S * _STEP))
    # Starts and ends of blocks lie at most a block apart.
    blocks = np.arange(max(0, first * per_s // rate_hz - 5), last * per_s // rate_hz + 5)
    steps = np.arange(first * _STEPS_PER_S // rate_hz, last * _STEPS_PER_S // rate_hz + 50)
    edges = np.concatenate((*_block_bounds(rate_hz, blocks), steps * rate_hz // _STEPS_PER_S))
    # Three ascending runs, which a merge sort finds: a hundred times as fast as np.unique, which
    # hashes them, and a tenth of the time that an hour took.
    edges.sort(kind="stable")
    edges = edges[np.append(True, edges[1:] != edges[:-1])]
    settled: NDArray[np.int64] = edges[np.searchsorted(edges, first) :]
    # From here on a start of a block could be missing.
    return settled[: np.searchsorted(settled, last + rate_hz // per_s)]


def _block_bounds(
    rate_hz: int, blocks: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First frame of each block and first after it; operation for operation as pyloudnorm."""
    lower = BLOCK_S * (blocks * _STEP) * rate_hz
    upper = BLOCK_S * (blocks * _STEP + 1) * rate_hz
    return lower.astype(np.int64), upper.astype(np.int64)


def _step_bounds(rate_hz: int, *, steps: int) -> NDArray[np.int64]:
    """The first frame of each 10 ms and of the one after the last."""
    return np.arange(steps + 1, dtype=np.int64) * rate_hz // _STEPS_PER_S


def _level(power: float) -> float:
    """BS.1770-4, equation 2, of a weighted mean square above 0."""
    return _OFFSET_LU + 10.0 * math.log10(power)


def _levels(powers: Floats) -> Floats:
    """The same of many; -inf for silence."""
    with np.errstate(divide="ignore"):
        levels: Floats = _OFFSET_LU + 10.0 * np.log10(powers)
    return levels


def _latest(powers: Floats) -> float | None:
    return _level(float(powers[-1])) if len(powers) and powers[-1] else None


def _highest(powers: Floats) -> float | None:
    return _level(float(powers.max())) if len(powers) and powers.max() else None
